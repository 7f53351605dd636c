// Directions of matrices that ranks divide: what orthogonalizes needs a matrix whole, so its parts come together on the
// rank that has its last element, and go back as parts of the orthogonal matrix. Ranks work on different matrices at
// the same time.
#pragma once
#include "collective/communicator.h"
#include "optim/rule.h"
#include "plan/sharding.h"
#include "plan/trace.h"

namespace sluice::exec {

/// A rank's part of the directions of a chunk.
struct DirectionPart {
  const plan::Chunk& chunk;
  plan::ElementRange own;   ///< elements of the chunk; the parts of all ranks are as long
  float* memory = nullptr;  ///< from element `first_in_memory` of the chunk on
  std::int64_t first_in_memory = 0;
};

/// Sends what this rank has of a matrix that ends in another one's part; at most one does. Throws CommError.
void hand_over_direction(const DirectionPart& part, collective::Communicator& ranks);

/// After it: makes every matrix that ends in this rank's part orthogonal, sends the others' parts of it back, and takes
/// what comes back. A matrix of several ranks is put together in this thread's workspace. Throws CommError.
void orthogonalize_jointly(const optim::NewtonSchulz& iteration, const DirectionPart& part,
                           collective::Communicator& ranks);

}  // namespace sluice::exec
