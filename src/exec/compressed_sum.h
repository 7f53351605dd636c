// A sum over ranks of which each sends signs and magnitudes of blocks alone (base/one_bit.h) and keeps the rest for its
// next one. What the tensors of a chunk do not own stays zero.
#pragma once
#include <cstddef>
#include <span>

#include "collective/communicator.h"
#include "plan/trace.h"

namespace sluice::exec {

/// Memory of one such sum; spans of fp32 are of the whole chunk, but for a part's sum.
struct CompressedSum {
  std::span<const float> gradient;  ///< of this rank
  std::span<float> residual;        ///< what it has not sent before; then, what it has not sent now
  std::span<float> sum;             ///< the whole, or this rank's part of it; may lie in `gradient`
  std::byte* signs = nullptr;       ///< as the plan's buffer: of the whole N times, or for parts twice
};

/// All ranks add in their order, so the whole and parts of it have the same bits. Sends (N-1) times the records of the
/// whole, or (N-1)/N of them for parts.
void sum_compressed(collective::Communicator& ranks, const plan::Chunk& chunk, const CompressedSum& places);

}  // namespace sluice::exec
