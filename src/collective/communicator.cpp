// Every operation as messages. Reductions: each rank owns one piece, gets the others' copies of it and adds them in the
// order of ranks. That is as few bytes as a ring sends, in one step instead of N-1, and the order is everyone's.
#include "collective/communicator.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "collective/call.h"
#include "collective/reduction.h"

namespace sluice::collective {
namespace {

using std::int64_t;

// Below it one latency counts more than bytes: each rank gets everything and adds for itself.
constexpr int64_t kSmallBytes = 16 << 10;
// Above it the root does not send everything N-1 times.
constexpr int64_t kSmallBroadcastBytes = 64 << 10;
constexpr int64_t kAlignment = 64;

struct Piece {
  int64_t offset = 0, bytes = 0;
};

/// Rank `index`'s piece when `bytes` are cut into nearly equal ones, each beginning at a multiple of 64 bytes.
Piece cut(int64_t bytes, int num_pieces, int index) {
  const int64_t per_rank = (bytes + num_pieces - 1) / num_pieces;
  const int64_t size = (per_rank + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t begin = std::min(bytes, index * size);
  return {begin, std::min(bytes, begin + size) - begin};
}

std::byte* at(void* data, int64_t offset) { return static_cast<std::byte*>(data) + offset; }
const std::byte* at(const void* data, int64_t offset) { return static_cast<const std::byte*>(data) + offset; }

void check_count(int64_t count, ElementType type) {
  SLUICE_CHECK(count >= 0 && count <= std::numeric_limits<int64_t>::max() / element_bytes(type), count);
}

}  // namespace

std::int64_t element_bytes(ElementType type) {
  switch (type) {
    case ElementType::Fp32:
      return 4;
    case ElementType::Bf16:
    case ElementType::Fp16:
      return 2;
    case ElementType::Int64:
      return 8;
    case ElementType::Byte:
      return 1;
  }
  return 0;
}

std::string_view operation_name(Operation operation) {
  static constexpr std::array<std::string_view, kNumOperations> kNames = {
      "all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send", "receive", "barrier", "split"};
  return kNames[static_cast<std::size_t>(operation)];
}

std::int64_t Traffic::total_bytes_sent() const {
  return std::accumulate(bytes_sent.begin(), bytes_sent.end(), int64_t{0});
}

Communicator::Communicator(std::shared_ptr<Endpoint> endpoint, std::vector<int> members, int context)
    : endpoint_(std::move(endpoint)), members_(std::move(members)), context_(context) {
  const auto found = std::find(members_.begin(), members_.end(), endpoint_->transport().rank());
  SLUICE_CHECK(found != members_.end());
  rank_ = static_cast<int>(found - members_.begin());
  if (world_size() > 1) scratch_ = std::make_unique<std::byte[]>(static_cast<std::size_t>(kScratchBytes));
}

Communicator::~Communicator() = default;

Call Communicator::begin(Operation operation, int64_t count, ElementType type, int root) {
  check_count(count, type);
  SLUICE_CHECK(root < world_size(), root);
  const Record record = {.operation = operation,
                         .sequence = ++sequence_,
                         .context = context_,
                         .group_size = world_size(),
                         .count = count,
                         .type = type,
                         .peer = root < 0 ? -1 : members_[static_cast<std::size_t>(root)]};
  const int tag = context_ << 22 | static_cast<int>(operation) << 18 | static_cast<int>(sequence_ & 0x3ffff);
  return Call(*endpoint_, traffic_, members_, record, tag);
}

void Communicator::all_reduce(void* data, int64_t count, ElementType type, Reduce reduce) {
  Call call = begin(Operation::AllReduce, count, type);
  const int64_t bytes = count * element_bytes(type);
  const int size = world_size();
  if (size > 1 && bytes <= kSmallBytes && (size - 1) * kSmallBytes <= kScratchBytes) {
    reduce_small(call, data, count, type, reduce);
  } else if (size > 1) {
    const auto piece_of = [&](int index) { return cut(bytes, size, index); };
    const Piece mine = piece_of(rank_);
    exchange_and_reduce(call, data, at(data, mine.offset), piece_of, type, reduce, Into::Replace);
    exchange_pieces(call, data, piece_of);
  }
  call.done();
}

void Communicator::reduce_small(Call& call, void* data, int64_t count, ElementType type, Reduce reduce) {
  const int64_t bytes = count * element_bytes(type);
  std::vector<const void*> sources;
  Round round;
  for (int peer = 0; peer < world_size(); ++peer) {
    sources.push_back(peer == rank_ ? data : scratch_.get() + peer * kSmallBytes - (peer > rank_ ? kSmallBytes : 0));
    if (peer == rank_) continue;
    call.receive(round, const_cast<void*>(sources.back()), bytes, peer);
    call.send(round, data, bytes, peer);
  }
  call.wait(round);
  reduce_in_order(data, sources, count, type, reduce);
}

template <typename PieceOf>
void Communicator::exchange_and_reduce(Call& call, const void* all, void* target, const PieceOf& piece_of,
                                       ElementType type, Reduce reduce, Into into) {
  // While one half of the scratch memory is added up, the other fills.
  const int64_t half = kScratchBytes / 2;
  const int64_t segment = half / std::max(1, world_size() - 1) / kAlignment * kAlignment;
  SLUICE_CHECK(segment > 0, world_size());
  const int64_t num_segments = (piece_of(0).bytes + segment - 1) / segment;
  const Piece mine = piece_of(rank_);
  const auto part_of = [&](const Piece& piece, int64_t index) {
    const int64_t begin = std::min(piece.bytes, index * segment);
    return Piece{piece.offset + begin, std::min(piece.bytes - begin, segment)};
  };
  const auto slot_of = [&](int peer, int64_t index) {
    return scratch_.get() + index % 2 * half + (peer - (peer > rank_ ? 1 : 0)) * segment;
  };
  const auto post = [&](Round& round, int64_t index) {
    for (int step = 1; step < world_size(); ++step) {
      // Everyone begins with another peer.
      const int to = (rank_ + step) % world_size();
      const int from = (rank_ - step + world_size()) % world_size();
      call.receive(round, slot_of(from, index), part_of(mine, index).bytes, from);
      const Piece part = part_of(piece_of(to), index);
      call.send(round, at(all, part.offset), part.bytes, to);
    }
  };
  std::array<Round, 2> rounds;
  if (num_segments > 0) post(rounds[0], 0);
  for (int64_t index = 0; index < num_segments; ++index) {
    if (index + 1 < num_segments) post(rounds[(index + 1) % 2], index + 1);
    call.wait(rounds[index % 2]);
    const Piece part = part_of(mine, index);
    void* out = at(target, part.offset - mine.offset);
    std::vector<const void*> sources;
    if (into == Into::Add) sources.push_back(out);
    for (int peer = 0; peer < world_size(); ++peer) {
      sources.push_back(peer == rank_ ? at(all, part.offset) : slot_of(peer, index));
    }
    reduce_in_order(out, sources, part.bytes / element_bytes(type), type, reduce);
  }
}

template <typename PieceOf>
void Communicator::exchange_pieces(Call& call, void* all, const PieceOf& piece_of) {
  const Piece mine = piece_of(rank_);
  Round round;
  for (int step = 1; step < world_size(); ++step) {
    const int from = (rank_ - step + world_size()) % world_size();
    const Piece theirs = piece_of(from);
    call.receive(round, at(all, theirs.offset), theirs.bytes, from);
    call.send(round, at(all, mine.offset), mine.bytes, (rank_ + step) % world_size());
  }
  call.wait(round);
}

void Communicator::all_gather(const void* mine, void* all, int64_t count_per_rank, ElementType type) {
  check_count(count_per_rank, type);
  Call call = begin(Operation::AllGather, count_per_rank, type);
  const int64_t bytes = count_per_rank * element_bytes(type);
  if (bytes > 0 && mine != at(all, rank_ * bytes)) {
    std::memcpy(at(all, rank_ * bytes), mine, static_cast<std::size_t>(bytes));
  }
  exchange_pieces(call, all, [&](int index) { return Piece{index * bytes, bytes}; });
  call.done();
}

void Communicator::reduce_scatter(const void* all, void* mine, int64_t count_per_rank, ElementType type, Into into) {
  Call call = begin(Operation::ReduceScatter, count_per_rank, type);
  const int64_t bytes = count_per_rank * element_bytes(type);
  SLUICE_CHECK(into == Into::Replace || bytes == 0 || mine != at(all, rank_ * bytes),
               "adding to a piece that is itself a contribution");
  exchange_and_reduce(
      call, all, mine,
      [&](int index) {
        return Piece{index * bytes, bytes};
      },
      type, Reduce::Sum, into);
  call.done();
}

void Communicator::broadcast(void* data, int64_t count, ElementType type, int root) {
  SLUICE_CHECK(root >= 0, root);
  Call call = begin(Operation::Broadcast, count, type, root);
  const int64_t bytes = count * element_bytes(type);
  const bool is_whole = bytes <= kSmallBroadcastBytes || world_size() == 2;
  const auto piece_of = [&](int index) { return cut(bytes, world_size(), index); };
  Round round;
  if (rank_ == root) {
    for (int peer = 0; peer < world_size(); ++peer) {
      const Piece part = is_whole ? Piece{0, bytes} : piece_of(peer);
      if (peer != root) call.send(round, at(data, part.offset), part.bytes, peer);
    }
  } else {
    const Piece part = is_whole ? Piece{0, bytes} : piece_of(rank_);
    call.receive(round, at(data, part.offset), part.bytes, root);
  }
  call.wait(round);
  // The root has all pieces already, and is sent none.
  if (!is_whole) {
    const Piece mine = piece_of(rank_);
    for (int peer = 0; peer < world_size(); ++peer) {
      const Piece theirs = piece_of(peer);
      if (peer == rank_) continue;
      if (rank_ != root) call.receive(round, at(data, theirs.offset), theirs.bytes, peer);
      if (peer != root) call.send(round, at(data, mine.offset), mine.bytes, peer);
    }
    call.wait(round);
  }
  call.done();
}

void Communicator::all_to_all_v(const void* send, std::span<const int64_t> send_counts, void* receive,
                                std::span<const int64_t> receive_counts, ElementType type) {
  SLUICE_CHECK(send_counts.size() == members_.size() && receive_counts.size() == members_.size());
  SLUICE_CHECK(send_counts[rank_] == receive_counts[rank_], send_counts[rank_], " and ", receive_counts[rank_]);
  Call call = begin(Operation::AllToAll, std::accumulate(send_counts.begin(), send_counts.end(), int64_t{0}), type);
  const int64_t size = element_bytes(type);
  int64_t send_offset = 0, receive_offset = 0;
  Round round;
  for (int peer = 0; peer < world_size(); ++peer) {
    const int64_t send_bytes = send_counts[peer] * size, receive_bytes = receive_counts[peer] * size;
    if (peer != rank_) {
      call.receive(round, at(receive, receive_offset), receive_bytes, peer);
      call.send(round, at(send, send_offset), send_bytes, peer);
    } else if (send_bytes > 0) {
      std::memcpy(at(receive, receive_offset), at(send, send_offset), static_cast<std::size_t>(send_bytes));
    }
    send_offset += send_bytes;
    receive_offset += receive_bytes;
  }
  call.wait(round);
  call.done();
}

void Communicator::all_to_all(const void* send, void* receive, int64_t count_per_rank, ElementType type) {
  const std::vector<int64_t> counts(members_.size(), count_per_rank);
  all_to_all_v(send, counts, receive, counts, type);
}

Call Communicator::begin_message(Operation operation, int64_t count, ElementType type, int peer, int tag) {
  check_count(count, type);
  SLUICE_CHECK(peer >= 0 && peer < world_size() && peer != rank_, peer);
  SLUICE_CHECK(tag >= 0 && tag < 1 << 16, tag);
  const Record record = {.operation = operation,
                         .sequence = ++num_messages_,
                         .context = context_,
                         .group_size = world_size(),
                         .count = count,
                         .type = type,
                         .peer = members_[static_cast<std::size_t>(peer)]};
  return Call(*endpoint_, traffic_, members_, record, kUserTag | context_ << 16 | tag);
}

void Communicator::send(const void* data, int64_t count, ElementType type, int peer, int tag) {
  Call call = begin_message(Operation::Send, count, type, peer, tag);
  Round round;
  call.send(round, data, count * element_bytes(type), peer);
  call.wait(round);
  call.done();
}

void Communicator::receive(void* data, int64_t count, ElementType type, int peer, int tag) {
  Call call = begin_message(Operation::Receive, count, type, peer, tag);
  Round round;
  call.receive(round, data, count * element_bytes(type), peer);
  call.wait(round);
  call.done();
}

void Communicator::barrier() {
  Call call = begin(Operation::Barrier, 0, ElementType::Byte);
  const std::byte word{};
  std::vector<std::byte> words(members_.size());
  Round round;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank_) continue;
    call.receive(round, &words[static_cast<std::size_t>(peer)], 1, peer);
    call.send(round, &word, 1, peer);
  }
  call.wait(round);
  call.done();
}

