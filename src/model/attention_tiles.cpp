#include "model/attention_tiles.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernel/attention.h"
#include "model/matrix_product.h"
#include "model/parallel.h"

namespace sluice::model {
namespace {

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

// One group of heads of one sequence.
struct Group {
  const AttentionSizes& sizes;
  std::int64_t sequence, kv_head;

  [[nodiscard]] float* queries(const Heads& heads, std::int64_t token, std::int64_t member) const {
    return at(heads, token, kv_head * sizes.group() + member);
  }
  [[nodiscard]] float* keys(const Heads& heads, std::int64_t token) const { return at(heads, token, kv_head); }
  [[nodiscard]] float* per_query(float* values, std::int64_t token, std::int64_t member) const {
    const std::int64_t head = kv_head * sizes.group() + member;
    return values + (sequence * sizes.num_heads + head) * sizes.seq_len + token;
  }

 private:
  [[nodiscard]] float* at(const Heads& heads, std::int64_t token, std::int64_t head) const {
    return heads.data + (sequence * sizes.seq_len + token) * heads.stride + head * sizes.head_dim;
  }
};

// Queries [first, first + count) of every member of a group; packed: row = member * count + query.
struct QueryTile {
  const Group& group;
  std::int64_t first, count;

  [[nodiscard]] std::int64_t num_rows() const { return group.sizes.group() * count; }
  void pack(const Heads& from, float factor, float* to) const {
    const std::int64_t dim = group.sizes.head_dim;
    for (std::int64_t member = 0; member < group.sizes.group(); ++member) {
      kernel::copy_scaled({size(count), size(dim), group.queries(from, first, member), size(from.stride),
                           to + member * count * dim, size(dim)},
                          factor);
    }
  }
  void unpack(const float* from, float factor, const Heads& to) const {
    const std::int64_t dim = group.sizes.head_dim;
    for (std::int64_t member = 0; member < group.sizes.group(); ++member) {
      kernel::copy_scaled({size(count), size(dim), from + member * count * dim, size(dim),
                           group.queries(to, first, member), size(to.stride)},
                          factor);
    }
  }
  // body(first key, number of keys) for the tiles that some query sees; every query sees the first key of each.
  template <typename Body>
  void for_key_tiles(const Body& body) const {
    const std::int64_t end = first + count;
    const std::int64_t tile = group.sizes.key_tile();
    for (std::int64_t key = 0; key < end; key += tile) {
      body(key, std::min(tile, end - key));
    }
  }
  [[nodiscard]] kernel::ScoreRows scores(std::int64_t first_key, std::int64_t num_keys, float* values) const {
    return {size(num_rows()), size(num_keys), size(count), size(first - first_key + 1), values};
  }
};

float score_scale(const AttentionSizes& sizes) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(sizes.head_dim)));
}

void forward_tile(const AttentionForward& a, const QueryTile& tile, float* scratch) {
  const std::int64_t dim = a.sizes.head_dim, most_rows = a.sizes.group() * a.sizes.query_tile();
  const std::int64_t num_rows = tile.num_rows();
  float* const q = scratch;
  float* const out = q + most_rows * dim;
  float* const maximum = out + most_rows * dim;
  float* const sum = maximum + most_rows;
  float* const scores = sum + most_rows;
  tile.pack(a.q, score_scale(a.sizes), q);
  tile.for_key_tiles([&](std::int64_t key, std::int64_t num_keys) {
    multiply({num_rows, num_keys, dim}, {q, dim}, {tile.group.keys(a.k, key), a.k.stride, true}, {scores, num_keys});
    kernel::softmax_step(tile.scores(key, num_keys, scores), {maximum, sum, out, size(dim)}, key == 0);
    multiply({num_rows, dim, num_keys}, {scores, num_keys}, {tile.group.keys(a.v, key), a.v.stride},
             {out, dim, key > 0});
  });
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const std::int64_t token = tile.first + row % tile.count, member = row / tile.count;
    *tile.group.per_query(a.logsumexp, token, member) = maximum[row] + std::log(sum[row]);
    kernel::copy_scaled({1, size(dim), out + row * dim, 0, tile.group.queries(a.out, token, member), 0},
                        1.0F / sum[row]);
  }
}

