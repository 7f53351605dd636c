// One operation of a communicator while it runs: its messages, its wait for them, its row in the flight recorder.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collective/endpoint.h"

namespace sluice::collective {

/// Tags: bit 30 for messages of users, bits 22-29 the group, 18-21 the operation, 0-17 its number. Two ranks that are
/// at different operations never take each other's messages: they miss the deadline, and the recorders show where each
/// is.
inline constexpr int kUserTag = 1 << 30;
inline constexpr int kMaxContexts = 255;
/// No group and no user has this one.
inline constexpr int kFarewellTag = 0xff << 22;

/// Messages that are waited for together.
using Round = std::vector<std::pair<int, std::unique_ptr<Transfer>>>;  // {rank in the job, transfer}

class Call {
 public:
  Call(Endpoint& endpoint, Traffic& traffic, std::span<const int> members, const Record& record, int tag);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Begin a message to or from the group's rank `peer`; nothing happens when there are no bytes.
  void send(Round& round, const void* data, std::int64_t bytes, int peer);
  void receive(Round& round, void* data, std::int64_t bytes, int peer);
  /// Returns when all messages of the round are done. Throws CommError.
  void wait(Round& round);
  void done() { endpoint_.recorder().finish(ticket_); }

 private:
  [[nodiscard]] std::string title() const;
  [[noreturn]] void name_the_missing(Round& round, std::size_t first, bool is_lost);

  Endpoint& endpoint_;
  Traffic& traffic_;
  std::span<const int> members_;
  Record record_;
  int tag_;
  std::uint64_t ticket_;
};

}  // namespace sluice::collective
