#include "format/peft_weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "format/quote.h"
#include "format/tabled_weights.h"

namespace sluice::format {
namespace {

constexpr std::int64_t kPiece = 1 << 18;  // elements that are read at once

// visit(first element, elements) for all of a tensor.
template <typename Visit>
void for_pieces(const WeightSource& source, const TensorInfo& tensor, const Visit& visit) {
  std::vector<float> values(static_cast<std::size_t>(std::min(kPiece, tensor.num_elements())));
  for (std::int64_t first = 0; first < tensor.num_elements(); first += kPiece) {
    const auto piece = std::span(values).first(std::min<std::size_t>(kPiece, tensor.num_elements() - first));
    source.read(tensor.name, first, piece);
    visit(first, std::span<float>(piece));
  }
}

// Lengths of the rows of a matrix [out,in], or of the columns of one [in,out].
class OutputNorms {
 public:
  OutputNorms(const TensorInfo& matrix, bool in_out)
      : width_(matrix.shape[1]), in_out_(in_out), sums_(static_cast<std::size_t>(matrix.shape[in_out ? 1 : 0])) {}

  void add(std::int64_t first, std::span<const float> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t at = first + static_cast<std::int64_t>(i);
      sums_[in_out_ ? at % width_ : at / width_] += double{values[i]} * values[i];
    }
  }
  [[nodiscard]] std::vector<float> norms() const {
    std::vector<float> result;
    for (const double sum : sums_) result.push_back(static_cast<float>(std::sqrt(sum)));
    return result;
  }

 private:
  std::int64_t width_;
  bool in_out_;
  std::vector<double> sums_;  // of squares, per output
};

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

class WithMagnitudes final : public TabledWeights {
 public:
  WithMagnitudes(std::unique_ptr<WeightSource> weights, std::span<const AdaptedModule> modules, bool in_out)
      : weights_(std::move(weights)), in_out_(in_out) {
    for (const TensorInfo& tensor : weights_->tensors()) add(tensor);
    for (const AdaptedModule& module : modules) {
      const TensorInfo* const matrix = weights_->find(module.name + ".weight");
      if (!module.magnitude || matrix == nullptr) continue;
      const std::string name = adapter_magnitude_name(module.name);
      if (add({name, "F32", {matrix->shape[in_out ? 1 : 0]}})) matrices_.emplace(name, *matrix);
    }
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto matrix = matrices_.find(name);
    if (matrix == matrices_.end()) {
      weights_->read(name, first_element, destination);
      return;
    }
    OutputNorms norms(matrix->second, in_out_);
    for_pieces(*weights_, matrix->second, [&](std::int64_t at, std::span<float> values) { norms.add(at, values); });
    std::ranges::copy(std::span<const float>(norms.norms()).subspan(first_element, destination.size()),
                      destination.begin());
  }

 private:
  std::unique_ptr<WeightSource> weights_;
  bool in_out_;
  std::map<std::string, TensorInfo, std::less<>> matrices_;  // by the name of their magnitude
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
    if (factors_.module != module->second.name) load_factors(module->first, module->second);
    add_delta(first_element, destination);
    if (factors_.gains.empty()) return;
    const std::int64_t width = factors_.width();
    for (std::size_t i = 0; i < destination.size(); ++i) {
      const std::int64_t at = first_element + static_cast<std::int64_t>(i);
      destination[i] *= factors_.gains[in_out_ ? at % width : at / width];
    }
  }

 private:
  // The matrix as it is stored gains scale * rows columns: rows [n, rank], columns [rank, m].
  struct Factors {
    std::string module;
    std::int64_t rank = 0;
    float scale = 0;
    std::vector<float> rows, columns;
    std::vector<float> gains;  // per output, by which all is multiplied then; or none
    [[nodiscard]] std::int64_t width() const { return static_cast<std::int64_t>(columns.size()) / rank; }
  };

