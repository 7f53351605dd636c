#include "base/dynamic_map.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/dynamic_map_wide.h"
#include "base/isa.h"

namespace sluice {

namespace {

struct DecodeLoop {
  const std::uint8_t* codes;
  const float* values;
  float scale;
  float* numbers;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const std::uint8_t* __restrict const from = codes;
    const float* __restrict const table = values;
    float* __restrict const to = numbers;
    for (std::size_t i = 0; i < count; ++i) to[i] = table[from[i]] * scale;
  }
};

struct EncodeLoop {
  const float* numbers;
  const DynamicMap::Ranks* table;
  bool with_sign;
  float scale;
  std::uint8_t* codes;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    constexpr std::size_t kRun = 64;
    const DynamicMap::Ranks& ranks = *table;
    std::array<std::uint32_t, kRun> places;
    std::array<float, kRun> magnitudes;
    for (std::size_t first = 0; first < count; first += kRun) {
      const std::size_t size = std::min(kRun, count - first);
      for (std::size_t i = 0; i < size; ++i) {
        const float x = numbers[first + i] / scale;
        const float magnitude = std::fabs(x);
        float rank = 255;
        for (std::size_t d = 0; d < DynamicMap::kDecades; ++d) {
          const float line = std::fma(magnitude, ranks.slopes[d], ranks.offsets[d]);
          rank = line < rank ? line : rank;  // NaN is not
        }
        const std::uint32_t negative = with_sign ? std::bit_cast<std::uint32_t>(x) >> 31 : 0;
        places[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(rank)) | negative << 7;
        magnitudes[i] = magnitude;
      }
      for (std::size_t i = 0; i < size; ++i) {
        const std::uint32_t place = places[i];
        const bool negative = with_sign && place >= 128;
        const int rank = static_cast<int>(negative ? place - 128 : place) + (magnitudes[i] > ranks.borders[place]);
        codes[first + i] = static_cast<std::uint8_t>(ranks.code_of_zero + (negative ? -rank : rank));
      }
    }
  }
};

}  // namespace

DynamicMap::DynamicMap(bool with_sign) : with_sign_(with_sign) {
  fill_values();
  fill_ranks();
  fill_lines();
  value_planes_ = planes_of(values_);
}

void DynamicMap::decode(const std::uint8_t* codes, std::size_t count, float scale, float* numbers) const {
  std::size_t done = 0;
  if (usable_isa() == Isa::Avx512Vbmi) {
    done = count / kWideRun * kWideRun;
    decode_wide(*this, codes, done, scale, numbers);
  }
  run_widest(DecodeLoop{codes + done, values_.data(), scale, numbers + done}, count - done);
}

void DynamicMap::encode(const float* numbers, std::size_t count, float scale, std::uint8_t* codes) const {
  std::size_t done = 0;
  if (usable_isa() == Isa::Avx512Vbmi) {
    done = count / kWideRun * kWideRun;
    encode_wide(*this, numbers, done, scale, codes);
  }
  encode_exactly(numbers + done, count - done, scale, codes + done);
}

