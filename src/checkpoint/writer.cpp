#include "checkpoint/writer.h"

#include <algorithm>

#include "base/check.h"
#include "base/fail_point.h"
#include "base/file.h"
#include "checkpoint/folders.h"
#include "checkpoint/manifest.h"
#include "checkpoint/tensor_stream.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelConfig = "config.json";
constexpr const char* kModelFile = "model";
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterFile = "adapter_model";

/// Deletes the half-written folder unless the save went through.
class Unfinished {
 public:
  explicit Unfinished(fs::path folder) : folder_(std::move(folder)) { create_empty_folder(folder_); }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
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

void write_checkpoint(const fs::path& folder, const CheckpointContents& contents, const ReadState& read_state,
                      std::span<float> staging) {
  const auto step = step_of(folder.filename().string());
  SLUICE_CHECK(step.has_value() && !staging.empty(), "checkpoint folder ", folder.string());
  const Unfinished unfinished(temporary_name(folder));
  check_free_space(unfinished.path(), contents.tensors);
  Manifest manifest{.step = *step, .files = {}};
  for (const std::string& file : tensor_files(contents.tensors))
    manifest.files.push_back(write_tensors(unfinished.path(), file, contents, read_state, staging));
  for (const auto& [name, content] : contents.side_files)
    manifest.files.push_back(write_side_file(unfinished.path(), name, content));
  manifest.files.push_back(
      write_side_file(unfinished.path(), std::string(kTrainerStateName), contents.trainer_state_json));
  inject("checkpoint.manifest", unfinished.path() / kManifestName);
  write_text(unfinished.path() / kManifestName, manifest_text(manifest));
  inject("checkpoint.rename", folder);
  publish_folder(unfinished.path(), folder);
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
