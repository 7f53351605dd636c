// Rotary position embedding, half-rotation form: pairs (i, i + d/2) turn by position * frequency_i. Angles in fp32, as
// the published models were trained.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "format/model_config.h"

namespace sluice::model {

class Rope {
 public:
  /// Throws ConfigError for an unknown scaling type.
  explicit Rope(const format::ModelConfig& config);
  /// Cosines and sines [2,n,1,d/2] of positions [first, first + n).
  [[nodiscard]] at::Tensor table(std::int64_t first, std::int64_t n, c10::Device device) const;
  [[nodiscard]] const std::vector<float>& frequencies() const { return frequencies_; }

 private:
  std::vector<float> frequencies_;
};

/// to = from turned. Both [B,n,H,d], heads next to each other in rows of any stride; they may be the same tensor.
void rotate(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table);
/// The gradient of `rotate`: turns back.
void rotate_back(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table);

}  // namespace sluice::model
