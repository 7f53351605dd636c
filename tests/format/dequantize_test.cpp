#include "format/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "format/safetensors.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

std::string bytes_of(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* tensor = file.find(name);
  if (tensor == nullptr) throw FormatError("test", "no tensor " + name);
  std::string bytes(static_cast<std::size_t>(tensor->size), '\0');
  file.read(*tensor, 0, std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  return bytes;
}

std::vector<float> floats_of(const SafetensorsFile& file, const std::string& name) {
  const std::string bytes = bytes_of(file, name);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

TEST(Dequantize, EveryTypeGivesTheBitsOfTheReference) {
  const SafetensorsFile file(test_data("blocks.safetensors"));
  int num_tested = 0;
  for (const BlockType& type : block_types()) {
    if (type.widen == nullptr) continue;
    const std::string name(type.name);
    const std::string raw = bytes_of(file, name + ".raw");
    const std::vector<float> expected = floats_of(file, name + ".values");
    std::vector<float> values(expected.size());
    ASSERT_EQ(static_cast<std::int64_t>(raw.size()) / type.bytes_per_block * type.values_per_block,
              static_cast<std::int64_t>(values.size()));
    type.widen(reinterpret_cast<const std::byte*>(raw.data()),
               static_cast<std::int64_t>(raw.size()) / type.bytes_per_block, values.data());
    EXPECT_TRUE(same_bits(values, expected)) << name;
    ++num_tested;
  }
  EXPECT_EQ(num_tested, 10);
}

TEST(Dequantize, AnyRangeEqualsThatPartOfTheWhole) {
  const SafetensorsFile file(test_data("blocks.safetensors"));
  for (const char* name : {"F32", "F16", "Q4_1", "Q6_K"}) {
    const BlockType* type = find_block_type(std::string_view(name));
    const StoredTensor* raw = file.find(std::string(name) + ".raw");
    const std::vector<float> whole = floats_of(file, std::string(name) + ".values");
    const auto count = static_cast<std::int64_t>(whole.size());
    const StoredElements elements{&file.source(), raw->offset, type, count};
    const std::int64_t per_block = type->values_per_block;
    for (const std::int64_t first :
         {std::int64_t{0}, std::int64_t{1}, per_block - 1, per_block, per_block + 1, count - 1, count})
      for (const std::int64_t length :
           {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, per_block, 2 * per_block + 3, count - first}) {
        if (length < 0 || first + length > count) continue;
        std::vector<float> part(static_cast<std::size_t>(length));
        read_widened(elements, first, part);
        EXPECT_TRUE(same_bits(part, std::span(whole).subspan(static_cast<std::size_t>(first), part.size())))
            << name << first << "+" << length;
      }
    std::vector<float> too_many(2);
    EXPECT_THROW(read_widened(elements, count - 1, too_many), FormatError);
    EXPECT_THROW(read_widened(elements, -1, too_many), FormatError);
  }
}

TEST(Dequantize, RangesLargerThanTheStagingMemoryAreWhole) {
  std::string bytes(5 << 20, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 2 == 0 ? i / 131 : 0x3c);
  const auto count = static_cast<std::int64_t>(bytes.size() / 2);
  const auto source = make_memory_source(bytes, "memory");
  std::vector<float> values(static_cast<std::size_t>(count - 3));
  read_widened({source.get(), 0, find_block_type(std::string_view("F16")), count}, 3, values);
  for (std::size_t i = 0; i < values.size(); i += 997) {
    std::uint16_t half = 0;
    std::memcpy(&half, bytes.data() + 2 * (i + 3), 2);
    ASSERT_EQ(values[i], half_to_float(half)) << i;
  }
}

TEST(Dequantize, RefusesTypesWithoutADecoderByName) {
  const auto source = make_memory_source(std::string(84, '\0'), "memory");
  std::vector<float> values(256);
  const std::string message = message_of([&] {
    read_widened({source.get(), 0, find_block_type(std::string_view("Q2_K")), 256}, 0, values);
  });
  EXPECT_NE(message.find("Q2_K"), std::string::npos);
}

TEST(Dequantize, TypesHaveOneRowEach) {
  for (const BlockType& type : block_types()) {
    EXPECT_EQ(find_block_type(type.name), &type) << type.name;
    EXPECT_EQ(find_block_type(type.ggml_id), &type) << type.name;
  }
  EXPECT_EQ(find_block_type(std::uint32_t{4}), nullptr) << "a type that was removed from the format";
}

TEST(Narrow, GivesTheBitsOfTorch) {
  const SafetensorsFile file(test_data("narrow.safetensors"));
  const std::vector<float> source = floats_of(file, "source");
  std::string narrowed(source.size() * 2, '\0');
  const auto destination = std::as_writable_bytes(std::span(narrowed.data(), narrowed.size()));
  narrow(source, "F16", destination);
  EXPECT_EQ(narrowed, bytes_of(file, "f16"));
  narrow(source, "BF16", destination);
  EXPECT_EQ(narrowed, bytes_of(file, "bf16"));
}

TEST(Narrow, KeepsNanAndEveryHalf) {
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(float_to_bfloat(std::numeric_limits<float>::signaling_NaN()) & 0x7f80u, 0x7f80u);
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    const bool is_nan = (half & 0x7c00u) == 0x7c00u && (half & 0x3ffu) != 0;
    if (!is_nan) {
      ASSERT_EQ(float_to_half(half_to_float(static_cast<std::uint16_t>(half))), half);
    }
  }
}

TEST(Narrow, RefusesOtherTypes) {
  std::vector<std::byte> bytes(4);
  const float value = 1;
  EXPECT_THROW(narrow({&value, 1}, "I32", bytes), ConfigError);
  EXPECT_THROW(narrow({&value, 1}, "F16", bytes), InternalError);
}

}  // namespace
}  // namespace sluice::format
