// Moves batches of byte ranges between memory and files, several at once. Two engines, one behaviour: io_uring, and a
// few threads with pread/pwrite where the kernel refuses a ring.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/units.h"

namespace sluice::tier {

enum class Direction { Read, Write };

/// One range; all numbers are multiples of 4096. At most 1 GiB.
struct Transfer {
  int fd = -1;
  Bytes file_offset = 0;
  std::byte* data = nullptr;
  Bytes length = 0;
};

/// Why a batch stopped. An error number of 0 is the end of the file, or no progress in spite of retries.
struct TransferFailure {
  std::size_t transfer = 0;
  Bytes file_offset = 0;
  int error_number = 0;
};

/// Called with the index of a transfer before its first request and after its last one has completed; must not throw.
/// Calls for different transfers may come from different threads at once.
struct TransferHooks {
  std::function<void(std::size_t)> before;
  std::function<void(std::size_t)> after;
};

/// For one thread at a time.
class IoEngine {
 public:
  virtual ~IoEngine();
  /// Returns when every transfer is complete, or, at the first final failure, when nothing is in flight any more.
  /// Short transfers are continued; EAGAIN and EINTR are retried a bounded number of times.
  virtual std::optional<TransferFailure> run(Direction direction, std::span<const Transfer> transfers,
                                             const TransferHooks& hooks) = 0;
  virtual bool register_memory(std::span<std::byte> memory);
  [[nodiscard]] virtual std::string_view name() const = 0;
};

struct EngineOptions {
  int queue_depth = 8;
  Bytes request_bytes = MiB;
};

/// Null when the kernel refuses a ring (EPERM, ENOSYS, ENOMEM). Fail point disk.setup.
std::unique_ptr<IoEngine> make_uring_engine(const EngineOptions& options);

std::unique_ptr<IoEngine> make_thread_engine(const EngineOptions& options);

}  // namespace sluice::tier
