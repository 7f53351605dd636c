// A place other than the host where block math runs: its memory, the copies to and from it, and when what was asked of
// it is done. One row per kind of device (tier/catalog.cpp).
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "base/units.h"
#include "tier/copy_engine.h"

namespace sluice::tier {

struct DeviceOptions {
  int index = 0;            ///< which of the devices that this process sees
  Bytes memory = 0;         ///< at most so much for everything; 0: all that is free
  BytesPerSecond rate = 0;  ///< emulated: of copies, each direction, at most; 0: as fast as it goes
};

/// Memory of a device, given back at the end.
class DeviceMemory {
 public:
  virtual ~DeviceMemory();
  /// 4096-aligned. The host may read and write there only where Device::is_addressable says so.
  [[nodiscard]] virtual std::byte* data() const = 0;
};

/// Host memory in the form in which copies are fastest, as long as this lives.
class PageLock {
 public:
  virtual ~PageLock();
};

/// Made by one thread; lines may be opened and used by others. What it gives must go before it does.
class Device {
 public:
  virtual ~Device();
  /// As torch calls the place: "cpu", "cuda:0".
  [[nodiscard]] virtual std::string torch_name() const = 0;
  /// Whether the host may read and write its memory.
  [[nodiscard]] bool is_addressable() const { return torch_name() == "cpu"; }
  /// Multiprocessors of a card; 0: it has none.
  [[nodiscard]] virtual int num_processors() const { return 0; }
  /// What an arena may have: that of the options less what the device's libraries need, or what is free.
  [[nodiscard]] virtual Bytes capacity() const = 0;

  /// The arena. Throws CapacityError.
  virtual std::unique_ptr<DeviceMemory> reserve(Bytes bytes) = 0;
  /// From now on torch's temporaries on the device lie in the first `capacity` bytes of the arena reserved last, as
  /// model/cpu_allocator.h has it for those of the CPU (and of a device that is addressable, where these do nothing).
  virtual void use_workspace(Bytes /*capacity*/) {}
  /// Those of the computation that comes, up to this byte.
  virtual void limit_workspace(Bytes /*bytes*/) {}
  /// Highest end of one since `use_workspace`, in bytes from the arena's begin.
  [[nodiscard]] virtual Bytes workspace_peak() const { return 0; }

  /// nullptr: it makes no difference here.
  virtual std::unique_ptr<PageLock> lock_pages(std::byte* /*data*/, Bytes /*bytes*/) { return nullptr; }
  virtual std::unique_ptr<CopyEngine> open_line() = 0;
  /// Returns when all computations that the calling thread has asked for are done. Throws IoError when one failed.
  virtual void wait() {}
};

/// Memory of this process behind copies that keep to a link's rate, piece by piece, so that a copy takes its time
/// evenly, as a bus would. Fail point device.copy.
std::unique_ptr<Device> make_emulated_device(const DeviceOptions& options);

/// An NVIDIA card, by way of torch's CUDA library (beside the torch that is loaded, else in $TORCH_HOME/lib) and the
/// plugin sluice_cuda.so. Once per process, before anything asks torch about CUDA. Throws ConfigError that says what is
/// missing, CapacityError when `options.memory` is not there.
std::unique_ptr<Device> make_cuda_device(const DeviceOptions& options);

}  // namespace sluice::tier
