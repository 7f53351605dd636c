#include "base/nf4.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/dynamic_map.h"
#include "base/isa.h"

namespace sluice {
namespace {

constexpr std::size_t kBlock = 64;        // elements with one magnitude
constexpr std::size_t kMagnitudes = 256;  // with one scale
constexpr std::size_t kBlocksOfRecord = kNf4Elements / kBlock;

// bitsandbytes' functional.py, get_4bit_type("nf4").
constexpr std::array<float, 16> kLevels = {-1.0F,
                                           -0.6961928009986877F,
                                           -0.5250730514526367F,
                                           -0.39491748809814453F,
                                           -0.28444138169288635F,
                                           -0.18477343022823334F,
                                           -0.09105003625154495F,
                                           0.0F,
                                           0.07958029955625534F,
                                           0.16093020141124725F,
                                           0.24611230194568634F,
                                           0.33791524171829224F,
                                           0.44070982933044434F,
                                           0.5626170039176941F,
                                           0.7229568362236023F,
                                           1.0F};

struct Record {
  std::array<std::uint8_t, kNf4Elements / 2> codes;
  std::array<std::uint8_t, kBlocksOfRecord> magnitudes;
  float scale, mean;
};
static_assert(sizeof(Record) == kNf4Bytes);

float largest(std::span<const float> block) {
  float most = 0;
  for (const float element : block) most = std::max(most, std::fabs(element));
  return most;
}

std::span<const float> block_of(std::span<const float> elements, std::size_t block) {
  return elements.subspan(block * kBlock, std::min(kBlock, elements.size() - block * kBlock));
}

// The nearest number of the map, the lower of two equally near.
std::uint8_t nearest(const std::array<float, 256>& map, float x) {
  const auto above = std::ranges::lower_bound(map, x);
  if (above == map.begin()) return 0;
  if (above == map.end()) return 255;
  const auto below = above - 1;
  return static_cast<std::uint8_t>((x - *below <= *above - x ? below : above) - map.begin());
}

// How many of the borders between levels lie below each element.
struct CodeLoop {
  const float* elements;
  float inverse;
  std::uint8_t* codes;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      const float x = elements[i] * inverse;
      int code = 0;
      for (std::size_t level = 1; level < kLevels.size(); ++level)
        code += x > (kLevels[level - 1] + kLevels[level]) / 2 ? 1 : 0;
      codes[i] = static_cast<std::uint8_t>(code);
    }
  }
};

void pack_codes(std::span<const float> block, float magnitude, std::uint8_t* packed) {
  std::array<std::uint8_t, kBlock> codes;
  codes.fill(0);
  run_widest(CodeLoop{block.data(), 1.0F / std::max(magnitude, 1e-38F), codes.data()}, block.size());
  for (std::size_t i = 0; i < kBlock / 2; ++i)
    packed[i] = static_cast<std::uint8_t>(codes[2 * i] << 4 | codes[2 * i + 1]);
}

using Sixteen [[gnu::vector_size(64)]] = float;
using Places [[gnu::vector_size(64)]] = std::int32_t;

// A record at a time is copied before its elements are written: they may lie where it was.
struct UnpackLoop {
  const std::byte* records;
  const float* map;
  float* elements;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    Sixteen levels;
    std::memcpy(&levels, kLevels.data(), sizeof(levels));
    for (std::size_t r = 0; r < count; ++r) {
      Record record;
      std::memcpy(&record, records + r * sizeof(Record), sizeof(Record));
      float* const to = elements + r * kNf4Elements;
      for (std::size_t b = 0; b < kBlocksOfRecord; ++b) {
        const float magnitude = map[record.magnitudes[b]] * record.scale + record.mean;
        const Sixteen scaled = levels * magnitude;
        const std::uint8_t* const codes = record.codes.data() + b * kBlock / 2;
        alignas(64) std::array<std::int32_t, kBlock> places;
        for (std::size_t i = 0; i < kBlock / 2; ++i) {
          places[2 * i] = codes[i] >> 4;
          places[2 * i + 1] = codes[i] & 15;
        }
        for (std::size_t i = 0; i < kBlock; i += 16) {
          Places run;
          std::memcpy(&run, places.data() + i, sizeof(run));
          const Sixteen values = __builtin_shuffle(scaled, run);
          std::memcpy(to + b * kBlock + i, &values, sizeof(values));
        }
      }
    }
  }
};

}  // namespace

void Nf4Mean::add(std::span<const float> elements) {
  for (std::size_t first = 0; first < elements.size(); first += kBlock, ++blocks_)
    sum_ += largest(elements.subspan(first, std::min(kBlock, elements.size() - first)));
}

void pack_nf4(std::span<const float> elements, float mean, std::span<std::byte> records) {
  SLUICE_CHECK(static_cast<Bytes>(records.size()) == nf4_bytes(static_cast<std::int64_t>(elements.size())));
  const std::array<float, 256>& map = signed_dynamic_map().values();
  const std::size_t num_blocks = (elements.size() + kBlock - 1) / kBlock;
  for (std::size_t first = 0; first < num_blocks; first += kMagnitudes) {
    const std::size_t end = std::min(first + kMagnitudes, num_blocks);
    std::array<float, kMagnitudes> magnitudes;
    float scale = 0;
    for (std::size_t b = first; b < end; ++b) {
      magnitudes[b - first] = largest(block_of(elements, b));
      scale = std::max(scale, std::fabs(magnitudes[b - first] - mean));
    }
    for (std::size_t r = first / kBlocksOfRecord; r * kBlocksOfRecord < end; ++r) {
      Record record{.codes = {}, .magnitudes = {}, .scale = scale, .mean = mean};
      for (std::size_t b = r * kBlocksOfRecord; b < std::min(end, (r + 1) * kBlocksOfRecord); ++b) {
        const std::size_t in_record = b % kBlocksOfRecord;
        const float off = magnitudes[b - first] - mean;
        record.magnitudes[in_record] = nearest(map, scale > 0 ? off / scale : 0.0F);
        pack_codes(block_of(elements, b), magnitudes[b - first], record.codes.data() + in_record * kBlock / 2);
      }
      std::memcpy(records.data() + r * sizeof(Record), &record, sizeof(Record));
    }
  }
}

void unpack_nf4(const std::byte* records, std::span<float> elements) {
  SLUICE_CHECK(elements.size() % kNf4Elements == 0, "NF4 of ", elements.size(), " elements");
  run_widest(UnpackLoop{records, signed_dynamic_map().values().data(), elements.data()},
             elements.size() / kNf4Elements);
}

}  // namespace sluice
