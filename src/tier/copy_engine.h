// What copies between the host's memory and a device's.
#pragma once
#include <cstddef>

#include "base/units.h"

namespace sluice::tier {

/// One direction's line of copies, for one thread. Directions share nothing.
class CopyEngine {
 public:
  virtual ~CopyEngine();
  /// Returns when `bytes` bytes are at `destination`; the ranges do not overlap and nobody else touches them meanwhile.
  /// Throws IoError when the device fails.
  virtual void copy(std::byte* destination, const std::byte* source, Bytes bytes) = 0;
};

}  // namespace sluice::tier
