#include "tier/io_request.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/fail_point.h"
#include "tier/store.h"

namespace sluice::tier {
namespace {

constexpr int kMaxStalls = 16;  // without progress; with the growing pause below, 136 ms of EAGAIN
constexpr int kShort = -1;      // what fail_point() returns for SHORT

Bytes align_down(Bytes value) { return value / kStoreAlignment * kStoreAlignment; }

}  // namespace

IoEngine::~IoEngine() = default;

bool IoEngine::register_memory(std::span<std::byte> /*memory*/) { return false; }

Bytes IoRequest::next_length() const {
  const Bytes rest = range_.length - done_;
  const int fail = fail_point(direction_ == Direction::Read ? "disk.read" : "disk.write");
  if (fail == kShort) return std::max(kStoreAlignment, align_down(rest / 2));
  return fail > 0 ? -fail : rest;
}

Bytes IoRequest::injected(Bytes result) const {
  const int fail = fail_point(direction_ == Direction::Read ? "disk.complete_read" : "disk.complete_write");
  if (fail > 0) return -fail;
  if (fail != kShort || result <= 0) return result;
  // What a short read has not brought is spoilt, so that a caller which believes it complete is caught.
  if (direction_ == Direction::Read)
    std::memset(data() + result / 2, 0xA5, static_cast<std::size_t>(result - result / 2));
  return result / 2;
}

IoRequest::State IoRequest::take(Bytes result) {
  result = injected(result);
  if (result < 0 && result != -EAGAIN && result != -EINTR) {
    error_number_ = static_cast<int>(-result);
    return State::Failed;
  }
  if (result == 0 && direction_ == Direction::Read) return State::Failed;  // end of file
  const Bytes progress = std::max<Bytes>(0, align_down(result));           // O_DIRECT goes on at an aligned place
  done_ += progress;
  if (done_ == range_.length) return State::Complete;
  num_stalls_ = progress > 0 ? 0 : num_stalls_ + 1;
  if (num_stalls_ > kMaxStalls) {
    error_number_ = static_cast<int>(-std::min<Bytes>(result, 0));
    return State::Failed;
  }
  if (result == -EAGAIN) std::this_thread::sleep_for(std::chrono::milliseconds(num_stalls_));
  return State::Again;
}

}  // namespace sluice::tier
