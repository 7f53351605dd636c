// MPI: the world that mpirun started. Messages are MPI's; the deadline is ours, so requests are tested, not waited for.
#include <mpi.h>

#include <array>
#include <exception>
#include <thread>

#include "base/error.h"
#include "collective/plugin.h"

namespace sluice::collective {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

// A waiting rank shares its core: it asks again at once for a while, then sleeps between questions.
constexpr microseconds kEager{50};
constexpr microseconds kNap{20};

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text = {};
  int size = 0;
  MPI_Error_string(code, text.data(), &size);
  throw PeerLost(std::string(what) + ": " + text.data());
}

class MpiTransfer : public Transfer {
 public:
  MpiTransfer(MPI_Request request, bool is_receive) : request_(request), is_receive_(is_receive) {}

  ~MpiTransfer() override {
    if (request_ == MPI_REQUEST_NULL) return;
    // Only a receive can be withdrawn for certain; a send is left to MPI.
    if (is_receive_ && MPI_Cancel(&request_) == MPI_SUCCESS) {
      MPI_Wait(&request_, MPI_STATUS_IGNORE);
    } else {
      MPI_Request_free(&request_);
    }
  }

  bool wait(TimePoint deadline) override {
    const TimePoint begin = steady_clock::now();
    for (int is_done = 0;;) {
      if (request_ == MPI_REQUEST_NULL) return true;
      check(MPI_Test(&request_, &is_done, MPI_STATUS_IGNORE), "a message of MPI failed");
      if (is_done != 0) return true;
      const TimePoint now = steady_clock::now();
      if (now >= deadline) return false;
      if (now - begin < kEager) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(kNap);
      }
    }
  }

 private:
  MPI_Request request_;
  bool is_receive_;
};

class MpiTransport : public Transport {
 public:
  MpiTransport() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size_);
  }

  ~MpiTransport() override {
    // After a failure, here or elsewhere, the others may never come to the end: mpirun then ends the job.
    if (!is_abandoned_ && std::uncaught_exceptions() == num_exceptions_) MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  void abandon() override { is_abandoned_ = true; }

  std::unique_ptr<Transfer> send(const void* data, std::size_t bytes, int peer, int tag) override {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request), "a send failed");
    return std::make_unique<MpiTransfer>(request, false);
  }

  std::unique_ptr<Transfer> receive(void* data, std::size_t bytes, int peer, int tag) override {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request), "a receive failed");
    return std::make_unique<MpiTransfer>(request, true);
  }

 private:
  int rank_ = 0, world_size_ = 1;
  bool is_abandoned_ = false;
  int num_exceptions_ = std::uncaught_exceptions();
};

MpiTransport* connect(const Place& place) {
  int is_ready = 0, is_over = 0, provided = 0;
  MPI_Initialized(&is_ready);
  MPI_Finalized(&is_over);
  if (is_over != 0) throw ConfigError("collective", "MPI was used and left in this process already");
  if (is_ready == 0) MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  auto transport = std::make_unique<MpiTransport>();
  if (transport->world_size() != place.world_size || transport->rank() != place.rank) {
    throw ConfigError("collective", "MPI knows another job",
                      "expected rank " + std::to_string(place.rank) + " of " + std::to_string(place.world_size) +
                          ", got " + std::to_string(transport->rank()) + " of " +
                          std::to_string(transport->world_size()),
                      "start the ranks with mpirun -np N");
  }
  if (provided != MPI_THREAD_MULTIPLE) {
    throw ConfigError("collective", "this MPI serves one thread only", "expected MPI_THREAD_MULTIPLE",
                      "use --collective gloo");
  }
  return transport.release();
}

}  // namespace
}  // namespace sluice::collective

sluice::collective::Transport* sluice_connect(const sluice::collective::Place& place,
                                              const sluice::collective::Limits&) {
  return sluice::collective::connect(place);
}