std::unique_ptr<Communicator> Communicator::split(int color, int key) {
  Call call = begin(Operation::Split, world_size(), ElementType::Int64);
  struct Wish {
    int64_t color, key, next_context;
  };
  std::vector<Wish> wishes(members_.size());
  wishes[static_cast<std::size_t>(rank_)] = {color, key, endpoint_->next_context()};
  exchange_pieces(call, wishes.data(), [](int index) {
    return Piece{index * static_cast<int64_t>(sizeof(Wish)), sizeof(Wish)};
  });
  call.done();
  // A number that no group has to which two of these ranks belong.
  int context = 0;
  std::vector<int> order;
  for (int index = 0; index < world_size(); ++index) {
    const Wish& wish = wishes[static_cast<std::size_t>(index)];
    context = std::max(context, static_cast<int>(wish.next_context));
    if (wish.color == color) order.push_back(index);
  }
  if (context >= kMaxContexts) {
    throw ConfigError("collective", "no sub-group can be made any more", "expected at most 254 in one job");
  }
  endpoint_->take_contexts(context + 1);
  if (color < 0) return nullptr;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return wishes[static_cast<std::size_t>(a)].key < wishes[static_cast<std::size_t>(b)].key;
  });
  for (int& index : order) index = members_[static_cast<std::size_t>(index)];
  return std::make_unique<Communicator>(endpoint_, std::move(order), context);
}

std::int64_t Communicator::agree_max(std::int64_t value) {
  all_reduce(&value, 1, ElementType::Int64, Reduce::Max);
  return value;
}

void Communicator::end(const std::string& why) { endpoint_->end(why); }

}  // namespace sluice::collective
