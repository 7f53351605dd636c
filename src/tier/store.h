// Where buffers live below the arenas: the contract that every store (disk, null) fulfils. A store keeps bytes of
// numbered objects and knows no tensors. A write is in place: what must survive a failure is in a checkpoint, which is
// a complete copy, and nothing of a store outlives the process.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/units.h"

namespace sluice::tier {

using ObjectId = std::int32_t;

/// Sizes, offsets of buffers in memory and lengths are multiples of this (O_DIRECT).
inline constexpr Bytes kStoreAlignment = 4096;
/// Unit of checksums and of striping over folders. Offsets of reads and writes are multiples of it; a length is one too
/// or reaches the end of the object.
inline constexpr Bytes kStripeBytes = MiB;

struct StoreInfo {
  std::string name;    ///< of the tier: "disk"
  Bytes capacity = 0;  ///< for all objects
  Bytes used = 0;      ///< reserved so far
};

/// A blocking line of transfer into a store, with an I/O engine of its own; for one thread at a time. The store
/// outlives it. Buffers are 4096-aligned host memory which nobody else touches during the call. Ranges follow
/// kStripeBytes (InternalError otherwise). After an exception nothing is in flight: the buffer may be freed.
class Channel {
 public:
  virtual ~Channel();
  /// Fills `destination`; the bytes are there and their checksums verified on return. Throws IoError (device, bytes
  /// lost by a failed write), FormatError (checksum), InternalError (bytes never written or being written). Nobody may
  /// write these bytes meanwhile.
  virtual void read(ObjectId object, Bytes offset, std::span<std::byte> destination) = 0;
  /// Writes in place; a read finds the bytes from the return on. Throws InternalError (bytes being written by another
  /// channel) and IoError; after that these bytes, and no others, are refused until they have been written again.
  virtual void write(ObjectId object, Bytes offset, std::span<const std::byte> source) = 0;
  /// A hint that many transfers will use `memory` (it is faulted in and locked): fewer page pins per transfer. False
  /// when there is no gain to be had here (limits, engine); everything works without.
  virtual bool register_memory(std::span<std::byte> memory);
  /// What moves the bytes: "io_uring", "threads" or "memory".
  [[nodiscard]] virtual std::string_view engine() const = 0;
};

/// Thread-safe, except that an object's transfers are ordered by the caller.
class Store {
 public:
  virtual ~Store();
  [[nodiscard]] virtual StoreInfo info() const = 0;
  /// Room for `bytes` (a multiple of 4096), guaranteed from here on. Throws CapacityError naming the tier, what was
  /// asked and what is free; then nothing is held.
  virtual ObjectId reserve(Bytes bytes, std::string_view name) = 0;
  /// One per lane thread. The store must outlive it.
  virtual std::unique_ptr<Channel> open_channel() = 0;
  /// Bytes that reads and writes have moved since the store was made (wear and traffic of the report).
  [[nodiscard]] virtual Bytes bytes_read() const = 0;
  [[nodiscard]] virtual Bytes bytes_written() const = 0;
  /// XXH3-64 over the XXH3-64 values of the stripes in order (0 for one that cannot be read: never written, being
  /// written, lost). Equal bytes give equal values in every store. Costs no I/O.
  [[nodiscard]] virtual std::uint64_t checksum_of(ObjectId object) const = 0;
};

}  // namespace sluice::tier
