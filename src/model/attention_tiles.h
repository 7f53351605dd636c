// Causal attention with grouped heads, tile by tile on the CPU (Dao et al., FlashAttention-2, arXiv 2307.08691): scores
// of some queries of all heads of a group against some keys; tiles that no query may see are left out. Sums run in an
// order that follows from shapes alone; what runs in parallel shares no sum.
#pragma once
#include <cstdint>

namespace sluice::model {

struct AttentionSizes {
  std::int64_t batch, seq_len, num_heads, num_kv_heads, head_dim;

  [[nodiscard]] std::int64_t group() const { return num_heads / num_kv_heads; }
  /// Queries of one head in a tile: few enough that scores stay in a second-level cache. A key tile is a whole number
  /// of them, or there is but one.
  [[nodiscard]] std::int64_t query_tile() const;
  [[nodiscard]] std::int64_t key_tile() const;
  /// Parts of a pass that threads take whole: tiles of queries forward, and backward all tiles of a group, which add to
  /// the same dk and dv.
  [[nodiscard]] std::int64_t forward_units() const;
  [[nodiscard]] std::int64_t backward_units() const { return batch * num_kv_heads; }
  /// Elements of scratch memory for one thread.
  [[nodiscard]] std::int64_t forward_scratch() const;
  [[nodiscard]] std::int64_t backward_scratch() const;
};

/// fp32 heads [B,S,heads,d]: heads next to each other, tokens `stride` elements apart, sequences one after the other.
struct Heads {
  float* data;
  std::int64_t stride;
};

struct AttentionForward {
  AttentionSizes sizes;
  Heads q, k, v, out;
  float* logsumexp;  ///< [B,H,S]
};
/// Writes out and logsumexp. `scratch`: forward_scratch() elements per thread of torch.
void run_attention(const AttentionForward& a, float* scratch);

struct AttentionBackward {
  AttentionForward forward;  ///< as it was
  Heads dout, dq, dk, dv;    ///< the last three are written
};
/// `scratch`: backward_scratch() elements per thread.
void run_attention_backward(const AttentionBackward& a, float* scratch);

}  // namespace sluice::model
