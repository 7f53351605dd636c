// Block layouts as ggml defines them (ggml-common.h) and their arithmetic in the order of its reference decoders, so
// results are equal bit for bit. Scales are fp16; products are rounded to fp32 one by one (-ffp-contract=off).
#include "format/dequantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/half.h"
#include "base/narrow.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

constexpr Bytes kStaging = MiB;
constexpr std::int64_t kLargestBlock = 256;

float half_at(const std::byte* bytes) {
  std::uint16_t half = 0;
  std::memcpy(&half, bytes, sizeof half);
  return half_to_float(half);
}

int byte_at(const std::byte* bytes, int index) { return std::to_integer<int>(bytes[index]); }
int signed_at(const std::byte* bytes, int index) { return static_cast<std::int8_t>(byte_at(bytes, index)); }

void widen_f32(const std::byte* blocks, std::int64_t num_blocks, float* destination) {
  std::memcpy(destination, blocks, static_cast<std::size_t>(num_blocks) * sizeof(float));
}

void widen_f16(const std::byte* blocks, std::int64_t num_blocks, float* destination) {
  for (std::int64_t i = 0; i < num_blocks; ++i) destination[i] = half_at(blocks + 2 * i);
}

void widen_bf16(const std::byte* blocks, std::int64_t num_blocks, float* destination) {
  for (std::int64_t i = 0; i < num_blocks; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, blocks + 2 * i, sizeof bits);
    destination[i] = std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
}

// f16 d, 32 signed bytes: d * q.
void widen_q8_0(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 34, destination += 32) {
    const float d = half_at(block);
    for (int j = 0; j < 32; ++j) destination[j] = static_cast<float>(signed_at(block + 2, j)) * d;
  }
}

// f16 d, 16 bytes; low nibble is element j, high nibble element j + 16: d * (n - 8).
void widen_q4_0(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 18, destination += 32) {
    const float d = half_at(block);
    for (int j = 0; j < 16; ++j) {
      const int pair = byte_at(block + 2, j);
      destination[j] = static_cast<float>((pair & 15) - 8) * d;
      destination[j + 16] = static_cast<float>((pair >> 4) - 8) * d;
    }
  }
}

// f16 d, f16 m, 16 bytes as above: d * n + m.
void widen_q4_1(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 20, destination += 32) {
    const float d = half_at(block);
    const float m = half_at(block + 2);
    for (int j = 0; j < 16; ++j) {
      const int pair = byte_at(block + 4, j);
      destination[j] = static_cast<float>(pair & 15) * d + m;
      destination[j + 16] = static_cast<float>(pair >> 4) * d + m;
    }
  }
}

// Fifth bits of 32 elements, one per bit of a little-endian word.
int fifth_bit(const std::byte* word, int index) { return (byte_at(word, index / 8) >> (index % 8) & 1) << 4; }

// f16 d, u32 fifth bits, 16 bytes: d * (n - 16).
void widen_q5_0(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 22, destination += 32) {
    const float d = half_at(block);
    for (int j = 0; j < 16; ++j) {
      const int pair = byte_at(block + 6, j);
      destination[j] = static_cast<float>(((pair & 15) | fifth_bit(block + 2, j)) - 16) * d;
      destination[j + 16] = static_cast<float>(((pair >> 4) | fifth_bit(block + 2, j + 16)) - 16) * d;
    }
  }
}

// f16 d, f16 m, u32 fifth bits, 16 bytes: d * n + m.
void widen_q5_1(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 24, destination += 32) {
    const float d = half_at(block);
    const float m = half_at(block + 2);
    for (int j = 0; j < 16; ++j) {
      const int pair = byte_at(block + 8, j);
      destination[j] = static_cast<float>((pair & 15) | fifth_bit(block + 4, j)) * d + m;
      destination[j + 16] = static_cast<float>((pair >> 4) | fifth_bit(block + 4, j + 16)) * d + m;
    }
  }
}

struct ScaleAndMin {
  int scale;
  int min;
};

