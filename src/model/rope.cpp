#include "model/rope.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"
#include "kernel/rope.h"
#include "model/place.h"
#include "model/row_kernel.h"
#include "model/torch_operators.h"

namespace sluice::model {
namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, a linear blend between (models trained with
// it store factors, so the formula is fixed by transformers' "llama3" rope type).
float scale_llama3(float frequency, const format::RopeScaling& scaling) {
  const auto original = static_cast<float>(scaling.original_max_position_embeddings);
  const auto factor = static_cast<float>(scaling.factor), low = static_cast<float>(scaling.low_freq_factor),
             high = static_cast<float>(scaling.high_freq_factor);
  const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float blend = (original / wavelength - low) / (high - low);
  return (1.0F - blend) * frequency / factor + blend * frequency;
}

enum class Direction { Forward, Back };

void turn(const at::Tensor& from, const at::Tensor& to, const at::Tensor& table, Direction direction) {
  if (uses_torch()) return torch_operators::turn(from, to, table, direction == Direction::Forward ? 1 : -1);
  if (!begin_pass(from, 2 * bytes_of(from), 3 * from.numel())) return;
  const kernel::RotateRows rows{.seq_len = static_cast<std::size_t>(from.size(1)),
                                .num_heads = static_cast<std::size_t>(from.size(2)),
                                .half = static_cast<std::size_t>(from.size(3) / 2),
                                .cosine = read_data(table),
                                .sine = read_data(table) + table.numel() / 2,
                                .from = from.const_data_ptr<float>(),
                                .from_stride = static_cast<std::size_t>(token_stride(from)),
                                .to = to.mutable_data_ptr<float>(),
                                .to_stride = static_cast<std::size_t>(token_stride(to))};
  for_rows(from.size(0) * from.size(1), from.size(2) * from.size(3), [&](std::int64_t first, std::int64_t last) {
    const auto begin = static_cast<std::size_t>(first), end = static_cast<std::size_t>(last);
    direction == Direction::Forward ? kernel::rotate(rows, begin, end) : kernel::rotate_back(rows, begin, end);
  });
}

}  // namespace

Rope::Rope(const format::ModelConfig& config) {
  const auto& scaling = config.rope_scaling;
  if (scaling.type != "default" && scaling.type != "linear" && scaling.type != "llama3") {
    throw ConfigError("model.rope", "unknown rope scaling '" + scaling.type + "'", "known are default, linear, llama3");
  }
  const auto theta = static_cast<float>(config.rope_theta);
  for (std::int64_t i = 0; i < config.head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.head_dim);
    float frequency = 1.0F / std::pow(theta, exponent);
    if (scaling.type == "linear") frequency /= static_cast<float>(scaling.factor);
    if (scaling.type == "llama3") frequency = scale_llama3(frequency, scaling);
    frequencies_.push_back(frequency);
  }
}

at::Tensor Rope::table(std::int64_t first, std::int64_t n, c10::Device device) const {
  if (uses_torch()) return torch_operators::rotations(frequencies_, first, n, device);
  const auto half = static_cast<std::int64_t>(frequencies_.size());
  at::Tensor table = at::empty({2, n, 1, half}, at::TensorOptions().device(device));
  if (device.is_meta()) return table;
  auto* cosine = table.mutable_data_ptr<float>();
  float* sine = cosine + n * half;
  for_rows(n, 16 * half, [&](std::int64_t begin, std::int64_t end) {  // a sine takes as long as 16 simple operations
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(first + t) * frequencies_[static_cast<std::size_t>(i)];
        cosine[t * half + i] = std::cos(angle);
        sine[t * half + i] = std::sin(angle);
      }
    }
  });
  return table;
}

void rotate(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table) {
  turn(from_BSHd, to_BSHd, table, Direction::Forward);
}

void rotate_back(const at::Tensor& from_BSHd, const at::Tensor& to_BSHd, const at::Tensor& table) {
  turn(from_BSHd, to_BSHd, table, Direction::Back);
}

}  // namespace sluice::model
