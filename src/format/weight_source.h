// Weights of a model whatever file they are in: Hugging Face names and shapes, elements widened to fp32 on the
// way.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "format/model_config.h"
#include "format/tensor_info.h"

namespace sluice::format {

/// Tensors to read from, by name. One thread at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// All tensors in file order; valid as long as the source.
  [[nodiscard]] virtual std::span<const TensorInfo> tensors() const = 0;

  /// The tensor called `name` or nullptr; valid as long as the source.
  [[nodiscard]] virtual const TensorInfo* find(std::string_view name) const = 0;

  /// Fills `destination` with the elements from `first_element` on, widened to fp32 (dequantised if need be). All of
  /// them are there on return. At most 4 MiB of staging memory; the page cache is left as it was. Throws FormatError
  /// (no such tensor, range outside of it, a dtype without a widening) and IoError.
  virtual void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const = 0;
};

/// Whether open_weights would find a file there.
bool has_weights(const std::filesystem::path& model);

/// Opens a folder (model.safetensors, its shards by model.safetensors.index.json, or pieces that ranks left by
/// model.pieces.json), a FILE.safetensors or a FILE.gguf. Headers are read and validated here, no tensor is. Rotary rows of a GGUF are given back in Hugging Face
/// order, tensors of GPT-2 under the names of its class with a head.
std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& model);

/// Throws FormatError naming the first tensor of `expected` that the source lacks or has in another shape (both
/// printed). Tensors that nobody expects are warned about once, except known buffers (rotary_emb.inv_freq), which are
/// skipped.
void check_weights(const ModelConfig& config, const WeightSource& source, std::span<const TensorInfo> expected);

/// Names in `source` that are neither expected nor known buffers.
std::vector<std::string> unexpected_tensors(const WeightSource& source, std::span<const TensorInfo> expected);

}  // namespace sluice::format