// Eight 6-bit scales and eight 6-bit minima packed in 12 bytes: the first four pairs lie plain, the others are split.
ScaleAndMin packed_scale(const std::byte* packed, int index) {
  if (index < 4) return {byte_at(packed, index) & 63, byte_at(packed, index + 4) & 63};
  const int low = byte_at(packed, index + 4);
  return {(low & 15) | (byte_at(packed, index - 4) >> 6) << 4, (low >> 4) | (byte_at(packed, index) >> 6) << 4};
}

// f16 d, f16 dmin, 12 bytes of scales, 128 bytes: eight sub-blocks of 32, d * scale * n - dmin * min.
void widen_q4_k(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 144, destination += 256) {
    const float d = half_at(block);
    const float dmin = half_at(block + 2);
    for (int sub = 0; sub < 8; ++sub) {
      const ScaleAndMin packed = packed_scale(block + 4, sub);
      const float scale = d * static_cast<float>(packed.scale);
      const float min = dmin * static_cast<float>(packed.min);
      const std::byte* nibbles = block + 16 + sub / 2 * 32;
      for (int j = 0; j < 32; ++j)
        destination[sub * 32 + j] = scale * static_cast<float>(byte_at(nibbles, j) >> (sub % 2 * 4) & 15) - min;
    }
  }
}

