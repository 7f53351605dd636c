#include "exec/compressed_sum.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/one_bit.h"

namespace sluice::exec {
namespace {

// In a block's last numbers, which no tensor owns, a magnitude would be noise. `numbers` are the chunk's from `first`
// on.
void clear_padding(const plan::Chunk& chunk, std::int64_t first, std::span<float> numbers) {
  const std::int64_t end = first + static_cast<std::int64_t>(numbers.size());
  std::int64_t at = first;
  const auto clear_to = [&](std::int64_t to) {
    for (; at < std::min(to, end); ++at) numbers[at - first] = 0;
  };
  for (const plan::ParameterSlot& parameter : chunk.parameters) {
    clear_to(parameter.first_element);
    at = std::max(at, parameter.first_element + parameter.num_elements);
  }
  clear_to(end);
}

}  // namespace

void sum_compressed(collective::Communicator& ranks, const plan::Chunk& chunk, const CompressedSum& places) {
  const int num_ranks = ranks.world_size();
  const bool in_parts = places.sum.size() < places.gradient.size();
  const Bytes whole = one_bit_bytes(static_cast<std::int64_t>(places.gradient.size()));
  const Bytes piece = in_parts ? whole / num_ranks : whole;  // what each of the others sends here
  std::byte* const mine = places.signs + (in_parts ? 0 : ranks.rank() * whole);
  std::byte* const received = places.signs + (in_parts ? whole : 0);
  pack_one_bit(places.gradient, places.residual, mine);
  clear_padding(chunk, 0, places.residual);
  if (in_parts) {
    ranks.all_to_all(mine, received, piece, collective::ElementType::Byte);
  } else {
    ranks.all_gather(mine, received, piece, collective::ElementType::Byte);
  }
  std::vector<const std::byte*> sources;
  for (int rank = 0; rank < num_ranks; ++rank) sources.push_back(received + rank * piece);
  sum_one_bit(sources, places.sum);
  clear_padding(chunk, in_parts ? ranks.rank() * static_cast<std::int64_t>(places.sum.size()) : 0, places.sum);
}

}  // namespace sluice::exec
