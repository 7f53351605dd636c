#include "checkpoint/writer.h"

#include <algorithm>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/file.h"
#include "checkpoint/folders.h"
#include "checkpoint/manifest.h"
#include "checkpoint/tensor_stream.h"
#include "format/pieces.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelConfig = "config.json";
constexpr const char* kModelFile = "model";
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterFile = "adapter_model";

void remove_quietly(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

/// Deletes the half-written folder of a model unless the save went through.
class Unfinished {
 public:
  explicit Unfinished(fs::path folder) : folder_(std::move(folder)) { create_empty_folder(folder_); }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() { remove_quietly(folder_); }
  [[nodiscard]] const fs::path& path() const noexcept { return folder_; }

 private:
  fs::path folder_;
};

Bytes size_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  if (error) throw_errno("checkpoint", "stat", file.string(), error.value());
  return static_cast<Bytes>(size);
}

ManifestFile write_tensors(const fs::path& folder, const std::string& file, const CheckpointContents& contents,
                           const ReadState& read_state, std::span<float> staging) {
  std::vector<format::TensorInfo> infos;
  for (const StateTensor& tensor : contents.tensors) {
    if (tensor.file == file) infos.push_back(tensor_info(tensor));
  }
  const std::string name = file + ".safetensors";
  format::SafetensorsWriter writer(folder / name, std::move(infos));
  for (const StateTensor& tensor : contents.tensors) {
    if (tensor.file == file) stream_tensor(tensor, read_state, staging, writer);
  }
  const std::uint64_t sum = writer.publish();
  return {name, size_of(folder / name), sum};
}

ManifestFile write_side_file(const fs::path& folder, const std::string& name, std::string_view content) {
  SLUICE_CHECK(!name.empty() && name.find('/') == std::string::npos, "side file ", name);
  write_text(folder / name, content);
  return {name, static_cast<Bytes>(content.size()), checksum(std::as_bytes(std::span(content.data(), content.size())))};
}

/// In order of first use: weights before states.
std::vector<std::string> tensor_files(std::span<const StateTensor> tensors) {
  std::vector<std::string> files;
  for (const StateTensor& tensor : tensors) {
    SLUICE_CHECK(tensor.file == kModelFile || tensor.file == kAdapterFile || tensor.file == "optimizer", tensor.name,
                 " in file ", tensor.file);
    if (std::find(files.begin(), files.end(), tensor.file) == files.end()) files.push_back(tensor.file);
  }
  return files;
}

void inject(std::string_view name, const fs::path& path) {
  if (const int injected = fail_point(name); injected > 0) throw_errno("checkpoint", name, path.string(), injected);
}

bool is_weights_file(const std::string& name) {
  return name == "model.safetensors" || name == "model.safetensors.index.json" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

std::vector<std::string> file_names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error) throw_errno("checkpoint", "list", folder.string(), error.value());
  return names;
}

void remove_file(const fs::path& file) {
  std::error_code error;
  fs::remove(file, error);
  if (error) throw_errno("checkpoint", "remove", file.string(), error.value());
}

/// Moves the staged files into `output`. `config` goes first and comes last: folders without it are no models.
void replace_model(const fs::path& staged, const fs::path& output, const std::string& config) {
  const auto names = file_names(staged);
  remove_file(output / config);
  sync_folder(output);
  for (const std::string& name : file_names(output)) {
    if (config == kModelConfig && is_weights_file(name)) remove_file(output / name);
  }
  for (const std::string& name : names) {
    inject("checkpoint.rename", output / name);
    if (name != config) rename_path(staged / name, output / name);
  }
  sync_folder(output);
  if (std::find(names.begin(), names.end(), config) != names.end()) rename_path(staged / config, output / config);
  sync_folder(output);
}

}  // namespace