// 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, f16 d: d * scale * (n - 32). Per half of 128
// elements, quarter k of 32 takes nibbles from bytes 32 * (k % 2).., shifted by 4 for k >= 2, and bit pair k.
void widen_q6_k(const std::byte* block, std::int64_t num_blocks, float* destination) {
  for (; num_blocks > 0; --num_blocks, block += 210, destination += 256) {
    const float d = half_at(block + 208);
    for (int i = 0; i < 256; ++i) {
      const int half = i / 128;
      const int quarter = i % 128 / 32;
      const int j = i % 32;
      const int low = byte_at(block, half * 64 + quarter % 2 * 32 + j) >> (quarter / 2 * 4) & 15;
      const int high = byte_at(block + 128, half * 32 + j) >> (quarter * 2) & 3;
      const float scale = d * static_cast<float>(signed_at(block + 192, i / 16));
      destination[i] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

constexpr std::array kBlockTypes = std::to_array<BlockType>({
    {"F32", 0, 1, 4, widen_f32},        {"F16", 1, 1, 2, widen_f16},       {"BF16", 30, 1, 2, widen_bf16},
    {"Q8_0", 8, 32, 34, widen_q8_0},    {"Q4_0", 2, 32, 18, widen_q4_0},   {"Q4_1", 3, 32, 20, widen_q4_1},
    {"Q5_0", 6, 32, 22, widen_q5_0},    {"Q5_1", 7, 32, 24, widen_q5_1},   {"Q4_K", 12, 256, 144, widen_q4_k},
    {"Q6_K", 14, 256, 210, widen_q6_k}, {"Q2_K", 10, 256, 84, nullptr},    {"Q3_K", 11, 256, 110, nullptr},
    {"Q5_K", 13, 256, 176, nullptr},    {"IQ2_XXS", 16, 256, 66, nullptr}, {"IQ2_XS", 17, 256, 74, nullptr},
    {"IQ3_XXS", 18, 256, 98, nullptr},  {"IQ1_S", 19, 256, 50, nullptr},   {"IQ4_NL", 20, 32, 18, nullptr},
    {"IQ3_S", 21, 256, 110, nullptr},   {"IQ2_S", 22, 256, 82, nullptr},   {"IQ4_XS", 23, 256, 136, nullptr},
    {"I8", 24, 1, 1, nullptr},          {"I16", 25, 1, 2, nullptr},        {"I32", 26, 1, 4, nullptr},
    {"I64", 27, 1, 8, nullptr},         {"F64", 28, 1, 8, nullptr},        {"IQ1_M", 29, 256, 56, nullptr},
    {"TQ1_0", 34, 256, 54, nullptr},    {"TQ2_0", 35, 256, 66, nullptr},   {"MXFP4", 39, 32, 17, nullptr},
    {"NVFP4", 40, 64, 36, nullptr},
});

}  // namespace

std::span<const BlockType> block_types() { return kBlockTypes; }

const BlockType* find_block_type(std::string_view name) {
  for (const BlockType& type : kBlockTypes)
    if (type.name == name) return &type;
  return nullptr;
}

const BlockType* find_block_type(std::uint32_t ggml_id) {
  for (const BlockType& type : kBlockTypes)
    if (type.ggml_id == ggml_id) return &type;
  return nullptr;
}

void read_widened(const StoredElements& elements, std::int64_t first_element, std::span<float> destination) {
  const BlockType& type = *elements.type;
  if (type.widen == nullptr)
    throw FormatError("format", "cannot read elements of " + elements.source->name(),
                      "expected a type with a decoder, got " + std::string(type.name),
                      "convert the file to F16, BF16, Q8_0 or Q4_K first");
  if (first_element < 0 || first_element > elements.num_elements ||
      static_cast<std::uint64_t>(elements.num_elements - first_element) < destination.size())
    throw FormatError("format", "read outside of a tensor of " + elements.source->name(),
                      "expected at most " + std::to_string(elements.num_elements) + " elements, got first " +
                          std::to_string(first_element) + " and count " + std::to_string(destination.size()));
  if (destination.empty()) return;
  if (type.widen == &widen_f32)
    return elements.source->read(elements.offset + first_element * 4, std::as_writable_bytes(destination));

  const std::int64_t per_block = type.values_per_block;
  const std::int64_t end = first_element + static_cast<std::int64_t>(destination.size());
  const std::int64_t last_block = (end + per_block - 1) / per_block;
  const std::int64_t step = kStaging / type.bytes_per_block;
  std::int64_t block = first_element / per_block;
  std::vector<std::byte> staging(static_cast<std::size_t>(std::min(step, last_block - block) * type.bytes_per_block));
  std::array<float, kLargestBlock> edge;
  while (block < last_block) {
    const std::int64_t count = std::min(step, last_block - block);
    const std::span<std::byte> bytes(staging.data(), static_cast<std::size_t>(count * type.bytes_per_block));
    elements.source->read(elements.offset + block * type.bytes_per_block, bytes);
    // Blocks inside the range go straight to their place; the first and the last may be cut by it.
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t begin = (block + i) * per_block;
      const std::byte* source = bytes.data() + i * type.bytes_per_block;
      const std::int64_t whole = std::min(count - i, (end - begin) / per_block);
      if (begin >= first_element && whole > 0) {
        type.widen(source, whole, destination.data() + (begin - first_element));
        i += whole;
        continue;
      }
      type.widen(source, 1, edge.data());
      const std::int64_t from = std::max(begin, first_element);
      const std::int64_t to = std::min(begin + per_block, end);
      std::copy(edge.begin() + (from - begin), edge.begin() + (to - begin),
                destination.begin() + (from - first_element));
      ++i;
    }
    block += count;
  }
}

void narrow(std::span<const float> values, std::string_view dtype, std::span<std::byte> destination) {
  const std::size_t width = dtype == "F32" ? 4 : dtype == "F16" || dtype == "BF16" ? 2 : 0;
  if (width == 0)
    throw ConfigError("format", "cannot write elements", "expected F32, F16 or BF16, got " + quote(dtype));
  SLUICE_CHECK(destination.size() == values.size() * width, "destination has ", destination.size(), " bytes for ",
               values.size(), " elements of ", dtype);
  if (width == 4) {
    if (!values.empty()) std::memcpy(destination.data(), values.data(), destination.size());
    return;
  }
  const NumberFormat to = dtype == "F16" ? NumberFormat::Fp16 : NumberFormat::Bf16;
  sluice::narrow(to, values, destination.data());
}

}  // namespace sluice::format
