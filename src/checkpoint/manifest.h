// What a checkpoint folder holds, and the proof that it holds it. checkpoint-N/ contains
//   model.safetensors, optimizer.safetensors   tensors in their real shapes (the second only if there are states)
//   of several ranks, each of which writes its own: weights that all of them hold as Hugging Face's shards with
//   model.safetensors.index.json; what they divide as pieces, KIND-rank-R-of-N.safetensors with KIND.pieces.json
//   (format/pieces.h)
//   trainer_state.json, config.json, tokenizer files
//   of an adapter adapter_model.safetensors and adapter_config.json in place of the model's, as its base is not
//   repeated; beside the model's where the base was trained with it
//   manifest.json                              written last: every other file with size and XXH3-64, and its own sum
// Files that the manifest does not name are ignored.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace sluice::checkpoint {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kTrainerStateName = "trainer_state.json";

struct ManifestFile {
  std::string name;
  Bytes size = 0;
  std::uint64_t checksum = 0;  ///< XXH3-64
};

struct Manifest {
  std::int64_t step = 0;
  std::vector<ManifestFile> files;
};

/// The text of manifest.json.
std::string manifest_text(const Manifest& manifest);

/// Reads FOLDER/manifest.json and compares it with its own checksum and the folder's name (checkpoint-N). Throws
/// FormatError or IoError naming the file, what was expected and what was found.
Manifest read_manifest(const std::filesystem::path& folder);

/// Compares names and sizes with the folder, and if `contents` is set every byte with the checksums (1 MiB of memory).
/// Throws like `read_manifest`.
void verify_files(const std::filesystem::path& folder, const Manifest& manifest, bool contents);

}  // namespace sluice::checkpoint
