#include "model/held_weight.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/check.h"
#include "model/parallel.h"
#include "model/place.h"
#include "model/row_kernel.h"

namespace sluice::model {

namespace {

struct Held {
  NumberFormat format;
  at::ScalarType type;
};
constexpr std::array<Held, 4> kHeld = {{{NumberFormat::Fp32, at::kFloat},
                                        {NumberFormat::Bf16, at::kBFloat16},
                                        {NumberFormat::Fp16, at::kHalf},
                                        {NumberFormat::Fp8, at::kFloat8_e4m3fn}}};

}  // namespace

at::ScalarType held_type(NumberFormat held) {
  const auto* const row = std::ranges::find(kHeld, held, &Held::format);
  SLUICE_CHECK(row != kHeld.end(), "no tensors of ", name(held), " weights");
  return row->type;
}

NumberFormat held_format(at::ScalarType type) {
  const auto* const row = std::ranges::find(kHeld, type, &Held::type);
  SLUICE_CHECK(row != kHeld.end(), "no weights are held as ", at::toString(type));
  return row->format;
}

namespace {

// Runs of codes, for one thread each.
void widen_codes(const at::Tensor& codes, const at::Tensor& numbers) {
  const auto* const from = static_cast<const std::byte*>(codes.const_data_ptr());
  auto* const to = static_cast<std::byte*>(numbers.mutable_data_ptr());
  constexpr std::int64_t kRun = 4096, kFew = 8;
  const bool wide = numbers.scalar_type() == at::kFloat;
  const NumberFormat format = held_format(numbers.scalar_type());
  parallel_ranges((codes.numel() + kRun - 1) / kRun, kFew, [&](std::int64_t begin, std::int64_t end) {
    std::array<float, kRun> run;
    for (std::int64_t first = begin * kRun; first < std::min(end * kRun, codes.numel()); first += kRun) {
      const auto count = static_cast<std::size_t>(std::min(kRun, codes.numel() - first));
      std::byte* const place = to + stored_bytes(format, first);
      const std::span<float> part(wide ? reinterpret_cast<float*>(place) : run.data(), count);
      widen(NumberFormat::Fp8, from + first, part);
      if (!wide) narrow(format, part, place);
    }
  });
}

at::Tensor numbers_of(const at::Tensor& codes, at::ScalarType type) {
  if (codes.dim() == 2 && !codes.is_contiguous()) return numbers_of(codes.t(), type).t();
  SLUICE_CHECK(codes.is_contiguous(), "expected codes without gaps");
  at::Tensor numbers = at::empty(codes.sizes(), codes.options().dtype(type));
  if (begin_pass(codes, bytes_of(codes) + bytes_of(numbers), codes.numel())) widen_codes(codes, numbers);
  return numbers;
}

}  // namespace

// The unit is a power of two, so every dtype has the product.
at::Tensor weight_as(at::ScalarType type, const at::Tensor& weight) {
  if (!weight.defined() || weight.scalar_type() == type) return weight;
  if (weight.scalar_type() != at::kFloat8_e4m3fn) return weight.to(type);
  return uses_torch() ? weight.to(type).mul_(kFp8Unit) : numbers_of(weight, type);
}

}  // namespace sluice::model
