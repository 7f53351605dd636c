#include "format/gguf.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "builders.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

std::string refusal_of(const std::string& bytes) {
  return message_of([&] { GgufFile(make_memory_source(bytes, "x.gguf")); });
}

#define EXPECT_REFUSED(bytes, part) EXPECT_NE(refusal_of(bytes).find(part), std::string::npos) << refusal_of(bytes)

constexpr std::uint64_t kHuge[] = {0x80000000ull, 0x100000000ull, 0x7fffffffffffffffull, 0x8000000000000000ull,
                                   0xffffffffffffffffull};

TEST(GgufReader, ReadsFilesOfTheReferenceWriter) {
  const GgufFile file(test_data("llama.gguf"));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.integer("llama.block_count"), 2);
  EXPECT_EQ(*file.text("general.architecture"), "llama");
  EXPECT_EQ(file.number("llama.rope.freq_base"), 100000);
  EXPECT_EQ(file.boolean("tokenizer.ggml.add_bos_token"), false);
  EXPECT_EQ(file.texts("tokenizer.ggml.merges")->size(), 4u);
  EXPECT_EQ(file.integers("tokenizer.ggml.token_type")->front(), 3);
  const GgufTensor* down = file.find("blk.0.ffn_down.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->shape, (std::vector<std::int64_t>{64, 96}));
  EXPECT_EQ(down->dtype, "Q4_1");
  EXPECT_EQ(down->size, 64 * 96 / 32 * 20);
}

TEST(GgufReader, ReadsHandmadeFilesOfBothVersions) {
  GgufBuilder builder;
  builder.add("k", 7u).add_zeros("a", {3, 2}).add_zeros("b", {1});
  for (const std::uint32_t version : {2u, 3u}) {
    builder.version = version;
    const auto file = builder.open();
    EXPECT_EQ(file->integer("k"), 7);
    EXPECT_EQ(file->find("a")->shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(file->find("b")->offset, file->find("a")->offset + 32);
  }
  EXPECT_NO_THROW((void)GgufBuilder().open()) << "no keys, no tensors";
}

TEST(GgufReader, RefusesValuesOfAnotherKind) {
  const auto file = GgufBuilder().add("number", 7u).add("text", "x").open();
  EXPECT_THROW((void)file->text("number"), FormatError);
  EXPECT_THROW((void)file->integer("text"), FormatError);
  EXPECT_EQ(file->integer("absent"), std::nullopt);
}

TEST(GgufReader, RefusesOtherMagicAndVersions) {
  EXPECT_REFUSED("GGML" + std::string(40, '\0'), "magic");
  EXPECT_REFUSED("GGUF", "at least 24 bytes");
  GgufBuilder builder;
  for (const std::uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    builder.version = version;
    EXPECT_NE(refusal_of(builder.bytes()), "") << version;
  }
  EXPECT_REFUSED(builder.bytes(), "big-endian");
}

TEST(GgufReader, RefusesCountsThatTheFileCannotHold) {
  for (const std::uint64_t count : kHuge) {
    GgufBuilder builder;
    builder.num_tensors = count;
    EXPECT_REFUSED(builder.bytes(), "number of tensors");
    builder.num_tensors = 0;
    builder.num_keys = count;
    EXPECT_REFUSED(builder.bytes(), "number of metadata keys");
    EXPECT_REFUSED(GgufBuilder().add_raw("k", 8, raw(count)).bytes(), "text value");
    EXPECT_REFUSED(GgufBuilder().add_raw("k", 9, raw(std::uint32_t{8}) + raw(count)).bytes(), "length of array");
    EXPECT_REFUSED(GgufBuilder().add_raw("k", 9, raw(std::uint32_t{0}) + raw(count)).bytes(), "length of array");
    const std::string long_key =
        "GGUF" + raw(3u) + raw(std::uint64_t{0}) + raw(std::uint64_t{1}) + raw(count) + std::string(64, 'x');
    EXPECT_REFUSED(long_key, "metadata key");
  }
}

TEST(GgufReader, RefusesOneElementTooMany) {
  const std::string fits = GgufBuilder().add_raw("k", 9, raw(std::uint32_t{0}) + raw(std::uint64_t{1}) + "x").bytes();
  EXPECT_EQ(refusal_of(fits), "");
  GgufBuilder builder;
  builder.num_keys = 2;
  EXPECT_REFUSED(builder.bytes() + std::string(12, '\0'), "number of metadata keys");
}

TEST(GgufReader, RefusesArraysOfArraysAndUnknownTypes) {
  EXPECT_REFUSED(GgufBuilder().add_raw("k", 9, raw(std::uint32_t{9}) + raw(std::uint64_t{0})).bytes(),
                 "array of plain values");
  EXPECT_REFUSED(GgufBuilder().add_raw("k", 9, raw(std::uint32_t{99}) + raw(std::uint64_t{0})).bytes(),
                 "array of plain values");
  EXPECT_REFUSED(GgufBuilder().add_raw("k", 13, std::string(16, '\0')).bytes(), "known value type");
  EXPECT_REFUSED(GgufBuilder().add_raw("k", 7, "\x02").bytes(), "boolean");
  EXPECT_REFUSED(GgufBuilder().add_raw("k", 10, raw(~std::uint64_t{0})).bytes(), "below 2^63");
}

TEST(GgufReader, RefusesDuplicateAndUnprintableNames) {
  EXPECT_REFUSED(GgufBuilder().add("k", 1u).add("k", 2u).bytes(), "twice");
  EXPECT_REFUSED(GgufBuilder().add("", 1u).bytes(), "metadata key");
  EXPECT_REFUSED(GgufBuilder().add("a\nb", 1u).bytes(), "printable");
  EXPECT_REFUSED(GgufBuilder().add_zeros("t", {1}).add_zeros("t", {1}).bytes(), "twice");
  EXPECT_REFUSED(GgufBuilder().add_zeros("", {1}).bytes(), "tensor name");
  EXPECT_REFUSED(GgufBuilder().add_zeros(std::string(64, 'n'), {1}).bytes(), "tensor name");
}

TEST(GgufReader, RefusesTensorSizesThatWrap) {
  for (const std::uint64_t dim : kHuge) {
    EXPECT_REFUSED(GgufBuilder().add_tensor("t", {dim, 4, 4, 4}, 0, "").bytes(), "'t'");
    EXPECT_REFUSED(GgufBuilder().add_tensor("t", {dim}, 0, "").bytes(), "'t'");
  }
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {1ull << 40, 1ull << 40}, 0, "").bytes(), "2^48");
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {0, 1ull << 62}, 0, "").bytes(), "1 or more");
}

