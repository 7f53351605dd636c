// Saving: a checkpoint or the final model, streamed from wherever the state lives through memory that the plan set
// aside, and made visible only when every byte is on the disk. A kill or a full disk at any point leaves what was there
// before; manifest.h says what a folder holds.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/manifest.h"
#include "format/safetensors_writer.h"

namespace sluice::checkpoint {

/// One tensor of the state.
struct StateTensor {
  std::string file;  ///< "model", "adapter_model" or "optimizer": FILE.safetensors
  std::string name;  ///< the Hugging Face name in "model", STATE/NAME in "optimizer" ("exp_avg/lm_head.weight")
  std::vector<std::int64_t> shape;
  std::string dtype = "F32";  ///< as safetensors spells it
};

/// Fills `destination` (whole elements, aligned for them) with a tensor's bytes from `first_element` on; supplied by
/// the trainer, which pulls them from the arena or a tier. Called on the saving thread, for the tensors in their order,
/// ascending within each.
using ReadState = std::function<void(const StateTensor&, std::int64_t first_element, std::span<std::byte> destination)>;

/// Name (one path component) and content of a small file.
using SideFile = std::pair<std::string, std::string>;

struct CheckpointContents {
  std::vector<StateTensor> tensors;
  std::string trainer_state_json;    ///< becomes trainer_state.json, returned as it is by the reader
  std::vector<SideFile> side_files;  ///< config.json, tokenizer files
};

/// Saves `folder` (.../checkpoint-N; its parent is created). On return everything is durable under that name; a folder
/// of that name is replaced in one step. When it throws (IoError with path and errno, or whatever `read_state` throws)
/// nothing of this save is left and older checkpoints are untouched. Beside `staging` (not empty) nothing large is
/// allocated. The caller holds the FolderLock of the parent. Fail points: checkpoint.write (each piece of a tensor),
/// checkpoint.manifest, checkpoint.rename and those of base/file.h.
void write_checkpoint(const std::filesystem::path& folder, const CheckpointContents& contents,
                      const ReadState& read_state, std::span<float> staging);

/// A checkpoint in the making: FOLDER.tmp-PID, where its files are written, by other processes, too. It is gone again
/// unless it is sealed; so is what a killed process left, at the next prune. Fail points: checkpoint.manifest,
/// checkpoint.rename.
class CheckpointDraft {
 public:
  /// Creates the draft of `folder` (.../checkpoint-N). Throws IoError, also where there is no room for `tensors`.
  CheckpointDraft(std::filesystem::path folder, std::span<const StateTensor> tensors);
  CheckpointDraft(const CheckpointDraft&) = delete;
  CheckpointDraft& operator=(const CheckpointDraft&) = delete;
  ~CheckpointDraft();

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Adds the small files and the manifest, which names `files` and these, and gives the folder its name: everything is
  /// durable under it on return, and a folder of that name is replaced in one step. Once, when all `files` are there.
  void seal(std::vector<ManifestFile> files, const CheckpointContents& contents);

 private:
  const std::filesystem::path folder_, path_;
};

/// Elements of a tensor that one process writes.
struct TensorPiece {
  StateTensor tensor;
  std::int64_t first = 0, end = 0;
};

/// A file of a checkpoint that several processes write, each its own.
struct Share {
  std::string name;
  std::vector<TensorPiece> pieces = {};
  bool whole_tensors = false;  ///< stored as such; otherwise flat and named as format/pieces.h says
};

/// Writes `share` into a draft, durably, and says what the manifest must know of it. Throws as write_checkpoint does,
/// and has its fail point.
ManifestFile write_share(const std::filesystem::path& draft, const Share& share, const ReadState& read_state,
                         std::span<float> staging);

struct ModelContents {
  std::vector<StateTensor> tensors;  ///< all of file "model", or all of "adapter_model", which is never split
  std::vector<SideFile> side_files;  ///< config.json (or adapter_config.json), tokenizer files
  Bytes max_shard = format::kDefaultMaxShard;
};

/// Writes the model's (or the adapter's) files into `output`, which may hold checkpoints, metrics and an earlier model.
/// All is first written beside them and synced; then the old model disappears, and config.json (adapter_config.json)
/// comes last: without it no loader takes the folder for a model, so there is a complete model or none. Errors, memory
/// and lock as `write_checkpoint`.
void write_model_folder(const std::filesystem::path& output, const ModelContents& contents, const ReadState& read_state,
                        std::span<float> staging);

}  // namespace sluice::checkpoint