CheckpointDraft::CheckpointDraft(fs::path folder, std::span<const StateTensor> tensors)
    : folder_(std::move(folder)), path_(temporary_name(folder_)) {
  SLUICE_CHECK(step_of(folder_.filename().string()).has_value(), "checkpoint folder ", folder_.string());
  create_empty_folder(path_);
  try {
    check_free_space(path_, tensors);
  } catch (...) {
    remove_quietly(path_);
    throw;
  }
}

CheckpointDraft::~CheckpointDraft() { remove_quietly(path_); }

void CheckpointDraft::seal(std::vector<ManifestFile> files, const CheckpointContents& contents) {
  Manifest manifest{.step = *step_of(folder_.filename().string()), .files = std::move(files)};
  for (const auto& [name, content] : contents.side_files)
    manifest.files.push_back(write_side_file(path_, name, content));
  manifest.files.push_back(write_side_file(path_, std::string(kTrainerStateName), contents.trainer_state_json));
  sync_folder(path_);  // other processes' files, too
  inject("checkpoint.manifest", path_ / kManifestName);
  write_text(path_ / kManifestName, manifest_text(manifest));
  inject("checkpoint.rename", folder_);
  publish_folder(path_, folder_);
}

ManifestFile write_share(const fs::path& draft, const Share& share, const ReadState& read_state,
                         std::span<float> staging) {
  const auto name_of = [&](const TensorPiece& piece) {
    return share.whole_tensors ? piece.tensor.name : format::piece_name(piece.tensor.name, piece.first, piece.end);
  };
  std::vector<format::TensorInfo> infos;
  for (const TensorPiece& piece : share.pieces) {
    SLUICE_CHECK(!share.whole_tensors || (piece.first == 0 && piece.end == tensor_info(piece.tensor).num_elements()),
                 piece.tensor.name);
    infos.push_back(share.whole_tensors
                        ? tensor_info(piece.tensor)
                        : format::TensorInfo{name_of(piece), piece.tensor.dtype, {piece.end - piece.first}});
  }
  format::SafetensorsWriter writer(draft / share.name, std::move(infos));
  for (const TensorPiece& piece : share.pieces)
    stream_elements(piece.tensor, piece.first, piece.end, name_of(piece), read_state, staging, writer);
  const std::uint64_t sum = writer.publish();
  return {share.name, size_of(draft / share.name), sum};
}

void write_checkpoint(const fs::path& folder, const CheckpointContents& contents, const ReadState& read_state,
                      std::span<float> staging) {
  SLUICE_CHECK(!staging.empty());
  CheckpointDraft draft(folder, contents.tensors);
  std::vector<ManifestFile> files;
  for (const std::string& file : tensor_files(contents.tensors))
    files.push_back(write_tensors(draft.path(), file, contents, read_state, staging));
  draft.seal(std::move(files), contents);
}

void write_model_folder(const fs::path& output, const ModelContents& contents, const ReadState& read_state,
                        std::span<float> staging) {
  SLUICE_CHECK(!staging.empty());
  const Unfinished unfinished(temporary_name(output / ".model"));
  check_free_space(unfinished.path(), contents.tensors);
  std::vector<format::TensorInfo> infos;
  for (const StateTensor& tensor : contents.tensors) infos.push_back(tensor_info(tensor));
  const auto write = [&](auto writer) {
    for (const StateTensor& tensor : contents.tensors) stream_tensor(tensor, read_state, staging, writer);
    writer.publish();
  };
  const bool is_adapter = !contents.tensors.empty() && contents.tensors.front().file == kAdapterFile;
  if (is_adapter) {
    write(format::SafetensorsWriter(unfinished.path() / (std::string(kAdapterFile) + ".safetensors"), infos));
  } else {
    write(format::ModelWeightsWriter(unfinished.path(), infos, contents.max_shard));
  }
  for (const auto& [name, content] : contents.side_files) write_side_file(unfinished.path(), name, content);
  replace_model(unfinished.path(), output, is_adapter ? kAdapterConfig : kModelConfig);
}

}  // namespace sluice::checkpoint
