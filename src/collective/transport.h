// What a library must bring to carry a job: messages between two ranks. Types, sums, groups, deadlines and counters are
// the communicator's.
#pragma once
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>

namespace sluice::collective {

using TimePoint = std::chrono::steady_clock::time_point;

/// The other side of a message is gone: its process ended or its connection was closed.
struct PeerLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One message under way. Destroying one that is not done withdraws it: its memory is not touched any more.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// True once a sent message's memory may be reused or a received one is there; false when that is not so at
  /// `deadline`, and then nothing has changed and one may wait again. Throws PeerLost.
  virtual bool wait(TimePoint deadline) = 0;
};

/// One rank's end of the job. Any thread may call it. Messages between two ranks with one tag arrive in the order in
/// which they were posted. Tags are below 2^31; sizes are above 0 and the same on both sides.
class Transport {
 public:
  virtual ~Transport() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int world_size() const = 0;
  /// Begins a transfer and returns at once; `data` stays valid until it is done. Throws PeerLost.
  [[nodiscard]] virtual std::unique_ptr<Transfer> send(const void* data, std::size_t bytes, int peer, int tag) = 0;
  [[nodiscard]] virtual std::unique_ptr<Transfer> receive(void* data, std::size_t bytes, int peer, int tag) = 0;
  /// The job has failed: destroying this must not wait for other ranks any more.
  virtual void abandon() {}
};

}  // namespace sluice::collective
