// The engine without a ring: a few threads and the caller share the transfers of a batch.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "tier/io_request.h"

namespace sluice::tier {
namespace {

constexpr int kMaxThreads = 4;  // the caller included; more do not help one device at 1 MiB a request

struct Batch {
  Direction direction = Direction::Read;
  std::span<const Transfer> transfers;
  const TransferHooks* hooks = nullptr;
  std::size_t next = 0;
  int num_active = 0;
  std::optional<TransferFailure> failure;
};

std::optional<TransferFailure> finish(IoRequest request) {
  for (;;) {
    Bytes result = request.next_length();
    if (result > 0) {
      const auto length = static_cast<std::size_t>(result);
      result = request.direction() == Direction::Read
                   ? ::pread(request.fd(), request.data(), length, request.file_offset())
                   : ::pwrite(request.fd(), request.data(), length, request.file_offset());
      if (result < 0) result = -errno;
    }
    const auto state = request.take(result);
    if (state == IoRequest::State::Complete) return std::nullopt;
    if (state == IoRequest::State::Failed) return request.failure();
  }
}

class ThreadEngine final : public IoEngine {
 public:
  explicit ThreadEngine(const EngineOptions& options) : request_bytes_(options.request_bytes) {
    const int num_helpers = std::clamp(options.queue_depth, 1, kMaxThreads) - 1;
    try {
      for (int i = 0; i < num_helpers; ++i) helpers_.emplace_back([this] { help(); });
    } catch (const std::system_error&) {
      // No more threads allowed: those that started and the caller do the work.
    }
  }

  ~ThreadEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  std::optional<TransferFailure> run(Direction direction, std::span<const Transfer> transfers,
                                     const TransferHooks& hooks) override {
    std::unique_lock lock(mutex_);
    batch_ = {.direction = direction, .transfers = transfers, .hooks = &hooks, .failure = {}};
    if (transfers.size() > 1) work_.notify_all();
    work_through(lock);
    idle_.wait(lock, [this] { return batch_.num_active == 0; });
    return batch_.failure;
  }

  [[nodiscard]] std::string_view name() const override { return "threads"; }

 private:
  void help() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      work_through(lock);
      work_.wait(lock, [this] { return stopping_ || batch_.next < batch_.transfers.size(); });
    }
  }

  // Takes transfers until none is left to start. The lock is held on entry and on return, not during a transfer.
  void work_through(std::unique_lock<std::mutex>& lock) {
    while (batch_.next < batch_.transfers.size()) {
      const std::size_t index = batch_.next++;
      ++batch_.num_active;
      lock.unlock();
      const auto failure = transfer(index);
      lock.lock();
      if (failure) {
        if (!batch_.failure) batch_.failure = failure;
        batch_.next = batch_.transfers.size();
      }
      if (--batch_.num_active == 0) idle_.notify_all();
    }
  }

  // Reads the batch without the lock: its fields but `next`, `num_active` and `failure` stay while one is active.
  std::optional<TransferFailure> transfer(std::size_t index) const {
    const Transfer& whole = batch_.transfers[index];
    batch_.hooks->before(index);
    for (Bytes at = 0; at < whole.length; at += request_bytes_) {
      const Transfer part = {whole.fd, whole.file_offset + at, whole.data + at,
                             std::min(request_bytes_, whole.length - at)};
      if (auto failure = finish(IoRequest(batch_.direction, part, index))) return failure;
    }
    batch_.hooks->after(index);
    return std::nullopt;
  }

  Bytes request_bytes_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  Batch batch_;
  bool stopping_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace

std::unique_ptr<IoEngine> make_thread_engine(const EngineOptions& options) {
  return std::make_unique<ThreadEngine>(options);
}

}  // namespace sluice::tier
