// What ranks of one machine can tell each other: the rate of its loopback interface, over which Gloo's messages go.
#pragma once
#include "base/units.h"

namespace sluice::collective {

struct LoopbackRates {
  BytesPerSecond rate = 0;  ///< each way, while both ways are busy
  Seconds latency = 0;      ///< of a small message, one way
};

/// Sends `bytes` each way at once over a TCP connection of this process with itself, and small messages to and fro.
/// Four threads, for `bytes` / 1 GB of seconds or so. Throws IoError where the system has no loopback interface.
[[nodiscard]] LoopbackRates measure_loopback(Bytes bytes = 256 * MiB);

}  // namespace sluice::collective
