// The last operations of one rank, for the moment when one of them does not come to an end.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "collective/communicator.h"

namespace sluice::collective {

struct Record {
  Operation operation = Operation::Barrier;
  std::int64_t sequence = 0;  ///< within its group
  int context = 0;            ///< the group
  int group_size = 0;
  std::int64_t count = 0;
  ElementType type = ElementType::Byte;
  int peer = -1;  ///< rank in the job: root, destination or source
};

/// Keeps the last 32 operations. Thread-safe.
class FlightRecorder {
 public:
  explicit FlightRecorder(int rank) : rank_(rank) {}

  /// Returns a ticket for `finish`.
  std::uint64_t begin(const Record& record);
  void finish(std::uint64_t ticket);
  /// Several lines, oldest operation first.
  [[nodiscard]] std::string text() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    Record record;
    Clock::time_point begun, finished;
    bool is_finished = false;
  };
  static constexpr std::size_t kKept = 32;

  int rank_;
  mutable std::mutex mutex_;
  std::array<Entry, kKept> entries_;
  std::uint64_t num_begun_ = 0;
};

}  // namespace sluice::collective
