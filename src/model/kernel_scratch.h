// What CPU kernels allocate inside, which meta tensors cannot show: on meta our wrappers allocate the same sizes
// themselves. Checked event by event against the kernels of torch 2.11 by tests/model/tracer_test.cpp.
#pragma once
#include <algorithm>
#include <cstdint>

namespace sluice::model {

/// Elements of the scratch buffers of torch's fused CPU attention (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp):
/// each thread works on a tile of queries against a tile of keys.
struct AttentionScratch {
  std::int64_t forward = 0;   ///< fp32 elements, one buffer
  std::int64_t backward = 0;  ///< fp32 elements, one buffer
};

inline AttentionScratch attention_scratch(std::int64_t seq_len, std::int64_t head_dim, int num_threads) {
  const std::int64_t query_tile = std::min<std::int64_t>(seq_len, seq_len >= 768 ? 256 : seq_len >= 192 ? 64 : 32);
  const std::int64_t key_tile = std::min<std::int64_t>(seq_len, 512);
  // Forward: scores, row maximum and sum, output tile. Backward: attention and its gradient.
  return {num_threads * (query_tile * key_tile + 2 * query_tile + query_tile * head_dim),
          num_threads * 2 * query_tile * key_tile};
}

}  // namespace sluice::model