void backward_tile(const AttentionBackward& a, const QueryTile& tile, float* scratch) {
  const AttentionForward& f = a.forward;
  const std::int64_t dim = f.sizes.head_dim, most_rows = f.sizes.group() * f.sizes.query_tile();
  const std::int64_t num_rows = tile.num_rows();
  float* const q = scratch;
  float* const dout = q + most_rows * dim;
  float* const dq = dout + most_rows * dim;
  float* const mean = dq + most_rows * dim;
  float* const logsumexp = mean + most_rows;
  float* const scores = logsumexp + most_rows;
  float* const gradients = scores + most_rows * f.sizes.key_tile();
  tile.pack(f.q, score_scale(f.sizes), q);
  tile.pack(a.dout, 1.0F, dout);
  for (std::int64_t member = 0; member < f.sizes.group(); ++member) {
    kernel::row_dots({size(tile.count), size(dim), dout + member * tile.count * dim, size(dim),
                      tile.group.queries(f.out, tile.first, member), size(f.out.stride)},
                     mean + member * tile.count);
    std::copy_n(tile.group.per_query(f.logsumexp, tile.first, member), tile.count, logsumexp + member * tile.count);
  }
  tile.for_key_tiles([&](std::int64_t key, std::int64_t num_keys) {
    const MatrixPart k{tile.group.keys(f.k, key), f.k.stride}, v{tile.group.keys(f.v, key), f.v.stride};
    multiply({num_rows, num_keys, dim}, {q, dim}, {k.data, k.stride, true}, {scores, num_keys});
    multiply({num_rows, num_keys, dim}, {dout, dim}, {v.data, v.stride, true}, {gradients, num_keys});
    kernel::softmax_backward(tile.scores(key, num_keys, scores), gradients, logsumexp, mean);
    multiply({num_keys, dim, num_rows}, {scores, num_keys, true}, {dout, dim},
             {tile.group.keys(a.dv, key), a.dv.stride, true});
    multiply({num_keys, dim, num_rows}, {gradients, num_keys, true}, {q, dim},
             {tile.group.keys(a.dk, key), a.dk.stride, true});
    multiply({num_rows, dim, num_keys}, {gradients, num_keys}, k, {dq, dim, key > 0});
  });
  tile.unpack(dq, score_scale(f.sizes), a.dq);
}

// body(unit, this thread's scratch) for units [0, count).
template <typename Body>
void for_units(std::int64_t count, float* scratch, std::int64_t scratch_elements, const Body& body) {
  parallel_ranges(count, 1, [&](std::int64_t begin, std::int64_t end) {
    const SequentialProducts sequential;
    float* const own = scratch + at::get_thread_num() * scratch_elements;
    for (std::int64_t unit = begin; unit < end; ++unit) body(unit, own);
  });
}

Group group_of(const AttentionSizes& sizes, std::int64_t index) {
  return {sizes, index / sizes.num_kv_heads, index % sizes.num_kv_heads};
}

}  // namespace

std::int64_t AttentionSizes::query_tile() const {
  const auto fitting = static_cast<std::uint64_t>(std::max<std::int64_t>(1, 256 / group()));
  return std::min(seq_len, std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_floor(fitting)), 16, 128));
}

std::int64_t AttentionSizes::key_tile() const { return std::min<std::int64_t>(seq_len, 256); }

std::int64_t AttentionSizes::forward_units() const {
  return batch * num_kv_heads * ((seq_len + query_tile() - 1) / query_tile());
}

std::int64_t AttentionSizes::forward_scratch() const {
  return group() * query_tile() * (2 * head_dim + 2 + key_tile());
}

std::int64_t AttentionSizes::backward_scratch() const {
  return group() * query_tile() * (3 * head_dim + 2 + 2 * key_tile());
}

// Late tiles see more keys: early and late ones in turn, so that threads with equally many have equally much to do.
void run_attention(const AttentionForward& a, float* scratch) {
  const std::int64_t tile = a.sizes.query_tile(), num_tiles = (a.sizes.seq_len + tile - 1) / tile;
  for_units(a.sizes.forward_units(), scratch, a.sizes.forward_scratch(), [&](std::int64_t unit, float* own) {
    const std::int64_t turn = unit % num_tiles, index = turn % 2 == 0 ? turn / 2 : num_tiles - 1 - turn / 2;
    const Group group = group_of(a.sizes, unit / num_tiles);
    const std::int64_t first = index * tile;
    forward_tile(a, {group, first, std::min(tile, a.sizes.seq_len - first)}, own);
  });
}

void run_attention_backward(const AttentionBackward& a, float* scratch) {
  const AttentionSizes& sizes = a.forward.sizes;
  for_units(sizes.backward_units(), scratch, sizes.backward_scratch(), [&](std::int64_t unit, float* own) {
    const Group group = group_of(sizes, unit);
    for (std::int64_t token = 0; token < sizes.seq_len; ++token) {
      std::fill_n(group.keys(a.dk, token), sizes.head_dim, 0.0F);
      std::fill_n(group.keys(a.dv, token), sizes.head_dim, 0.0F);
    }
    for (std::int64_t first = 0; first < sizes.seq_len; first += sizes.query_tile()) {
      backward_tile(a, {group, first, std::min(sizes.query_tile(), sizes.seq_len - first)}, own);
    }
  });
}

}  // namespace sluice::model
