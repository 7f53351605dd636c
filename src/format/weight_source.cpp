#include "format/weight_source.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "format/dequantize.h"
#include "format/gguf_model.h"
#include "format/gpt2_weights.h"
#include "format/pieces.h"
#include "format/quote.h"
#include "format/safetensors.h"
#include "format/tabled_weights.h"

namespace sluice::format {
namespace {

// One safetensors file or all shards of a model, which have no name in common.
class SafetensorsWeights final : public TabledWeights {
 public:
  explicit SafetensorsWeights(std::vector<std::unique_ptr<SafetensorsFile>> files) : files_(std::move(files)) {
    for (const auto& file : files_)
      for (const StoredTensor& tensor : file->tensors()) {
        if (add(tensor)) places_.emplace_back(file.get(), &tensor);
      }
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto found = index_of(name);
    if (!found)
      throw FormatError("format.weights", "no tensor " + quote(name), "expected it in " + files_.front()->name());
    const auto& [file, tensor] = places_[*found];
    const BlockType* type = find_block_type(tensor->dtype);
    if (type == nullptr || type->widen == nullptr)
      throw FormatError("format.weights", "cannot read tensor " + quote(name) + " of " + file->name(),
                        "expected F32, F16 or BF16, got " + tensor->dtype, "save the model in one of these dtypes");
    read_widened({&file->source(), tensor->offset, type, tensor->num_elements()}, first_element, destination);
  }

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<std::pair<const SafetensorsFile*, const StoredTensor*>> places_;
};

std::unique_ptr<WeightSource> one_file(std::unique_ptr<ByteSource> source) {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  files.push_back(std::make_unique<SafetensorsFile>(std::move(source)));
  return with_gpt2_names(std::make_unique<SafetensorsWeights>(std::move(files)));
}

std::unique_ptr<WeightSource> open_folder(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / "model.safetensors"))
    return one_file(open_file_source(folder / "model.safetensors"));
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (std::filesystem::exists(index))
    return with_gpt2_names(
        std::make_unique<SafetensorsWeights>(open_shards(folder, parse_shard_index(read_text(index), index.string()))));
  if (std::filesystem::exists(folder / pieces_index_name("model")))
    return with_gpt2_names(open_pieced_weights(folder, "model"));
  const bool has_pickle = std::filesystem::exists(folder / "pytorch_model.bin") ||
                          std::filesystem::exists(folder / "pytorch_model.bin.index.json");
  throw ConfigError("format.weights", "no weights in " + folder.string(),
                    "expected model.safetensors or model.safetensors.index.json",
                    has_pickle ? "pytorch_model.bin can run code and is not read: save the model as safetensors"
                               : "give the folder of a Hugging Face model, or use --init random");
}

// Buffers that old files carry and that every model computes for itself.
bool is_known_buffer(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

}  // namespace

bool has_weights(const std::filesystem::path& model) {
  if (!std::filesystem::is_directory(model)) return std::filesystem::exists(model);
  return std::filesystem::exists(model / "model.safetensors") ||
         std::filesystem::exists(model / "model.safetensors.index.json") ||
         std::filesystem::exists(model / pieces_index_name("model"));
}

std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& model) {
  if (std::filesystem::is_directory(model)) return open_folder(model);
  if (!std::filesystem::exists(model))
    throw ConfigError("format.weights", "no model at " + model.string(),
                      "expected a folder, a .safetensors or a .gguf file", "check the path");
  if (model.extension() == ".gguf") return make_gguf_weights(std::make_unique<GgufFile>(model));
  if (model.extension() == ".safetensors") return one_file(open_file_source(model));
  throw ConfigError("format.weights", "cannot read weights from " + model.string(),
                    "expected a folder, a .safetensors or a .gguf file");
}

std::vector<std::string> unexpected_tensors(const WeightSource& source, std::span<const TensorInfo> expected) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& tensor : expected) names.insert(tensor.name);
  std::vector<std::string> unexpected;
  for (const TensorInfo& tensor : source.tensors())
    if (!names.contains(tensor.name) && !is_known_buffer(tensor.name)) unexpected.push_back(tensor.name);
  return unexpected;
}

void check_weights(const ModelConfig& config, const WeightSource& source, std::span<const TensorInfo> expected) {
  for (const TensorInfo& tensor : expected) {
    const TensorInfo* found = source.find(tensor.name);
    if (found == nullptr)
      throw FormatError("format.weights", "tensor " + quote(tensor.name) + " is missing from " + config.name_or_path,
                        "expected shape " + format_shape(tensor.shape) + ", got nothing",
                        tensor.name == "lm_head.weight"
                            ? "the config says tie_word_embeddings false, yet the file has no head: correct one of them"
                            : "config.json and weights do not belong together, or a shard is missing");
    if (found->shape != tensor.shape)
      throw FormatError("format.weights",
                        "tensor " + quote(tensor.name) + " of " + config.name_or_path + " has another shape",
                        "expected " + format_shape(tensor.shape) + ", got " + format_shape(found->shape),
                        "config.json and weights do not belong together");
  }
  const std::vector<std::string> unexpected = unexpected_tensors(source, expected);
  if (unexpected.empty()) return;
  constexpr std::size_t kShown = 5;
  std::string list;
  for (std::size_t i = 0; i < std::min(kShown, unexpected.size()); ++i)
    list += (i > 0 ? ", " : "") + quote(unexpected[i]);
  if (unexpected.size() > kShown) list += ", ...";
  log_warning(std::to_string(unexpected.size()) + " tensors of " + config.name_or_path +
              " are not part of the model and are left out: " + list);
}

}  // namespace sluice::format
