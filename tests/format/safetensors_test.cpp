#include "format/safetensors.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "builders.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

std::string refusal(const std::string& header, std::size_t data_size) {
  return message_of([&] { open_safetensors_bytes(header, data_size); });
}

#define EXPECT_REFUSED(header, data_size, part) \
  EXPECT_NE(refusal(header, data_size).find(part), std::string::npos) << refusal(header, data_size)

TEST(SafetensorsReader, ReadsFilesOfTheReferenceWriter) {
  const SafetensorsFile file(test_data("python.safetensors"));
  EXPECT_EQ(file.metadata().at("note"), "made by the reference writer");
  ASSERT_EQ(file.tensors().size(), 8u);
  const StoredTensor* integers = file.find("i64");
  ASSERT_NE(integers, nullptr);
  EXPECT_EQ(integers->dtype, "I64");
  EXPECT_EQ(integers->shape, (std::vector<std::int64_t>{2, 3}));
  std::vector<std::int64_t> values(2);
  file.read(*integers, 3 * 8, std::as_writable_bytes(std::span(values)));
  EXPECT_EQ(values, (std::vector<std::int64_t>{3, 4}));
  EXPECT_TRUE(file.find("scalar")->shape.empty());
  EXPECT_EQ(file.find("scalar")->num_elements(), 1);
  EXPECT_EQ(file.find("empty")->num_elements(), 0);
  EXPECT_EQ(file.find("missing"), nullptr);
}

TEST(SafetensorsReader, AcceptsPaddingAroundTheHeader) {
  EXPECT_EQ(open_safetensors_bytes("  {\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}   \n", 2)
                .tensors()
                .size(),
            1u);
  EXPECT_TRUE(open_safetensors_bytes("{}", 0).tensors().empty());
}

TEST(SafetensorsReader, ReadsTensorsListedOutOfOrder) {
  const auto file = open_safetensors_bytes(
      R"({"b":{"data_offsets":[4,8],"dtype":"F32","shape":[]},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}})",
      8);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].offset, file.tensors()[0].offset + 4);
}

TEST(SafetensorsReader, RefusesReadsOutsideOfATensor) {
  const auto file = open_safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  std::vector<std::byte> bytes(3);
  EXPECT_THROW(file.read(*file.find("a"), 2, bytes), FormatError);
  EXPECT_THROW(file.read(*file.find("a"), -1, bytes), FormatError);
  EXPECT_NO_THROW(file.read(*file.find("a"), 1, bytes));
}

TEST(SafetensorsReader, RefusesHeaderLengthsThatLeaveTheFile) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{1} << 31, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    const std::string message = message_of([&] { SafetensorsFile(make_memory_source(raw(length) + "{}", "x")); });
    EXPECT_NE(message.find("bad header length"), std::string::npos) << length << message;
  }
  EXPECT_THROW(SafetensorsFile(make_memory_source("1234567", "x")), FormatError);
}

TEST(SafetensorsReader, RefusesDuplicateNames) {
  EXPECT_REFUSED(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
      "twice");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "twice");
  EXPECT_REFUSED(R"({"__metadata__":{"x":"1","x":"2"}})", 0, "twice");
  EXPECT_REFUSED(R"({"__metadata__":{"x":"1"},"__metadata__":{"y":"2"}})", 0, "twice");
}

TEST(SafetensorsReader, RefusesHoles) {
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "hole");
  EXPECT_REFUSED(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", 3,
      "hole");
}

TEST(SafetensorsReader, RefusesOverlappingTensors) {
  EXPECT_REFUSED(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3,
      "overlaps");
  EXPECT_REFUSED(
      R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2,
      "overlaps");
}

TEST(SafetensorsReader, RefusesTrailingAndMissingBytes) {
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3, "bytes behind the last tensor");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1, "ends behind the file");
  EXPECT_REFUSED("{}", 1, "bytes behind the last tensor");
}

TEST(SafetensorsReader, RefusesSizesThatDisagreeWithTheShape) {
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "expected 8 bytes");
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,0]}})", 4, "begin <= end");
  EXPECT_REFUSED(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "whole bytes");
}

TEST(SafetensorsReader, RefusesProductsThatOverflow) {
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "2^48");
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[0,281474976710655,281474976710655],"data_offsets":[0,0]}})", 0,
                 "2^48");
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[281474976710655,281474976710655,0],"data_offsets":[0,0]}})", 0,
                 "2^48");
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0, "too large");
  EXPECT_REFUSED(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}})", 0, "fraction");
}

TEST(SafetensorsReader, RefusesMoreThanEightDimensions) {
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1, "8 dimensions");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1), "");
}

TEST(SafetensorsReader, RefusesFieldsThatAreNotThoseOfATensor) {
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1}})", 1, "'extra'");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[1]}})", 1, "expected dtype, shape and data_offsets");
  EXPECT_REFUSED(R"({"a":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}})", 1, "'U9'");
  EXPECT_REFUSED(R"({"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})", 1, "unexpected an array");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":"1","data_offsets":[0,1]}})", 1, "unexpected a string");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, "unexpected an array");
  EXPECT_REFUSED(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 1, "two numbers");
  EXPECT_REFUSED(R"({"a":5})", 0, "unexpected a number");
  EXPECT_REFUSED(R"({"__metadata__":{"x":1}})", 0, "unexpected a number");
}

TEST(SafetensorsReader, RefusesNumbersThatAreNotPlainIntegers) {
  for (const char* number : {"1.0", "1e0", "-1", "-0", "true", "null", "\"1\""})
    EXPECT_NE(refusal(std::string(R"({"a":{"dtype":"U8","shape":[)") + number + R"(],"data_offsets":[0,1]}})", 1), "")
        << number;
}

TEST(SafetensorsReader, RefusesWhatIsNotOneJsonObject) {
  EXPECT_REFUSED("", 0, "JSON object");
  EXPECT_REFUSED("[]", 0, "JSON object");
  EXPECT_REFUSED("\xEF\xBB\xBF{}", 0, "JSON object");
  EXPECT_REFUSED("{} {}", 0, "not JSON");
  EXPECT_REFUSED(std::string("{}\0{}", 5), 0, "NUL");
  EXPECT_REFUSED("{\"\xff\":1}", 0, "not JSON");
  EXPECT_REFUSED(std::string(100'000, '{'), 0, "not JSON");
}

TEST(SafetensorsReader, RefusesNamesThatCannotBePrinted) {
  EXPECT_REFUSED(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "tensor name");
  EXPECT_REFUSED(R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "tensor name");
  EXPECT_REFUSED(R"({"a\nb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "tensor name");
}

}  // namespace
}  // namespace sluice::format
