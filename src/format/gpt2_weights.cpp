#include "format/gpt2_weights.h"

#include <unordered_map>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

constexpr std::string_view kPrefix = "transformer.";

// Masks of the causal attention: constants that a model computes for itself.
bool is_mask(std::string_view name) { return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"); }

class Gpt2Weights final : public WeightSource {
 public:
  Gpt2Weights(std::unique_ptr<WeightSource> source, bool has_prefix) : source_(std::move(source)) {
    for (const TensorInfo& tensor : source_->tensors()) {
      if (is_mask(tensor.name)) continue;
      infos_.push_back(tensor);
      stored_names_.push_back(tensor.name);
      if (!has_prefix && tensor.name != "lm_head.weight") infos_.back().name.insert(0, kPrefix);
    }
    for (std::size_t i = 0; i < infos_.size(); ++i) by_name_.emplace(infos_[i].name, i);
  }

  std::span<const TensorInfo> tensors() const override { return infos_; }

  const TensorInfo* find(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &infos_[found->second];
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto found = by_name_.find(name);
    if (found == by_name_.end())
      throw FormatError("format.weights", "no tensor " + quote(name), "expected it in GPT-2");
    source_->read(stored_names_[found->second], first_element, destination);
  }

 private:
  std::unique_ptr<WeightSource> source_;
  std::vector<TensorInfo> infos_;
  std::vector<std::string> stored_names_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace

std::unique_ptr<WeightSource> with_gpt2_names(std::unique_ptr<WeightSource> source) {
  const bool has_prefix = source->find("transformer.wte.weight") != nullptr;
  if (!has_prefix && source->find("wte.weight") == nullptr) return source;
  return std::make_unique<Gpt2Weights>(std::move(source), has_prefix);
}

}  // namespace sluice::format