void DynamicMap::encode_exactly(const float* numbers, std::size_t count, float scale, std::uint8_t* codes) const {
  run_widest(EncodeLoop{numbers, &ranks_, with_sign_, scale, codes}, count);
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

double DynamicMap::intervals(std::size_t decade) const { return with_sign_ ? 1 << decade : 2 << decade; }

// At the border between two ranks a line has the upper one less a half: half a rank is left for the steps between
// decades, which are a fifth of a rank off the lines, and for rounding.
void DynamicMap::fill_ranks() {
  ranks_.code_of_zero = with_sign_ ? 127 : 0;
  for (std::size_t i = 0; i < kDecades; ++i) {
    const double per_unit = intervals(i) / 0.9;  // of 10^(i-6)
    const double first_rank = with_sign_ ? intervals(i) : intervals(i) - 1;
    ranks_.slopes[i] = static_cast<float>(per_unit * std::pow(10.0, 6.0 - static_cast<double>(i)));
    ranks_.offsets[i] = static_cast<float>(first_rank - 0.1 * per_unit - 0.5);
  }
  for (int place = 0; place < 256; ++place) {
    const bool negative = with_sign_ && place >= 128;
    ranks_.borders[place] = last_of_rank(negative ? place - 128 : place, negative);
  }
}

// A line passes the ranks' borders inside its decade at whole numbers. Nothing is below the lowest one: its line passes
// zero's border at 1.2, as if there were a decade more. At the top the line is cut off.
void DynamicMap::fill_lines() {
  struct Line {
    double slope, offset;
  };
  std::array<Line, kDecades + 1> lines;
  for (std::size_t i = 0; i < kDecades; ++i) {
    const double n = intervals(i), start = std::pow(10.0, static_cast<double>(i) - 7), slope = n / (9 * start);
    lines[i] = {slope, (with_sign_ ? n : n - 1) - slope * start};
  }
  const int zero = ranks_.code_of_zero;
  const double one = values_[zero + 1] / 2.0, two = with_sign_ ? 1e-6 : (values_[1] + values_[2]) / 2.0;
  lines[0] = {0.8 / (two - one), 1.2 - 0.8 / (two - one) * one};
  lines[kDecades] = {0, (with_sign_ ? 127 : 254) + 0.9};
  const auto decade_of = [](double x) {
    return static_cast<std::size_t>(std::clamp(std::floor(std::log10(x)) + 7, 0.0, kDecades - 1.0));
  };
  const double base = with_sign_ ? 128 + 4 * 0x1p-16 : 256 + 4 * 0x1p-15;
  for (int cell = 0; cell < 16; ++cell) {
    const double start = std::ldexp(1.0, 2 * cell - 31);
    const std::array<std::size_t, 2> ends = {decade_of(start), cell == 15 ? kDecades : decade_of(4 * start)};
    const Line &low = lines[ends[0]], &high = lines[ends[1]];
    const double edge = ends[0] == ends[1] ? 2 : (high.offset - low.offset) / (low.slope - high.slope);
    lines_.edges[cell] = static_cast<float>(edge + double{Lines::kLeast});
    for (std::size_t end = 0; end < 2; ++end) {
      const Line& line = lines[ends[end]];
      lines_.slopes[end][cell] = static_cast<float>(line.slope);
      lines_.offsets[end][cell] = static_cast<float>(base + line.offset - line.slope * double{Lines::kLeast});
    }
  }
}

// Codes ascend with their numbers, so the border is found by halving. Bits of positive floats are in their order.
float DynamicMap::last_of_rank(int rank, bool negative) const {
  const auto rank_of = [&](std::uint32_t magnitude) {
    const int code = slow_code(std::bit_cast<float>(magnitude | (negative ? 1U << 31 : 0U)));
    return negative ? ranks_.code_of_zero - code : code - ranks_.code_of_zero;
  };
  std::uint32_t last = 0, end = std::bit_cast<std::uint32_t>(1.0F) + 1;  // the border is in [last, end)
  if (rank_of(last) > rank) return -1;                                   // none has it
  while (end - last > 1) {
    const std::uint32_t middle = last + (end - last) / 2;
    (rank_of(middle) <= rank ? last : end) = middle;
  }
  return std::bit_cast<float>(last);
}

DynamicMap::Planes DynamicMap::planes_of(const std::array<float, 256>& floats) {
  Planes planes{};
  for (std::size_t i = 0; i < floats.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(floats[i]);
    for (std::size_t byte = 0; byte < 4; ++byte) planes[256 * byte + i] = static_cast<std::uint8_t>(bits >> 8 * byte);
  }
  return planes;
}

const DynamicMap& signed_dynamic_map() {
  static const DynamicMap kMap(true);
  return kMap;
}

const DynamicMap& unsigned_dynamic_map() {
  static const DynamicMap kMap(false);
  return kMap;
}

}  // namespace sluice