TEST(GgufReader, RefusesTensorsLargerThanTheFile) {
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {64}, 0, std::string(224, '\0')).bytes(), "ends behind the file");
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {1 << 20}, 0, "").bytes(), "larger than the file");
}

TEST(GgufReader, RefusesRanksTypesRowsAndOffsets) {
  EXPECT_REFUSED(GgufBuilder().add_zeros("t", {1, 1, 1, 1, 1}).bytes(), "at most 4 dimensions");
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {32}, 4, std::string(32, '\0')).bytes(), "ggml type 4");
  EXPECT_REFUSED(GgufBuilder().add_tensor("t", {33}, 8, std::string(64, '\0')).bytes(), "multiple of 32");
  EXPECT_REFUSED(GgufBuilder()
                     .add_tensor("t", {32, 1}, 8, std::string(34, '\0'))
                     .add_tensor("u", {1}, 0, std::string(4, '\0'))
                     .bytes()
                     .replace(24 + 8 + 1 + 4 + 16 + 4, 8, raw(std::uint64_t{32})),
                 "offset of tensor 't'");
}

TEST(GgufReader, RefusesAlignmentsThatAreNotPowersOfTwo) {
  for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 31})
    EXPECT_REFUSED(GgufBuilder().add("general.alignment", alignment).bytes(), "power of two");
  EXPECT_REFUSED(GgufBuilder().add("general.alignment", "x").bytes(), "expected an integer");
  EXPECT_EQ(refusal_of(GgufBuilder().add("general.alignment", 64u).bytes()), "");
}

TEST(GgufReader, RefusesEveryTruncation) {
  const std::string whole = tiny_llama().add("list", std::vector<std::string>{"a", "b"}).bytes();
  EXPECT_EQ(refusal_of(whole), "");
  for (std::size_t length = 0; length < whole.size(); ++length)
    ASSERT_NE(refusal_of(whole.substr(0, length)), "") << length;
}

}  // namespace
}  // namespace sluice::format
