// Resuming: find the newest checkpoint that is whole, read from it, delete old ones.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "format/pieces.h"
#include "format/weight_source.h"

namespace sluice::checkpoint {

/// A verified checkpoint.
struct Checkpoint {
  std::filesystem::path folder;
  std::int64_t step = 0;
  std::string trainer_state_json;
};

/// The newest checkpoint-N in `output` whose manifest and every checksum verify; a warning says why newer ones were
/// passed over. nullopt when there is none (or no such folder).
std::optional<Checkpoint> find_checkpoint(const std::filesystem::path& output);

/// Reads every byte of the folder once and compares. Throws FormatError or IoError naming the file, what was expected
/// and what was found.
Checkpoint open_checkpoint(const std::filesystem::path& folder);

/// The weights (of an adapter, where it was one that was trained, with or without its base), readable by name and
/// element range.
std::unique_ptr<format::WeightSource> open_checkpoint_weights(const Checkpoint& checkpoint);

/// The optimizer's states, named STATE/NAME; nullptr when the rule had none.
std::unique_ptr<format::PiecedTensors> open_checkpoint_states(const Checkpoint& checkpoint);

/// What each rank had not sent of its gradients; nullptr when they sent all.
std::unique_ptr<format::PiecedTensors> open_checkpoint_residuals(const Checkpoint& checkpoint);

/// Keeps the newest `keep` (at least 1) checkpoints whose manifest and file sizes verify (contents are not read again)
/// and the one of step `also`, deletes all older ones and what killed processes left. The caller holds the FolderLock
/// of `output`. What cannot be deleted is warned about.
void prune_checkpoints(const std::filesystem::path& output, int keep, std::optional<std::int64_t> also = {});

/// Deletes the checkpoints of later steps than `step`, the one that was just saved, with a warning: they are of an
/// earlier run in the same folder and would be taken for newer than this run's. The caller holds the FolderLock of
/// `output`.
void discard_later_checkpoints(const std::filesystem::path& output, std::int64_t step);

}  // namespace sluice::checkpoint
