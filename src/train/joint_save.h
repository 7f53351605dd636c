// A checkpoint that several ranks write at the same time, each the part of the state that it holds; what several hold
// is written by one of them. Rank 0 seals it when all are done, so a rank that fails or is killed at any moment leaves
// the checkpoints that were there.
#pragma once
#include <filesystem>
#include <span>

#include "checkpoint/writer.h"
#include "train/saved_state.h"

namespace sluice::train {

/// Collective, one thread. Returns on every rank when `folder` (.../checkpoint-N, in a folder that all ranks see) is
/// durable under its name. A rank that cannot write throws its own error, the others CommError that names it, within
/// 256 MiB of their own writing.
void write_joint_checkpoint(const Session& session, const SavedState& saved, const std::filesystem::path& folder,
                            checkpoint::CheckpointContents contents, std::span<float> staging);

}  // namespace sluice::train
