#include "checkpoint/reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/folders.h"
#include "checkpoint/manifest.h"
#include "format/peft_weights.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

bool looks_whole(const fs::path& folder) {
  try {
    verify_files(folder, read_manifest(folder), false);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::optional<Checkpoint> find_checkpoint(const fs::path& output) {
  for (const fs::path& folder : list_checkpoints(output)) {
    try {
      return open_checkpoint(folder);
    } catch (const Error& error) {
      log_warning(folder.filename().string() + " is passed over: " + error.what());
    }
  }
  return std::nullopt;
}

Checkpoint open_checkpoint(const fs::path& folder) {
  const Manifest manifest = read_manifest(folder);
  verify_files(folder, manifest, true);
  return {folder, manifest.step, read_text(folder / kTrainerStateName)};
}

std::unique_ptr<format::WeightSource> open_checkpoint_weights(const Checkpoint& checkpoint) {
  std::vector<std::unique_ptr<format::WeightSource>> sources;
  for (const std::string kind : {"adapter_model", "model"}) {
    if (fs::exists(checkpoint.folder / (kind + ".safetensors")))
      sources.push_back(format::open_weights(checkpoint.folder / (kind + ".safetensors")));
    else if (fs::exists(checkpoint.folder / format::pieces_index_name(kind)))
      sources.push_back(format::open_pieced_weights(checkpoint.folder, kind));
    else if (fs::exists(checkpoint.folder / (kind + ".safetensors.index.json")))
      sources.push_back(format::open_weights(checkpoint.folder));
  }
  return sources.size() == 1 ? std::move(sources.front()) : format::join_weights(std::move(sources));
}

std::unique_ptr<format::PiecedTensors> open_checkpoint_states(const Checkpoint& checkpoint) {
  const Manifest manifest = read_manifest(checkpoint.folder);
  for (const ManifestFile& file : manifest.files) {
    if (file.name == "optimizer.safetensors")
      return std::make_unique<format::PiecedTensors>(
          std::make_unique<format::SafetensorsFile>(checkpoint.folder / file.name));
    if (file.name == format::pieces_index_name("optimizer"))
      return std::make_unique<format::PiecedTensors>(checkpoint.folder, "optimizer");
  }
  return nullptr;
}

std::unique_ptr<format::PiecedTensors> open_checkpoint_residuals(const Checkpoint& checkpoint) {
  if (!fs::exists(checkpoint.folder / format::pieces_index_name("residual"))) return nullptr;
  return std::make_unique<format::PiecedTensors>(checkpoint.folder, "residual");
}

void prune_checkpoints(const fs::path& output, int keep, std::optional<std::int64_t> also) {
  sweep_leftovers(output);
  int kept = 0;
  for (const fs::path& folder : list_checkpoints(output)) {
    if (kept >= std::max(keep, 1)) {
      if (also && step_of(folder.filename().string()) == also) continue;
      discard_folder(folder);
    } else if (looks_whole(folder)) {
      ++kept;
    }
  }
}

void discard_later_checkpoints(const fs::path& output, std::int64_t step) {
  for (const fs::path& folder : list_checkpoints(output)) {
    const std::string name = folder.filename().string();
    if (step_of(name).value_or(0) <= step) continue;
    log_warning(name + " of an earlier run is deleted: this one is at step " + std::to_string(step));
    discard_folder(folder);
  }
}

}  // namespace sluice::checkpoint
