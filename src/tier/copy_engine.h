// What copies between the host's memory and a device's: one row per kind of device (tier/catalog.cpp).
#pragma once
#include <cstddef>
#include <memory>

#include "base/units.h"

namespace sluice::tier {

struct CopyOptions {
  BytesPerSecond rate = 0;  ///< at most; 0: as fast as it goes
};

/// One direction's line of copies, for one thread. Directions share nothing.
class CopyEngine {
 public:
  virtual ~CopyEngine();
  /// Returns when `bytes` bytes are at `destination`; the ranges do not overlap and nobody else touches them meanwhile.
  /// Throws IoError when the device fails.
  virtual void copy(std::byte* destination, const std::byte* source, Bytes bytes) = 0;
};

/// The emulated device is memory of this process: copies that keep to a link's rate, piece by piece, so that a copy
/// takes its time evenly, as a bus would. Fail point device.copy.
std::unique_ptr<CopyEngine> make_emulated_copy_engine(const CopyOptions& options);

}  // namespace sluice::tier
