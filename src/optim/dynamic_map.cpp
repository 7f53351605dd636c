#include "optim/dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace sluice::optim {

DynamicMap::DynamicMap(bool with_sign) : with_sign_(with_sign) {
  static_assert(2 * kSignedCells <= kCells + 1);
  fill_values();
  fill_cells();
}

// In torch's fp32 arithmetic: linspace counts from the nearer end.
void DynamicMap::fill_values() {
  std::vector<float> values = {0.0F, 1.0F};
  for (int i = 0; i < 7; ++i) {
    const int intervals = with_sign_ ? 1 << i : 2 << i;
    const float step = (1.0F - 0.1F) / static_cast<float>(intervals);
    const auto border = [&](int k) {
      return k < (intervals + 1) / 2 ? 0.1F + step * static_cast<float>(k)
                                     : 1.0F - step * static_cast<float>(intervals - k);
    };
    const auto scale = static_cast<float>(std::pow(10.0, i - 6));
    for (int k = 0; k < intervals; ++k) {
      const float middle = (border(k) + border(k + 1)) / 2.0F;
      values.push_back(scale * middle);
      if (with_sign_) values.push_back(-scale * middle);
    }
  }
  std::ranges::sort(values);
  SLUICE_CHECK(values.size() == values_.size());
  std::ranges::copy(values, values_.begin());
}

std::uint8_t DynamicMap::slow_code(float x) const {
  const auto above = std::lower_bound(values_.begin(), values_.end(), x);
  auto code = above - values_.begin();
  if (above == values_.end() ||
      (code > 0 && double{x} - double{values_[code - 1]} <= double{values_[code]} - double{x})) {
    --code;
  }
  if (with_sign_ && std::signbit(values_[code]) != std::signbit(x)) code += std::signbit(x) ? -1 : 1;
  return static_cast<std::uint8_t>(code);
}

// Codes ascend within a cell, so its border is found by halving.
void DynamicMap::fill_cells() {
  const Cells table = cells();
  const std::uint32_t mask = (1U << table.shift) - 1;
  for (std::uint32_t negative = 0; negative < (with_sign_ ? 2U : 1U); ++negative) {
    for (std::uint32_t cell = 0; cell < table.size; ++cell) {
      const std::uint32_t leading = (cell + table.lowest) << table.shift | negative << 31;
      // What lies beyond 1 in the last cell counts as 1, what lies before the first as its beginning.
      const auto code_at = [&](std::uint32_t within) {
        const float x = std::bit_cast<float>(leading | (negative != 0 ? within ^ mask : within));
        return std::uint32_t{slow_code(std::clamp(x, -1.0F, 1.0F))};
      };
      const std::uint32_t lower = code_at(0);
      SLUICE_CHECK(code_at(mask) - lower <= 1);
      std::uint32_t last = 0, end = mask + 1;  // the border is in [last, end)
      while (end - last > 1) {
        const std::uint32_t middle = last + (end - last) / 2;
        (code_at(middle) == lower ? last : end) = middle;
      }
      entries_[cell + negative * table.size] = lower << kBorderBits | last;
    }
  }
}

const DynamicMap& signed_dynamic_map() {
  static const DynamicMap kMap(true);
  return kMap;
}

const DynamicMap& unsigned_dynamic_map() {
  static const DynamicMap kMap(false);
  return kMap;
}

}  // namespace sluice::optim
