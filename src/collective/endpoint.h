// One rank's side of the job, shared by all its communicators: the transport, the flight recorder, and what is known
// about lost ranks.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collective/communicator.h"
#include "collective/flight_recorder.h"
#include "collective/transport.h"

namespace sluice::collective {

/// A rank that gives up tells the others whom it missed, so that all of them name the rank that failed first rather
/// than one that followed it. Thread-safe.
class Endpoint {
 public:
  Endpoint(std::unique_ptr<Transport> transport, const Limits& limits);
  ~Endpoint();

  [[nodiscard]] Transport& transport() { return *transport_; }
  [[nodiscard]] FlightRecorder& recorder() { return recorder_; }
  [[nodiscard]] const Limits& limits() const { return limits_; }

  /// Ends communication for good: prints the flight recorder, tells the other ranks and throws CommError. `suspects`
  /// are ranks whose messages are missing; `is_lost`: they are known to be gone, not only late. `what` names the
  /// operation.
  [[noreturn]] void give_up(const std::string& what, const std::vector<int>& suspects, bool is_lost);

  /// Ends communication from any thread, because this rank has failed elsewhere: calls that wait throw CommError soon,
  /// and the other ranks are told whom to name.
  void end(const std::string& why);

  /// Throws CommError if communication has ended.
  void check_usable();

  /// The group number that the next split may take on this rank, and taking all below `next`.
  [[nodiscard]] int next_context() const { return next_context_.load(); }
  void take_contexts(int next) { next_context_.store(next); }

 private:
  /// What `peer` said when it gave up: the rank that it missed; -1 when it said nothing.
  int farewell_of(int peer);
  void tell_others(int culprit);

  struct Farewell {
    std::int64_t culprit = -1;
    std::unique_ptr<Transfer> transfer;
  };

  // The transfers below refer to the transport: it is destroyed last.
  std::unique_ptr<Transport> transport_;
  Limits limits_;
  FlightRecorder recorder_;
  std::atomic<int> next_context_{1};
  std::mutex mutex_;
  std::string why_unusable_;
  std::vector<Farewell> farewells_;  ///< posted at the start, one for each rank
};

/// The communicator of all ranks of a job.
std::unique_ptr<Communicator> make_world(std::unique_ptr<Transport> transport, const Limits& limits);

}  // namespace sluice::collective
