// Ranks as processes of one test: forked, joined by socket pairs, each with the process-wide tensor workspace of its
// own that a run of several ranks needs. What a rank finds out comes back as bytes.
#pragma once
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "collective/endpoint.h"

namespace sluice::exec {

/// Messages over one socket per other rank, sorted by tag by a thread for each.
class SocketTransport final : public collective::Transport {
 public:
  SocketTransport(int rank, std::vector<int> sockets) : rank_(rank), sockets_(std::move(sockets)) {
    for (int peer = 0; peer < world_size(); ++peer) {
      if (peer != rank_) readers_.emplace_back([this, peer] { read(peer); });
    }
  }
  ~SocketTransport() override {
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    for (std::thread& reader : readers_) reader.join();
  }
  int rank() const override { return rank_; }
  int world_size() const override { return static_cast<int>(sockets_.size()); }

  std::unique_ptr<collective::Transfer> send(const void* data, std::size_t bytes, int peer, int tag) override {
    const std::lock_guard lock(sending_);
    const std::pair<std::size_t, std::size_t> header(bytes, static_cast<std::size_t>(tag));
    if (!put(peer, &header, sizeof(header)) || !put(peer, data, bytes)) throw collective::PeerLost("socket closed");
    return std::make_unique<Done>();
  }
  std::unique_ptr<collective::Transfer> receive(void* data, std::size_t bytes, int peer, int tag) override {
    return std::make_unique<Receive>(*this, data, bytes, std::pair(peer, tag));
  }

 private:
  using Place = std::pair<int, int>;  // peer and tag

  struct Done final : collective::Transfer {
    bool wait(collective::TimePoint) override { return true; }
  };

  struct Receive final : collective::Transfer {
    Receive(SocketTransport& from, void* to, std::size_t size, Place where)
        : transport(from), data(to), bytes(size), place(where) {}
    bool wait(collective::TimePoint deadline) override {
      std::unique_lock lock(transport.mutex_);
      auto& queue = transport.arrived_[place];
      transport.changed_.wait_until(lock, deadline, [&] { return !queue.empty() || transport.closed_[place.first]; });
      if (queue.empty() && transport.closed_[place.first]) throw collective::PeerLost("socket closed");
      if (queue.empty()) return false;
      std::memcpy(data, queue.front().data(), bytes);
      queue.pop_front();
      return true;
    }
    SocketTransport& transport;
    void* data;
    std::size_t bytes;
    Place place;
  };

  bool put(int peer, const void* data, std::size_t bytes) const {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t sent = ::send(sockets_[peer], from, bytes, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      from += sent;
      bytes -= static_cast<std::size_t>(sent);
    }
    return true;
  }
  bool get(int peer, void* data, std::size_t bytes) const {
    auto* to = static_cast<char*>(data);
    while (bytes > 0) {
      const ssize_t got = ::recv(sockets_[peer], to, bytes, 0);
      if (got <= 0) return false;
      to += got;
      bytes -= static_cast<std::size_t>(got);
    }
    return true;
  }

  void read(int peer) {
    for (;;) {
      std::pair<std::size_t, std::size_t> header;
      const bool open = get(peer, &header, sizeof(header));
      std::vector<std::byte> message(open ? header.first : 0);
      const bool whole = open && get(peer, message.data(), message.size());
      const std::lock_guard lock(mutex_);
      if (whole) {
        arrived_[{peer, static_cast<int>(header.second)}].push_back(std::move(message));
      } else {
        closed_[peer] = true;
      }
      changed_.notify_all();
      if (!whole) return;
    }
  }

  const int rank_;
  const std::vector<int> sockets_;
  std::mutex mutex_, sending_;
  std::condition_variable changed_;
  std::map<Place, std::deque<std::vector<std::byte>>> arrived_;
  std::map<int, bool> closed_;
  std::vector<std::thread> readers_;
};

/// Runs `body` once per rank, each in a process of its own, and returns what they wrote, at most `kMostBytes` each. A
/// rank that throws or ends early fails the test.
inline std::vector<std::vector<std::byte>> run_ranks(
    int num_ranks, const std::function<std::vector<std::byte>(collective::Communicator&)>& body) {
  constexpr std::size_t kMostBytes = std::size_t{16} << 20;
  std::vector<std::vector<int>> sockets(num_ranks, std::vector<int>(num_ranks, -1));
  for (int a = 0; a < num_ranks; ++a) {
    for (int b = a + 1; b < num_ranks; ++b) {
      int pair[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) ADD_FAILURE() << "no socket pair";
      sockets[a][b] = pair[0];
      sockets[b][a] = pair[1];
    }
  }
  const std::size_t room = kMostBytes + sizeof(std::size_t);
  auto* const shared = static_cast<std::byte*>(
      ::mmap(nullptr, num_ranks * room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::vector<pid_t> children;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int other = 0; other < num_ranks; ++other) {
        for (const int socket : sockets[other]) {
          if (other != rank && socket >= 0) ::close(socket);
        }
      }
      int status = 1;
      try {
        const auto world = collective::make_world(std::make_unique<SocketTransport>(rank, sockets[rank]),
                                                  {.deadline = std::chrono::seconds(60)});
        const std::vector<std::byte> result = body(*world);
        const std::size_t size = result.size();
        std::memcpy(shared + rank * room, &size, sizeof(size));
        std::memcpy(shared + rank * room + sizeof(size), result.data(), std::min(size, kMostBytes));
        status = size <= kMostBytes ? 0 : 2;
      } catch (const std::exception& error) {
        std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const auto& row : sockets) {
    for (const int socket : row) {
      if (socket >= 0) ::close(socket);
    }
  }
  std::vector<std::vector<std::byte>> results;
  for (int rank = 0; rank < num_ranks; ++rank) {
    int status = 0;
    ::waitpid(children[rank], &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "rank " << rank << " ended with " << status;
    std::size_t size = 0;
    std::memcpy(&size, shared + rank * room, sizeof(size));
    const std::byte* const from = shared + rank * room + sizeof(size);
    results.emplace_back(from, from + std::min(size, kMostBytes));
  }
  ::munmap(shared, num_ranks * room);
  return results;
}

}  // namespace sluice::exec
