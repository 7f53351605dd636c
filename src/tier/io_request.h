// One request of a transfer on its way: how much to ask for next and what a result means. Both engines use it, so a
// short transfer, a retry and a final error are the same thing in both.
#pragma once
#include "tier/io_engine.h"

namespace sluice::tier {

class IoRequest {
 public:
  IoRequest() = default;
  IoRequest(Direction direction, const Transfer& range, std::size_t transfer)
      : direction_(direction), range_(range), transfer_(transfer) {}

  enum class State { Again, Complete, Failed };

  /// Bytes to ask for now, or -errno when a fail point (disk.read, disk.write) says that submission fails.
  [[nodiscard]] Bytes next_length() const;
  /// Takes the result of one system call or completion: bytes moved, or -errno. Sleeps a little on EAGAIN.
  State take(Bytes result);

  [[nodiscard]] Direction direction() const { return direction_; }
  [[nodiscard]] int fd() const { return range_.fd; }
  [[nodiscard]] std::byte* data() const { return range_.data + done_; }
  [[nodiscard]] Bytes file_offset() const { return range_.file_offset + done_; }
  [[nodiscard]] std::size_t transfer() const { return transfer_; }
  [[nodiscard]] TransferFailure failure() const { return {transfer_, file_offset(), error_number_}; }

 private:
  Bytes injected(Bytes result) const;

  Direction direction_ = Direction::Read;
  Transfer range_;
  std::size_t transfer_ = 0;
  Bytes done_ = 0;
  int num_stalls_ = 0;  // results in a row without progress
  int error_number_ = 0;
};

}  // namespace sluice::tier
