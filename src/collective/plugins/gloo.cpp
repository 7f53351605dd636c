// Gloo as it stands in libtorch: its process group carries the messages, its TCP store is the rendezvous. Everything
// listens on the interface of the master's address only, which is loopback unless another was given.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ATen/ops/from_blob.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "collective/plugin.h"

namespace sluice::collective {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A wait of Gloo's that times out closes all connections, and then nobody can be told who was late. So its own time is
// endless, and waits end through `abort`.
constexpr auto kEndless = std::chrono::hours(24 * 365);
constexpr milliseconds kTick{20};

/// Interrupts waits at their deadlines. One thread for all, which looks every 20 ms.
class Interrupter {
 public:
  Interrupter() : thread_([this] { run(); }) {}
  ~Interrupter() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void arm(c10d::Work* work, TimePoint deadline) {
    const std::lock_guard lock(mutex_);
    deadlines_[work] = deadline;
  }
  void disarm(c10d::Work* work) {
    const std::lock_guard lock(mutex_);
    deadlines_.erase(work);
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!is_over_) {
      changed_.wait_for(lock, kTick);
      const TimePoint now = steady_clock::now();
      for (const auto& [work, deadline] : deadlines_) {
        if (deadline <= now) work->abort();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<c10d::Work*, TimePoint> deadlines_;
  bool is_over_ = false;
  std::thread thread_;
};

class GlooTransfer : public Transfer {
 public:
  GlooTransfer(std::shared_ptr<Interrupter> interrupter, c10::intrusive_ptr<c10d::Work> work)
      : interrupter_(std::move(interrupter)), work_(std::move(work)) {}

  bool wait(TimePoint deadline) override {
    if (is_done_) return true;
    interrupter_->arm(work_.get(), deadline);
    try {
      is_done_ = work_->wait(std::chrono::duration_cast<milliseconds>(kEndless));
    } catch (const std::exception& error) {
      interrupter_->disarm(work_.get());
      throw PeerLost(error.what());
    }
    interrupter_->disarm(work_.get());
    return is_done_;
  }

 private:
  std::shared_ptr<Interrupter> interrupter_;
  c10::intrusive_ptr<c10d::Work> work_;
  bool is_done_ = false;
};

class GlooTransport : public Transport {
 public:
  GlooTransport(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<c10d::ProcessGroupGloo> group)
      : store_(std::move(store)), group_(std::move(group)) {}

  int rank() const override { return group_->getRank(); }
  int world_size() const override { return group_->getSize(); }

  std::unique_ptr<Transfer> send(const void* data, std::size_t bytes, int peer, int tag) override {
    std::vector<at::Tensor> tensors = {bytes_at(const_cast<void*>(data), bytes)};
    return begin([&] { return group_->send(tensors, peer, tag); });
  }

  std::unique_ptr<Transfer> receive(void* data, std::size_t bytes, int peer, int tag) override {
    std::vector<at::Tensor> tensors = {bytes_at(data, bytes)};
    return begin([&] { return group_->recv(tensors, peer, tag); });
  }

 private:
  static at::Tensor bytes_at(void* data, std::size_t bytes) {
    return at::from_blob(data, {static_cast<std::int64_t>(bytes)}, at::kByte);
  }

  template <typename Begin>
  std::unique_ptr<Transfer> begin(const Begin& begin_work) {
    try {
      return std::make_unique<GlooTransfer>(interrupter_, begin_work());
    } catch (const std::exception& error) {
      throw PeerLost(error.what());
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  std::shared_ptr<Interrupter> interrupter_ = std::make_shared<Interrupter>();
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

/// The address of this machine's interface by which it reaches the master.
std::string own_address(const Place& place) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  const std::string port = std::to_string(std::max(1, place.master_port));
  if (const int code = getaddrinfo(place.master_address.c_str(), port.c_str(), &hints, &found); code != 0) {
    throw ConfigError(
        "collective", "the master's address is unknown",
        "expected a host name or an address, got " + place.master_address + " (" + gai_strerror(code) + ")",
        "look at MASTER_ADDR");
  }
  std::array<char, NI_MAXHOST> text = {};
  const int probe = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage own = {};
  socklen_t size = sizeof own;
  const bool is_known = probe >= 0 && ::connect(probe, found->ai_addr, found->ai_addrlen) == 0 &&
                        getsockname(probe, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                        getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                                    NI_NUMERICHOST) == 0;
  const int error = errno;
  freeaddrinfo(found);
  if (probe >= 0) close(probe);
  if (!is_known) {
    throw CommError("collective", "there is no way to the master at " + place.master_address, std::strerror(error),
                    "look at MASTER_ADDR and the network");
  }
  return text.data();
}

/// A socket that listens on the master's own address; c10d's would listen on all.
int listen_at(const Place& place, const std::string& address) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE;
  const std::string port = std::to_string(place.master_port);
  const bool is_address = getaddrinfo(address.c_str(), port.c_str(), &hints, &found) == 0;
  const int listener = is_address ? socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  const int yes = 1;
  const bool is_listening = listener >= 0 && setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                            bind(listener, found->ai_addr, found->ai_addrlen) == 0 && listen(listener, 1024) == 0;
  const int error = errno;
  if (is_address) freeaddrinfo(found);
  if (is_listening) return listener;
  if (listener >= 0) close(listener);
  throw CommError("collective", "rank 0 cannot listen on " + address + " port " + port, std::strerror(error),
                  "choose another MASTER_PORT, or end the job that has it");
}

c10::intrusive_ptr<c10d::Store> open_store(const Place& place, const std::string& address, milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(place.master_port);
  options.isServer = place.rank == 0 && !place.store_runs;
  options.waitWorkers = false;
  options.timeout = timeout;
  if (options.isServer) options.masterListenFd = place.listener >= 0 ? place.listener : listen_at(place, address);
  try {
    const std::string host = options.isServer ? address : place.master_address;
    return c10::make_intrusive<c10d::PrefixStore>("sluice/" + place.secret,
                                                  c10::make_intrusive<c10d::TCPStore>(host, options));
  } catch (const std::exception&) {
    throw CommError("collective", "rank " + std::to_string(place.rank) + " does not find rank 0",
                    "expected its rendezvous at " + place.master_address + " port " +
                        std::to_string(place.master_port) + ", got no answer",
                    "look at rank 0's messages and at MASTER_ADDR and MASTER_PORT");
  }
}

/// Every rank says that it is there; whoever does not is named.
void await_all(c10d::Store& store, const Place& place, milliseconds timeout) {
  store.set("here/" + std::to_string(place.rank), std::vector<std::uint8_t>{1});
  const TimePoint deadline = steady_clock::now() + timeout;
  std::string absent;
  for (int rank = 0; rank < place.world_size; ++rank) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    try {
      store.wait({"here/" + std::to_string(rank)}, std::max(left, milliseconds(10)));
    } catch (const std::exception&) {
      absent += (absent.empty() ? "" : ", ") + std::to_string(rank);
    }
  }
  if (absent.empty()) return;
  throw CommError("collective", "rank " + std::to_string(place.rank) + ": the job is not complete",
                  "expected " + std::to_string(place.world_size) + " ranks, got none of " + absent,
                  "look at what became of them; all must be of one job and reach " + place.master_address);
}

/// Gloo writes to connections whose other end may be gone; that must be an error, not the end of this process.
void ignore_broken_pipes() {
  struct sigaction action = {};
  if (sigaction(SIGPIPE, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

GlooTransport* connect(const Place& place, const Limits& limits) {
  ignore_broken_pipes();
  const std::string address = own_address(place);
  const auto store = open_store(place, address, limits.connect_deadline);
  await_all(*store, place, limits.connect_deadline);
  const auto options = c10d::ProcessGroupGloo::Options::create(limits.connect_deadline);
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
  options->threads = 1;  // for its collectives, which are not used
  try {
    auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.world_size, options);
    return new GlooTransport(store, std::move(group));
  } catch (const std::exception& error) {
    throw CommError("collective", "rank " + std::to_string(place.rank) + " cannot connect to the others", error.what(),
                    "look at the network between the machines");
  }
}

}  // namespace
}  // namespace sluice::collective

sluice::collective::Transport* sluice_connect(const sluice::collective::Place& place,
                                              const sluice::collective::Limits& limits) {
  return sluice::collective::connect(place, limits);
}
