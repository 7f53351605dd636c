// export: a model or checkpoint as a Hugging Face folder in the dtype that is asked for, streamed in pieces.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "format/dequantize.h"
#include "format/model_dir.h"
#include "format/peft_weights.h"
#include "format/safetensors_writer.h"
#include "format/weight_source.h"
#include "model/model.h"
#include "model/tracer.h"
#include "train/aligned_floats.h"
#include "train/make_folders.h"
#include "train/run_model.h"
#include "train/session.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;   // elements
constexpr float kLargestHalf = 65519.0F;  // what still rounds to a finite fp16

const char* stored_name(recipe::DType dtype) {
  switch (dtype) {
    case recipe::DType::Fp32:
    case recipe::DType::Fp8:  // no file can be asked for in it
    case recipe::DType::Nf4:
    case recipe::DType::OneBit:
      break;
    case recipe::DType::Bf16:
      return "BF16";
    case recipe::DType::Fp16:
      return "F16";
  }
  return "F32";
}

bool is_plain(const std::string& dtype) { return dtype == "F32" || dtype == "F16" || dtype == "BF16"; }

// Without a dtype tensors stay as they are, unless some are quantised: then all become fp32.
std::vector<format::TensorInfo> target_tensors(const format::WeightSource& source,
                                               const std::optional<recipe::DType>& dtype) {
  std::vector<format::TensorInfo> tensors(source.tensors().begin(), source.tensors().end());
  const bool keep = !dtype && std::ranges::all_of(tensors, is_plain, &format::TensorInfo::dtype);
  for (format::TensorInfo& tensor : tensors) {
    if (!keep) tensor.dtype = stored_name(dtype.value_or(recipe::DType::Fp32));
  }
  return tensors;
}

// The dtype of most elements speaks for the model in config.json.
std::string main_dtype(const std::vector<format::TensorInfo>& tensors) {
  std::map<std::string, std::int64_t> elements;
  for (const format::TensorInfo& tensor : tensors) elements[tensor.dtype] += tensor.num_elements();
  const auto most = std::ranges::max_element(elements, {}, [](const auto& row) { return row.second; });
  return most == elements.end() ? "F32" : most->first;
}

void check_model(const format::ModelConfig& config, const format::WeightSource& source) {
  std::vector<plan::Chunk> chunks;
  for (const model::ChunkSpec& spec : model::make_model(config).chunks) chunks.push_back(model::chunk_layout(spec));
  std::vector<format::TensorInfo> expected;
  for (const plan::PublishedTensor& tensor : plan::published_tensors(chunks))
    expected.push_back({tensor.name, "F32", tensor.shape});
  format::check_weights(config, source, expected);
}

void check_range(const format::TensorInfo& tensor, std::span<const float> values) {
  if (tensor.dtype != "F16") return;
  for (const float value : values) {
    if (!std::isfinite(value) || std::abs(value) <= kLargestHalf) continue;
    throw NumericsError("export", "tensor '" + tensor.name + "' does not fit fp16",
                        "expected magnitudes up to 65504, got " + std::to_string(value), "use --dtype bf16 or fp32");
  }
}

Bytes copy_weights(const format::WeightSource& source, const std::vector<format::TensorInfo>& tensors,
                   const fs::path& folder) {
  format::ModelWeightsWriter writer(folder, tensors);
  const AlignedFloats staging(kPiece);
  std::vector<std::byte> narrow(kPiece * sizeof(float));
  Bytes total = 0;
  for (const format::TensorInfo& tensor : tensors) {
    const std::size_t width = tensor.dtype == "F32" ? 4 : 2;
    for (std::int64_t first = 0; first < tensor.num_elements(); first += kPiece) {
      const auto count = static_cast<std::size_t>(std::min<std::int64_t>(kPiece, tensor.num_elements() - first));
      const auto values = staging.span().first(count);
      source.read(tensor.name, first, values);
      check_range(tensor, values);
      const auto bytes = std::span(narrow).first(count * width);
      format::narrow(values, tensor.dtype, bytes);
      writer.append(tensor.name, bytes);
      total += static_cast<Bytes>(bytes.size());
    }
  }
  writer.publish();
  return total;
}

fs::path checked_output(const recipe::Settings& settings) {
  fs::path output = fs::path(settings.output).lexically_normal();
  if (!output.has_filename()) output = output.parent_path();
  if (output.extension() == ".gguf") {
    throw ConfigError("export", "GGUF output is not available in this version",
                      "expected --output to name a folder, got '" + settings.output + "'",
                      "export a Hugging Face folder");
  }
  if (fs::exists(output) && (!fs::is_directory(output) || !fs::is_empty(output))) {
    throw ConfigError("export", "the output is there already",
                      "expected --output to name a new or empty folder, got '" + settings.output + "'");
  }
  return output;
}

/// A folder beside the output that takes its name when it is complete, and is gone otherwise.
class NewFolder {
 public:
  explicit NewFolder(fs::path target)
      : target_(std::move(target)), path_(target_.string() + ".tmp-" + std::to_string(::getpid())) {
    fs::remove_all(path_);
    make_folders(path_);
  }
  ~NewFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }
  void publish() {
    sync_folder(path_);
    std::error_code error;
    fs::rename(path_, target_, error);  // an empty folder is replaced
    if (error) throw_errno("export", "rename", target_.string(), error.value());
    sync_folder(target_.parent_path().empty() ? fs::path(".") : target_.parent_path());
  }

 private:
  fs::path target_;
  fs::path path_;
};

// The model's weights, with the adapter merged where there is one.
std::unique_ptr<format::WeightSource> open_source(const recipe::Settings& settings, const format::ModelConfig& config) {
  auto base = format::open_weights(settings.model);
  if (settings.adapter_path.empty()) return base;
  const RunModel run = make_run_model(settings, config);
  return format::merge_adapter(std::move(base), format::open_adapter_weights(settings.adapter_path, run.adapted),
                               run.adapted, run.stores_in_out);
}

void check_adapter(const recipe::Settings& settings) {
  if (settings.merge_adapter == !settings.adapter_path.empty()) return;
  if (settings.merge_adapter)
    throw ConfigError("export", "--merge-adapter without an adapter", "'" + settings.model + "' is a whole model",
                      "give --adapter-path DIR");
  throw ConfigError("export", "an adapter alone is not exported",
                    "'" + settings.adapter_path + "' is PEFT's form already",
                    "merge it into its base with --merge-adapter");
}

}  // namespace

int run_export(const recipe::Settings& asked) {
  const recipe::Settings settings = resolve_model(asked);
  check_adapter(settings);
  const fs::path output = checked_output(settings);
  if (!fs::exists(settings.model)) {
    throw IoError("export", "no such model", "'" + settings.model + "' is neither a folder nor a file",
                  "give a model folder, a checkpoint-N folder or a FILE.gguf");
  }
  const format::ModelConfig config = format::read_model_config(settings.model);
  const auto source = open_source(settings, config);
  check_model(config, *source);
  const std::vector<format::TensorInfo> tensors = target_tensors(*source, settings.dtype);
  const std::string dtype = main_dtype(tensors);
  NewFolder folder(output);
  const Bytes bytes = copy_weights(*source, tensors, folder.path());
  format::write_model_files(folder.path(), config, settings.model, dtype);
  folder.publish();
  std::printf("%s: %zu tensors, %s, %s\n", output.c_str(), tensors.size(), format_bytes(bytes).c_str(), dtype.c_str());
  return 0;
}

}  // namespace sluice::train
