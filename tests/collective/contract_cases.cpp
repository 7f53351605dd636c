#include "contract_cases.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/half.h"

namespace sluice::collective {
namespace {

using std::int64_t;

constexpr ElementType kTypes[] = {ElementType::Fp32, ElementType::Bf16, ElementType::Fp16, ElementType::Int64};
// Nothing, one, odd, small, larger than what is sent at once.
constexpr int64_t kCounts[] = {0, 1, 7, 1000, 100'003};
constexpr int64_t kLargeCount = 1'500'001;

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

/// An exact value of 8 bits and a wide range of exponents, so that the order of a sum shows.
double value_at(int rank, int64_t index) {
  const auto mixed = static_cast<std::uint64_t>(index * 131 + rank * 7919 + 17) * 0x9e3779b97f4a7c15ull;
  const double magnitude = static_cast<double>(mixed >> 40 & 127) + 1;
  const int exponent = static_cast<int>(mixed >> 33 & 7) - 4;
  return (mixed >> 60 & 1 ? -1 : 1) * magnitude * static_cast<double>(1 << (exponent + 4)) / 16;
}

std::uint64_t stored(double value, ElementType type) {
  switch (type) {
    case ElementType::Fp32:
      return std::bit_cast<std::uint32_t>(static_cast<float>(value));
    case ElementType::Bf16:
      return float_to_bfloat(static_cast<float>(value));
    case ElementType::Fp16:
      return float_to_half(static_cast<float>(value));
    default:
      return static_cast<std::uint64_t>(static_cast<int64_t>(value * 16));
  }
}

std::vector<std::byte> filled(int64_t count, ElementType type, const auto& value_of) {
  const int64_t size = element_bytes(type);
  std::vector<std::byte> data(static_cast<std::size_t>(count * size));
  for (int64_t i = 0; i < count; ++i) {
    const std::uint64_t bits = stored(value_of(i), type);
    std::memcpy(data.data() + i * size, &bits, static_cast<std::size_t>(size));
  }
  return data;
}

std::vector<std::byte> contribution(int rank, int64_t count, ElementType type) {
  return filled(count, type, [&](int64_t i) { return value_at(rank, i); });
}

/// start + rank 0 + rank 1 + ... in fp32 from left to right.
double sum_in_order(int size, int64_t index, bool is_integer, double start = 0, bool has_start = false) {
  if (is_integer) {
    double sum = start;
    for (int rank = 0; rank < size; ++rank) sum += value_at(rank, index);
    return sum;
  }
  float sum = has_start ? static_cast<float>(start) : static_cast<float>(value_at(0, index));
  for (int rank = has_start ? 0 : 1; rank < size; ++rank) sum += static_cast<float>(value_at(rank, index));
  return sum;
}

std::string label(std::string_view what, int64_t count, ElementType type) {
  return std::string(what) + " of " + std::to_string(count) + " elements of type " +
         std::to_string(static_cast<int>(type));
}

void sums_in_the_order_of_ranks(Communicator& world) {
  for (const ElementType type : kTypes) {
    for (const int64_t count : kCounts) {
      std::vector<std::byte> data = contribution(world.rank(), count, type);
      world.all_reduce(data.data(), count, type, Reduce::Sum);
      const bool is_integer = type == ElementType::Int64;
      const auto right =
          filled(count, type, [&](int64_t i) { return sum_in_order(world.world_size(), i, is_integer); });
      expect(data == right, label("all_reduce", count, type));
    }
  }
}

void sums_more_than_fits_in_one_message(Communicator& world) {
  std::vector<std::byte> data = contribution(world.rank(), kLargeCount, ElementType::Fp32);
  world.all_reduce(data.data(), kLargeCount, ElementType::Fp32, Reduce::Sum);
  const auto right =
      filled(kLargeCount, ElementType::Fp32, [&](int64_t i) { return sum_in_order(world.world_size(), i, false); });
  expect(data == right, "a large all_reduce");
}

void finds_the_largest(Communicator& world) {
  for (const ElementType type : kTypes) {
    const int64_t count = 10'007;
    std::vector<std::byte> data = contribution(world.rank(), count, type);
    world.all_reduce(data.data(), count, type, Reduce::Max);
    const auto right = filled(count, type, [&](int64_t i) {
      double largest = value_at(0, i);
      for (int rank = 1; rank < world.world_size(); ++rank) largest = std::max(largest, value_at(rank, i));
      return largest;
    });
    expect(data == right, label("max", count, type));
  }
  expect(world.agree_max(world.rank() * 10 - 5) == (world.world_size() - 1) * 10 - 5, "agree_max");
}

void gathers_in_and_out_of_place(Communicator& world) {
  for (const int64_t count : kCounts) {
    for (const bool in_place : {false, true}) {
      const ElementType type = ElementType::Bf16;
      const std::vector<std::byte> mine = contribution(world.rank(), count, type);
      std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(world.world_size()));
      std::byte* piece = all.data() + static_cast<std::size_t>(world.rank()) * mine.size();
      if (in_place && count > 0) std::memcpy(piece, mine.data(), mine.size());
      world.all_gather(in_place ? piece : mine.data(), all.data(), count, type);
      std::vector<std::byte> right;
      for (int rank = 0; rank < world.world_size(); ++rank) {
        const auto theirs = contribution(rank, count, type);
        right.insert(right.end(), theirs.begin(), theirs.end());
      }
      expect(all == right, label("all_gather", count, type));
    }
  }
}

void scatters_sums(Communicator& world) {
  for (const ElementType type : kTypes) {
    for (const int64_t count : kCounts) {
      for (const bool in_place : {false, true}) {
        const int64_t total = count * world.world_size();
        std::vector<std::byte> all = contribution(world.rank(), total, type);
        std::vector<std::byte> mine(static_cast<std::size_t>(count * element_bytes(type)));
        std::byte* piece = all.data() + static_cast<std::size_t>(world.rank()) * mine.size();
        world.reduce_scatter(all.data(), in_place ? piece : mine.data(), count, type);
        if (in_place && count > 0) std::memcpy(mine.data(), piece, mine.size());
        const auto right = filled(count, type, [&](int64_t i) {
          return sum_in_order(world.world_size(), world.rank() * count + i, type == ElementType::Int64);
        });
        expect(mine == right, label("reduce_scatter", count, type));
      }
    }
  }
}

void adds_sums_to_what_is_there(Communicator& world) {
  for (const ElementType type : kTypes) {
    const int64_t count = 4099;
    const std::vector<std::byte> all = contribution(world.rank(), count * world.world_size(), type);
    std::vector<std::byte> mine = contribution(99, count, type);
    world.reduce_scatter(all.data(), mine.data(), count, type, Into::Add);
    const auto right = filled(count, type, [&](int64_t i) {
      return sum_in_order(world.world_size(), world.rank() * count + i, type == ElementType::Int64, value_at(99, i),
                          true);
    });
    expect(mine == right, label("reduce_scatter into a sum", count, type));
  }
}

/// Twelve contributions dealt out in turn, one to a rank: added round by round, they give the bits of one rank.
void sums_dealt_contributions_to_the_bits_of_one_rank(Communicator& world) {
  constexpr int kContributions = 12;
  const int size = world.world_size();
  if (kContributions % size != 0) return;
  const int64_t count = 1009;
  std::vector<float> mine(static_cast<std::size_t>(count), 0);
  for (int round = 0; round < kContributions / size; ++round) {
    const auto all = contribution(round * size + world.rank(), count * size, ElementType::Fp32);
    world.reduce_scatter(all.data(), mine.data(), count, ElementType::Fp32, Into::Add);
  }
  for (int64_t i = 0; i < count; ++i) {
    float right = 0;
    for (int index = 0; index < kContributions; ++index) {
      right += static_cast<float>(value_at(index, world.rank() * count + i));
    }
    expect(mine[static_cast<std::size_t>(i)] == right, "a sum over rounds");
  }
}

void broadcasts_from_every_root(Communicator& world) {
  for (int root = 0; root < world.world_size(); ++root) {
    for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{100'003}}) {
      std::vector<std::byte> data = contribution(world.rank(), count, ElementType::Fp32);
      world.broadcast(data.data(), count, ElementType::Fp32, root);
      expect(data == contribution(root, count, ElementType::Fp32), label("broadcast", count, ElementType::Fp32));
    }
  }
}

void sends_pieces_of_any_size_to_all(Communicator& world) {
  const int size = world.world_size();
  // Rank a sends rank b (a + 2 b) % 4 times 1000 elements, so some get nothing.
  const auto count_of = [](int from, int to) { return int64_t{1000} * ((from + 2 * to) % 4); };
  std::vector<int64_t> send_counts, receive_counts;
  std::vector<std::byte> send, right;
  for (int peer = 0; peer < size; ++peer) {
    send_counts.push_back(count_of(world.rank(), peer));
    receive_counts.push_back(count_of(peer, world.rank()));
    const auto out = contribution(world.rank() * 16 + peer, send_counts.back(), ElementType::Int64);
    const auto in = contribution(peer * 16 + world.rank(), receive_counts.back(), ElementType::Int64);
    send.insert(send.end(), out.begin(), out.end());
    right.insert(right.end(), in.begin(), in.end());
  }
  std::vector<std::byte> received(right.size());
  world.all_to_all_v(send.data(), send_counts, received.data(), receive_counts, ElementType::Int64);
  expect(received == right, "all_to_all_v");
}

void passes_messages_in_order(Communicator& world) {
  const int size = world.world_size();
  if (size < 2) return;
  const int next = (world.rank() + 1) % size, before = (world.rank() + size - 1) % size;
  for (const int64_t count : {int64_t{3}, int64_t{300'007}}) {
    for (int tag = 0; tag < 3; ++tag) {
      const auto out = contribution(world.rank() + 100 * tag, count, ElementType::Fp16);
      std::vector<std::byte> in(out.size());
      if (world.rank() % 2 == 0) world.send(out.data(), count, ElementType::Fp16, next, tag);
      world.receive(in.data(), count, ElementType::Fp16, before, tag);
      if (world.rank() % 2 == 1) world.send(out.data(), count, ElementType::Fp16, next, tag);
      expect(in == contribution(before + 100 * tag, count, ElementType::Fp16), "send and receive");
    }
  }
}

void splits_into_groups(Communicator& world) {
  const int size = world.world_size();
  // Even and odd ranks, the last first.
  const auto half = world.split(world.rank() % 2, -world.rank());
  std::vector<int64_t> members(static_cast<std::size_t>(half->world_size()));
  const int64_t me = world.rank();
  half->all_gather(&me, members.data(), 1, ElementType::Int64);
  for (std::size_t i = 0; i + 1 < members.size(); ++i) expect(members[i] == members[i + 1] + 2, "order of a group");
  expect(members[static_cast<std::size_t>(half->rank())] == me, "rank in a group");
  // A group of a group, beside its parents.
  const auto nested = half->split(0, half->rank());
  const auto all_but_first = world.split(world.rank() == 0 ? -1 : 0, 0);
  expect((all_but_first == nullptr) == (world.rank() == 0), "a rank without a color");
  for (int round = 0; round < 3; ++round) {
    int64_t sum = world.rank(), largest = world.rank(), others = world.rank();
    world.all_reduce(&sum, 1, ElementType::Int64, Reduce::Sum);
    expect(sum == size * (size - 1) / 2, "a sum beside groups");
    expect(nested->agree_max(largest) == *std::max_element(members.begin(), members.end()), "a group of a group");
    if (all_but_first != nullptr) {
      all_but_first->all_reduce(&others, 1, ElementType::Int64, Reduce::Sum);
      expect(others == sum, "a sum of all but one");
    }
  }
}

void counts_the_bytes_that_it_sends(Communicator& world) {
  const int64_t size = world.world_size();
  const auto group = world.split(0, world.rank());
  const int64_t count = 64 * 1024 * size;  // fp32: divides by the ranks
  std::vector<float> all(static_cast<std::size_t>(count), 1), mine(static_cast<std::size_t>(count / size));
  group->all_reduce(all.data(), count, ElementType::Fp32, Reduce::Sum);
  group->reduce_scatter(all.data(), mine.data(), count / size, ElementType::Fp32);
  group->all_gather(mine.data(), all.data(), count / size, ElementType::Fp32);
  const int64_t share = count * 4 * (size - 1) / size;
  const Traffic& traffic = group->traffic();
  expect(traffic.sent(Operation::AllReduce) == 2 * share, "bytes of all_reduce");
  expect(traffic.sent(Operation::ReduceScatter) == share, "bytes of reduce_scatter");
  expect(traffic.sent(Operation::AllGather) == share, "bytes of all_gather");
  expect(traffic.total_bytes_sent() == 4 * share, "bytes in all");
}

void waits_at_a_barrier(Communicator& world) {
  for (int round = 0; round < 20; ++round) world.barrier();
}

constexpr ContractCase kCases[] = {
    {"SumsInTheOrderOfRanks", sums_in_the_order_of_ranks},
    {"SumsMoreThanFitsInOneMessage", sums_more_than_fits_in_one_message},
    {"FindsTheLargest", finds_the_largest},
    {"GathersInAndOutOfPlace", gathers_in_and_out_of_place},
    {"ScattersSums", scatters_sums},
    {"AddsSumsToWhatIsThere", adds_sums_to_what_is_there},
    {"SumsDealtContributionsToTheBitsOfOneRank", sums_dealt_contributions_to_the_bits_of_one_rank},
    {"BroadcastsFromEveryRoot", broadcasts_from_every_root},
    {"SendsPiecesOfAnySizeToAll", sends_pieces_of_any_size_to_all},
    {"PassesMessagesInOrder", passes_messages_in_order},
    {"SplitsIntoGroups", splits_into_groups},
    {"CountsTheBytesThatItSends", counts_the_bytes_that_it_sends},
    {"WaitsAtABarrier", waits_at_a_barrier},
};

}  // namespace

std::span<const ContractCase> contract_cases() { return kCases; }

}  // namespace sluice::collective
