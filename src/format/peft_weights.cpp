#include "format/peft_weights.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/error.h"
#include "format/quote.h"
#include "format/tabled_weights.h"

namespace sluice::format {
namespace {

std::string a_name(const std::string& module) { return std::string(kPeftPrefix) + module + ".lora_A.weight"; }
std::string b_name(const std::string& module) { return std::string(kPeftPrefix) + module + ".lora_B.weight"; }

class JoinedWeights final : public TabledWeights {
 public:
  explicit JoinedWeights(std::vector<std::unique_ptr<WeightSource>> sources) : sources_(std::move(sources)) {
    for (const auto& source : sources_) {
      for (const TensorInfo& tensor : source->tensors()) {
        if (add(tensor)) holders_.push_back(source.get());
      }
    }
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto found = index_of(name);
    if (!found)
      throw FormatError("format.weights", "no tensor " + quote(name), "expected it in the model or its adapter");
    holders_[*found]->read(name, first_element, destination);
  }

 private:
  std::vector<std::unique_ptr<WeightSource>> sources_;
  std::vector<const WeightSource*> holders_;  // per tensor
};

class MergedWeights final : public TabledWeights {
 public:
  MergedWeights(std::unique_ptr<WeightSource> base, std::unique_ptr<WeightSource> adapter,
                std::span<const AdaptedModule> modules, bool in_out)
      : base_(std::move(base)), adapter_(std::move(adapter)), in_out_(in_out) {
    for (const TensorInfo& tensor : base_->tensors()) add(tensor);
    for (const AdaptedModule& module : modules) modules_.emplace(module.name + ".weight", module);
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    base_->read(name, first_element, destination);
    const auto module = modules_.find(name);
    if (module == modules_.end()) return;
    if (factors_.module != module->second.name) factors_ = read_factors(module->second);
    const std::int64_t width = static_cast<std::int64_t>(factors_.columns.size()) / factors_.rank;
    std::vector<float> delta(static_cast<std::size_t>(width));
    const auto end = first_element + static_cast<std::int64_t>(destination.size());
    for (std::int64_t row = first_element / width; row * width < end; ++row) {
      delta_row(row, delta);
      const std::int64_t from = std::max(first_element, row * width), to = std::min(end, (row + 1) * width);
      for (std::int64_t i = from; i < to; ++i) destination[i - first_element] += delta[i - row * width];
    }
  }

 private:
  // The matrix as it is stored gains scale * rows columns: rows [n, rank], columns [rank, m].
  struct Factors {
    std::string module;
    std::int64_t rank = 0;
    float scale = 0;
    std::vector<float> rows, columns;
  };

  Factors read_factors(const AdaptedModule& module) const {
    Factors factors{module.name, module.rank, static_cast<float>(module.scale), {}, {}};
    const auto read = [&](const std::string& name, bool turned) {
      const std::vector<std::int64_t>& shape = adapter_->find(name)->shape;
      std::vector<float> values(static_cast<std::size_t>(shape[0] * shape[1]));
      adapter_->read(name, 0, values);
      if (!turned) return values;
      std::vector<float> result(values.size());
      for (std::int64_t i = 0; i < shape[0]; ++i) {
        for (std::int64_t j = 0; j < shape[1]; ++j) result[j * shape[0] + i] = values[i * shape[1] + j];
      }
      return result;
    };
    factors.rows = in_out_ ? read(a_name(module.name), true) : read(b_name(module.name), false);
    factors.columns = in_out_ ? read(b_name(module.name), true) : read(a_name(module.name), false);
    return factors;
  }

  void delta_row(std::int64_t row, std::span<float> delta) const {
    std::ranges::fill(delta, 0.0F);
    for (std::int64_t k = 0; k < factors_.rank; ++k) {
      const float factor = factors_.scale * factors_.rows[row * factors_.rank + k];
      const float* column = factors_.columns.data() + k * static_cast<std::int64_t>(delta.size());
      for (std::size_t i = 0; i < delta.size(); ++i) delta[i] += factor * column[i];
    }
  }

  std::unique_ptr<WeightSource> base_, adapter_;
  bool in_out_;
  std::map<std::string, AdaptedModule, std::less<>> modules_;  // by the name of the matrix
  mutable Factors factors_;                                    // of the last matrix: tensors are read in pieces
};

}  // namespace

std::unique_ptr<WeightSource> open_adapter_weights(const std::filesystem::path& folder,
                                                   std::span<const AdaptedModule> modules) {
  const std::filesystem::path path = folder / kAdapterWeightsName;
  if (!std::filesystem::exists(path)) {
    throw IoError("adapter", "no weights in " + folder.string(), std::string("expected ") + kAdapterWeightsName,
                  std::filesystem::exists(folder / "adapter_model.bin")
                      ? "adapter_model.bin can run code and is not read: save the adapter as safetensors"
                      : "give the folder that PEFT or sluice wrote");
  }
  std::unique_ptr<WeightSource> source = open_weights(path);
  for (const AdaptedModule& module : modules) {
    const TensorInfo *a = source->find(a_name(module.name)), *b = source->find(b_name(module.name));
    if (a == nullptr || b == nullptr)
      throw FormatError("adapter", path.string() + " has no adapter of " + quote(module.name),
                        "expected its lora_A.weight and lora_B.weight",
                        "adapter_config.json and weights do not belong together, or the adapter is of another model");
    if (a->shape.size() != 2 || b->shape.size() != 2 || a->shape[0] != module.rank || b->shape[1] != module.rank)
      throw FormatError("adapter", "the adapter of " + quote(module.name) + " has another rank",
                        "expected " + std::to_string(module.rank) + ", got A " + format_shape(a->shape) + " and B " +
                            format_shape(b->shape));
  }
  if (source->tensors().size() == 2 * modules.size()) return source;
  for (const TensorInfo& tensor : source->tensors()) {
    const auto is_it = [&](const AdaptedModule& m) {
      return tensor.name == a_name(m.name) || tensor.name == b_name(m.name);
    };
    if (std::ranges::none_of(modules, is_it))
      throw FormatError("adapter", path.string() + " holds " + quote(tensor.name),
                        "expected lora_A.weight and lora_B.weight of the layers' linear maps alone");
  }
  return source;
}

std::unique_ptr<WeightSource> join_weights(std::vector<std::unique_ptr<WeightSource>> sources) {
  return std::make_unique<JoinedWeights>(std::move(sources));
}

std::unique_ptr<WeightSource> merge_adapter(std::unique_ptr<WeightSource> base, std::unique_ptr<WeightSource> adapter,
                                            std::span<const AdaptedModule> modules, bool in_out) {
  return std::make_unique<MergedWeights>(std::move(base), std::move(adapter), modules, in_out);
}

}  // namespace sluice::format
