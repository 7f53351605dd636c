// The io_uring engine. Errors live in the completions, so every one is looked at; submission itself can block for long
// (a full device queue), so every request is IOSQE_ASYNC and goes to the kernel's workers.
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/fail_point.h"
#include "tier/io_request.h"

namespace sluice::tier {
namespace {

constexpr Bytes kMaxRegistered = GiB;  // of one registered buffer (io_uring_register(2))

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(const EngineOptions& options)
      : request_bytes_(options.request_bytes), slots_(static_cast<std::size_t>(options.queue_depth)) {
    const int fail = fail_point("disk.setup");
    ready_ = fail <= 0 && io_uring_queue_init(static_cast<unsigned>(options.queue_depth), &ring_, 0) == 0;
  }

  ~UringEngine() override {
    if (ready_) io_uring_queue_exit(&ring_);
  }

  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] std::string_view name() const override { return "io_uring"; }

  std::optional<TransferFailure> run(Direction direction, std::span<const Transfer> transfers,
                                     const TransferHooks& hooks) override {
    begin(direction, transfers, hooks);
    while (!ring_error_) {
      fill();
      if (num_in_flight_ == 0) break;
      submit_and_reap();
    }
    drain();
    if (ring_error_ && !failure_)
      failure_ = TransferFailure{0, transfers.empty() ? 0 : transfers[0].file_offset, ring_error_};
    return failure_;
  }

  bool register_memory(std::span<std::byte> memory) override {
    if (!registered_.empty() && io_uring_unregister_buffers(&ring_) != 0) return false;
    registered_.clear();
    const auto size = static_cast<Bytes>(memory.size());
    for (Bytes at = 0; at < size; at += kMaxRegistered)
      registered_.push_back({memory.data() + at, static_cast<std::size_t>(std::min(kMaxRegistered, size - at))});
    const bool accepted =
        !registered_.empty() &&
        io_uring_register_buffers(&ring_, registered_.data(), static_cast<unsigned>(registered_.size())) == 0;
    if (!accepted) registered_.clear();
    return accepted;
  }

 private:
  void begin(Direction direction, std::span<const Transfer> transfers, const TransferHooks& hooks) {
    direction_ = direction;
    transfers_ = transfers;
    hooks_ = &hooks;
    next_transfer_ = 0;
    next_offset_ = 0;
    failure_.reset();
    num_open_.assign(transfers.size(), 0);
    free_.clear();
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) free_.push_back(slot);
  }

  // Starts requests until the queue is full or nothing is left; after a failure nothing new is started.
  void fill() {
    while (!free_.empty() && !failure_ && next_transfer_ < transfers_.size()) {
      const Transfer& whole = transfers_[next_transfer_];
      if (next_offset_ == 0) {
        hooks_->before(next_transfer_);
        num_open_[next_transfer_] = static_cast<int>((whole.length + request_bytes_ - 1) / request_bytes_);
      }
      const Transfer part = {whole.fd, whole.file_offset + next_offset_, whole.data + next_offset_,
                             std::min(request_bytes_, whole.length - next_offset_)};
      const std::size_t slot = free_.back();
      free_.pop_back();
      slots_[slot] = IoRequest(direction_, part, next_transfer_);
      next_offset_ += part.length;
      if (next_offset_ == whole.length) {
        ++next_transfer_;
        next_offset_ = 0;
      }
      start(slot);
    }
  }

  void start(std::size_t slot) {
    const Bytes length = slots_[slot].next_length();
    if (length < 0) {
      take(slot, length);
      return;
    }
    prepare(slot, length);
    ++num_in_flight_;
  }

  void prepare(std::size_t slot, Bytes length) {
    const IoRequest& request = slots_[slot];
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);  // one entry per slot: never null
    const auto count = static_cast<unsigned>(length);
    const auto offset = static_cast<__u64>(request.file_offset());
    const int buffer = registered_buffer(request.data(), length);
    if (request.direction() == Direction::Read) {
      if (buffer >= 0)
        io_uring_prep_read_fixed(sqe, request.fd(), request.data(), count, offset, buffer);
      else
        io_uring_prep_read(sqe, request.fd(), request.data(), count, offset);
    } else {
      if (buffer >= 0)
        io_uring_prep_write_fixed(sqe, request.fd(), request.data(), count, offset, buffer);
      else
        io_uring_prep_write(sqe, request.fd(), request.data(), count, offset);
    }
    io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    io_uring_sqe_set_data64(sqe, slot);
  }

  [[nodiscard]] int registered_buffer(const std::byte* data, Bytes length) const {
    for (std::size_t i = 0; i < registered_.size(); ++i) {
      const auto* base = static_cast<const std::byte*>(registered_[i].iov_base);
      if (data >= base && data + length <= base + registered_[i].iov_len) return static_cast<int>(i);
    }
    return -1;
  }

  void take(std::size_t slot, Bytes result) {
    const auto state = slots_[slot].take(result);
    if (state == IoRequest::State::Again && !failure_ && !ring_error_) {
      start(slot);
      return;
    }
    const std::size_t transfer = slots_[slot].transfer();
    if (state == IoRequest::State::Failed && !failure_) failure_ = slots_[slot].failure();
    free_.push_back(slot);
    if (state == IoRequest::State::Complete && --num_open_[transfer] == 0) hooks_->after(transfer);
  }

  void submit_and_reap() {
    const int submitted = io_uring_submit_and_wait(&ring_, 1);
    // EAGAIN and EBUSY ask for completions to be taken first; anything else than these and EINTR ends the ring.
    if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) {
      ring_error_ = -submitted;
      return;
    }
    if (submitted == -EAGAIN && io_uring_cq_ready(&ring_) == 0 && ++num_refusals_ > kMaxRefusals) {
      ring_error_ = EAGAIN;
      return;
    }
    if (submitted >= 0) num_refusals_ = 0;
    reap();
  }

  void reap() {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const auto slot = static_cast<std::size_t>(io_uring_cqe_get_data64(cqe));
      const Bytes result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      --num_in_flight_;
      take(slot, result);
    }
  }

  // After the ring broke: what the kernel already has must end before the buffers may go.
  void drain() {
    while (ring_error_ && num_in_flight_ > static_cast<int>(io_uring_sq_ready(&ring_))) {
      io_uring_cqe* cqe = nullptr;
      const int waited = io_uring_wait_cqe(&ring_, &cqe);
      if (waited < 0 && waited != -EINTR) break;
      if (waited == 0) reap();
    }
  }

  static constexpr int kMaxRefusals = 1000;

  Bytes request_bytes_;
  io_uring ring_{};
  bool ready_ = false;
  std::vector<IoRequest> slots_;
  std::vector<iovec> registered_;
  int num_refusals_ = 0;
  int ring_error_ = 0;  // not 0: the ring is dead, and with it the engine
  // The batch at hand.
  Direction direction_ = Direction::Read;
  std::span<const Transfer> transfers_;
  const TransferHooks* hooks_ = nullptr;
  std::size_t next_transfer_ = 0;
  Bytes next_offset_ = 0;
  int num_in_flight_ = 0;
  std::vector<int> num_open_;  // requests of each transfer that are not complete
  std::vector<std::size_t> free_;
  std::optional<TransferFailure> failure_;
};

}  // namespace

std::unique_ptr<IoEngine> make_uring_engine(const EngineOptions& options) {
  auto engine = std::make_unique<UringEngine>(options);
  if (!engine->ready()) return nullptr;
  return engine;
}

}  // namespace sluice::tier
