// NF4 against bitsandbytes (tools/oracles/make_nf4_golden.py), and in place on every instruction set.
#include "base/nf4.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/isa.h"
#include "base/narrow.h"

namespace sluice {
namespace {

constexpr std::size_t kCount = kNf4Group + kNf4Elements;  // a whole group and a part of one

// The same formula as the script's; every number is exact in fp32.
std::vector<float> elements() {
  std::vector<float> values(kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const auto hashed = static_cast<std::uint32_t>(i * 2654435761U);
    const double near = static_cast<double>(hashed >> 8) / (1 << 24) - 0.5;
    values[i] = static_cast<float>(near * (1 + static_cast<double>(i / 64 % 37) / 8));
  }
  return values;
}

float mean_of(const std::vector<float>& values) {
  Nf4Mean mean;
  mean.add(values);
  return mean.value();
}

std::vector<std::byte> packed(const std::vector<float>& values, float mean) {
  std::vector<std::byte> records(static_cast<std::size_t>(nf4_bytes(static_cast<std::int64_t>(values.size()))));
  pack_nf4(values, mean, records);
  return records;
}

class Golden {
 public:
  Golden() {
    std::ifstream file(std::string(SLUICE_TEST_DATA) + "/nf4.bin", std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  template <typename Item>
  std::vector<Item> take(std::size_t count) {
    std::vector<Item> items(count);
    if (at_ + count * sizeof(Item) > bytes_.size()) throw std::out_of_range("nf4.bin is too short");
    std::memcpy(items.data(), bytes_.data() + at_, count * sizeof(Item));
    at_ += count * sizeof(Item);
    return items;
  }
  [[nodiscard]] bool is_at_end() const { return at_ == bytes_.size(); }

 private:
  std::vector<char> bytes_;
  std::size_t at_ = 0;
};

TEST(Nf4, HasBitsandbytesCodesAndNumbers) {
  Golden golden;
  const auto codes = golden.take<std::byte>(kCount / 2), magnitudes = golden.take<std::byte>(kCount / 64);
  const auto scales = golden.take<float>(2), means = golden.take<float>(1);
  const auto back = golden.take<float>((kCount + 6) / 7);
  ASSERT_TRUE(golden.is_at_end());

  const std::vector<float> values = elements();
  EXPECT_NEAR(mean_of(values), means[0], 1e-6F * means[0]);  // a sum: the order decides the last bit
  const std::vector<std::byte> records = packed(values, means[0]);
  for (std::size_t r = 0; r < kCount / kNf4Elements; ++r) {
    const std::byte* const record = records.data() + r * kNf4Bytes;
    EXPECT_EQ(std::memcmp(record, codes.data() + r * 2048, 2048), 0) << r;
    EXPECT_EQ(std::memcmp(record + 2048, magnitudes.data() + r * 64, 64), 0) << r;
    EXPECT_EQ(std::memcmp(record + 2112, &scales[r * kNf4Elements / kNf4Group], 4), 0) << r;
    EXPECT_EQ(std::memcmp(record + 2116, means.data(), 4), 0) << r;
  }
  std::vector<float> widened(kCount);
  unpack_nf4(records.data(), widened);
  // In the last bits the map depends on how torch.linspace was compiled.
  for (std::size_t i = 0; i < back.size(); ++i) ASSERT_FLOAT_EQ(widened[7 * i], back[i]) << i;
}

TEST(Nf4, WidensInPlaceToTheSameBitsOnEveryIsa) {
  const std::vector<std::byte> records = packed(elements(), mean_of(elements()));
  std::vector<float> expected(kCount);
  unpack_nf4(records.data(), expected);
  for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    for (const std::size_t padding : {0, 4095}) {
      std::vector<float> numbers(kCount);
      std::byte* const stored =
          reinterpret_cast<std::byte*>(numbers.data() + numbers.size()) - records.size() - padding;
      std::memcpy(stored, records.data(), records.size());
      widen(NumberFormat::Nf4, stored, numbers);
      EXPECT_EQ(std::memcmp(numbers.data(), expected.data(), kCount * sizeof(float)), 0) << static_cast<int>(isa);
    }
  }
  limit_isa(Isa::Avx512Vbmi);
}

TEST(Nf4, KeepsZerosAndTensorsThatEndInABlock) {
  std::vector<float> values(kNf4Elements + 100, 0.0F);
  values.back() = 3;
  const std::vector<std::byte> records = packed(values, mean_of(values));
  std::vector<float> back(2 * kNf4Elements);
  unpack_nf4(records.data(), back);
  EXPECT_NEAR(back[values.size() - 1], 3, 0.03);
  for (std::size_t i = 0; i + 1 < values.size(); ++i) ASSERT_EQ(back[i], 0.0F) << i;
  const std::vector<std::byte> nothing(kNf4Bytes, std::byte{0});
  unpack_nf4(nothing.data(), std::span(back).first(kNf4Elements));
  for (std::size_t i = 0; i < kNf4Elements; ++i) ASSERT_EQ(back[i], 0.0F);
}

TEST(Nf4, TakesHalfAByteAndASixtiethPerElement) {
  EXPECT_EQ(stored_bytes(NumberFormat::Nf4, 1 << 20), (1 << 20) / 4096 * 2120);
  EXPECT_EQ(stored_bytes(NumberFormat::Bf16, 10), 20);
  EXPECT_EQ(stored_bytes(NumberFormat::Fp32, 10), 40);
}

}  // namespace
}  // namespace sluice