  void load_factors(const std::string& matrix, const AdaptedModule& module) const {
    factors_ = {module.name, module.rank, static_cast<float>(module.scale), {}, {}, {}};
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
    factors_.rows = in_out_ ? read(adapter_a_name(module.name), true) : read(adapter_b_name(module.name), false);
    factors_.columns = in_out_ ? read(adapter_b_name(module.name), true) : read(adapter_a_name(module.name), false);
    if (module.magnitude) load_gains(*base_->find(matrix), adapter_magnitude_name(module.name));
  }

  // Magnitudes over the lengths of the rows as they are with scale * B A.
  void load_gains(const TensorInfo& matrix, const std::string& magnitude) const {
    OutputNorms norms(matrix, in_out_);
    for_pieces(*base_, matrix, [&](std::int64_t at, std::span<float> values) {
      add_delta(at, values);
      norms.add(at, values);
    });
    const std::vector<float> lengths = norms.norms();
    factors_.gains.resize(lengths.size());
    adapter_->read(magnitude, 0, factors_.gains);
    for (std::size_t i = 0; i < lengths.size(); ++i) factors_.gains[i] /= lengths[i];
  }

  void add_delta(std::int64_t first_element, std::span<float> values) const {
    const std::int64_t width = factors_.width();
    std::vector<float> delta(static_cast<std::size_t>(width));
    const auto end = first_element + static_cast<std::int64_t>(values.size());
    for (std::int64_t row = first_element / width; row * width < end; ++row) {
      delta_row(row, delta);
      const std::int64_t from = std::max(first_element, row * width), to = std::min(end, (row + 1) * width);
      for (std::int64_t i = from; i < to; ++i) values[i - first_element] += delta[i - row * width];
    }
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
  std::set<std::string, std::less<>> known;
  for (const AdaptedModule& module : modules) {
    const TensorInfo *a = source->find(adapter_a_name(module.name)), *b = source->find(adapter_b_name(module.name));
    if (a == nullptr || b == nullptr)
      throw FormatError("adapter", path.string() + " has no adapter of " + quote(module.name),
                        "expected its lora_A.weight and lora_B.weight",
                        "adapter_config.json and weights do not belong together, or the adapter is of another model");
    if (a->shape.size() != 2 || b->shape.size() != 2 || a->shape[0] != module.rank || b->shape[1] != module.rank)
      throw FormatError("adapter", "the adapter of " + quote(module.name) + " has another rank",
                        "expected " + std::to_string(module.rank) + ", got A " + format_shape(a->shape) + " and B " +
                            format_shape(b->shape));
    known.insert({a->name, b->name});
    if (!module.magnitude) continue;
    const TensorInfo* const magnitude = source->find(adapter_magnitude_name(module.name));
    if (magnitude == nullptr || magnitude->shape != std::vector{b->shape[0]})
      throw FormatError("adapter", path.string() + " has no magnitude of " + quote(module.name),
                        "expected its lora_magnitude_vector of shape " + format_shape({b->shape[0]}) + ", got " +
                            (magnitude == nullptr ? "none" : format_shape(magnitude->shape)));
    known.insert(magnitude->name);
  }
  for (const TensorInfo& tensor : source->tensors()) {
    if (known.contains(tensor.name)) continue;
    throw FormatError("adapter", path.string() + " holds " + quote(tensor.name),
                      "expected lora_A.weight and lora_B.weight of the layers' linear maps alone, and "
                      "lora_magnitude_vector where adapter_config.json says use_dora");
  }
  return source;
}

std::unique_ptr<WeightSource> add_magnitudes(std::unique_ptr<WeightSource> weights,
                                             std::span<const AdaptedModule> modules, bool in_out) {
  return std::make_unique<WithMagnitudes>(std::move(weights), modules, in_out);
}

std::unique_ptr<WeightSource> join_weights(std::vector<std::unique_ptr<WeightSource>> sources) {
  return std::make_unique<JoinedWeights>(std::move(sources));
}

std::unique_ptr<WeightSource> merge_adapter(std::unique_ptr<WeightSource> base, std::unique_ptr<WeightSource> adapter,
                                            std::span<const AdaptedModule> modules, bool in_out) {
  return std::make_unique<MergedWeights>(std::move(base), std::move(adapter), modules, in_out);
}

}  // namespace sluice::format
