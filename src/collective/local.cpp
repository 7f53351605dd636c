// Ranks that are threads of one process. A message is copied once, from the sender's memory to the receiver's, by
// whichever side comes second.
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/check.h"
#include "collective/endpoint.h"

namespace sluice::collective {
namespace {

struct Message {
  const void* source = nullptr;  ///< one of the two is set
  void* target = nullptr;
  std::size_t bytes = 0;
  bool is_done = false;
};

/// Messages from one rank to another.
struct Channel {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, std::deque<Message*>> waiting;  ///< by tag; all of one kind, sent or received
  bool is_closed = false;
};

struct Board {
  explicit Board(int size) : world_size(size), channels(static_cast<std::size_t>(size) * size) {}
  Channel& channel(int from, int to) { return channels[static_cast<std::size_t>(from) * world_size + to]; }

  int world_size;
  std::vector<Channel> channels;
};

class LocalTransfer : public Transfer {
 public:
  LocalTransfer(std::shared_ptr<Board> board, Channel& channel, int tag, const Message& message)
      : board_(std::move(board)), channel_(channel), tag_(tag), message_(message) {
    const std::lock_guard lock(channel_.mutex);
    if (channel_.is_closed) throw PeerLost("the other rank has ended");
    std::deque<Message*>& waiting = channel_.waiting[tag];
    const bool is_send = message_.source != nullptr;
    if (waiting.empty() || (waiting.front()->source != nullptr) == is_send) {
      waiting.push_back(&message_);
      return;
    }
    Message& other = *waiting.front();
    SLUICE_CHECK(other.bytes == message_.bytes, other.bytes, " and ", message_.bytes, " bytes");
    std::memcpy(is_send ? other.target : message_.target, is_send ? message_.source : other.source, message_.bytes);
    other.is_done = message_.is_done = true;
    waiting.pop_front();
    if (waiting.empty()) channel_.waiting.erase(tag);
    channel_.changed.notify_all();
  }

  ~LocalTransfer() override {
    const std::lock_guard lock(channel_.mutex);
    const auto waiting = channel_.waiting.find(tag_);
    if (message_.is_done || waiting == channel_.waiting.end()) return;
    std::erase(waiting->second, &message_);
    if (waiting->second.empty()) channel_.waiting.erase(waiting);
  }

  bool wait(TimePoint deadline) override {
    std::unique_lock lock(channel_.mutex);
    channel_.changed.wait_until(lock, deadline, [&] { return message_.is_done || channel_.is_closed; });
    if (!message_.is_done && channel_.is_closed) throw PeerLost("the other rank has ended");
    return message_.is_done;
  }

 private:
  std::shared_ptr<Board> board_;
  Channel& channel_;
  int tag_;
  Message message_;
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<Board> board, int rank) : board_(std::move(board)), rank_(rank) {}

  ~LocalTransport() override {
    for (int peer = 0; peer < board_->world_size; ++peer) {
      for (Channel* channel : {&board_->channel(rank_, peer), &board_->channel(peer, rank_)}) {
        const std::lock_guard lock(channel->mutex);
        channel->is_closed = true;
        channel->changed.notify_all();
      }
    }
  }

  int rank() const override { return rank_; }
  int world_size() const override { return board_->world_size; }

  std::unique_ptr<Transfer> send(const void* data, std::size_t bytes, int peer, int tag) override {
    return std::make_unique<LocalTransfer>(board_, board_->channel(rank_, peer), tag,
                                           Message{.source = data, .bytes = bytes});
  }

  std::unique_ptr<Transfer> receive(void* data, std::size_t bytes, int peer, int tag) override {
    return std::make_unique<LocalTransfer>(board_, board_->channel(peer, rank_), tag,
                                           Message{.target = data, .bytes = bytes});
  }

 private:
  std::shared_ptr<Board> board_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_world(int world_size, const Limits& limits) {
  SLUICE_CHECK(world_size > 0, world_size);
  const auto board = std::make_shared<Board>(world_size);
  std::vector<std::unique_ptr<Communicator>> world;
  for (int rank = 0; rank < world_size; ++rank) {
    world.push_back(make_world(std::make_unique<LocalTransport>(board, rank), limits));
  }
  return world;
}

}  // namespace sluice::collective
