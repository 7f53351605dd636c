#include "format/gpt2_weights.h"

#include "base/error.h"
#include "format/quote.h"
#include "format/tabled_weights.h"

namespace sluice::format {
namespace {

constexpr std::string_view kPrefix = "transformer.";

// Masks of the causal attention: constants that a model computes for itself.
bool is_mask(std::string_view name) { return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"); }

class Gpt2Weights final : public TabledWeights {
 public:
  Gpt2Weights(std::unique_ptr<WeightSource> source, bool has_prefix) : source_(std::move(source)) {
    for (const TensorInfo& tensor : source_->tensors()) {
      if (is_mask(tensor.name)) continue;
      TensorInfo renamed = tensor;
      if (!has_prefix && tensor.name != "lm_head.weight") renamed.name.insert(0, kPrefix);
      if (add(std::move(renamed))) stored_names_.push_back(tensor.name);
    }
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto found = index_of(name);
    if (!found) throw FormatError("format.weights", "no tensor " + quote(name), "expected it in GPT-2");
    source_->read(stored_names_[*found], first_element, destination);
  }

 private:
  std::unique_ptr<WeightSource> source_;
  std::vector<std::string> stored_names_;
};

}  // namespace

std::unique_ptr<WeightSource> with_gpt2_names(std::unique_ptr<WeightSource> source) {
  const bool has_prefix = source->find("transformer.wte.weight") != nullptr;
  if (!has_prefix && source->find("wte.weight") == nullptr) return source;
  return std::make_unique<Gpt2Weights>(std::move(source), has_prefix);
}

}  // namespace sluice::format
