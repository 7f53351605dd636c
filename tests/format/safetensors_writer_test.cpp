#include "format/safetensors_writer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "format/safetensors.h"
#include "format/weight_source.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

std::span<const std::byte> bytes_of(const std::vector<float>& values) { return std::as_bytes(std::span(values)); }

TEST(SafetensorsWriter, RoundTripsTensorsWrittenInPieces) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  SafetensorsWriter writer(path, {{"a", "F32", {2, 2}}, {"empty", "F32", {0}}, {"scalar", "F32", {}}});
  const std::vector<float> values{1, 2, 3, 4};
  writer.append("a", bytes_of(values).first(5));
  writer.append("a", bytes_of(values).subspan(5));
  writer.append("scalar", bytes_of({7}));
  EXPECT_FALSE(std::filesystem::exists(path)) << "visible before publish";
  const std::uint64_t checksum = writer.publish();

  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.tensors()[0].offset % 4096, 0);
  std::vector<float> back(4);
  file.read(*file.find("a"), 0, std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(back, values);
  std::stringstream whole;
  whole << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string text = whole.str();
  EXPECT_EQ(sluice::checksum(std::as_bytes(std::span(text.data(), text.size()))), checksum);
}

TEST(SafetensorsWriter, LeavesNothingBehindWithoutPublish) {
  const TemporaryFolder folder;
  { SafetensorsWriter writer(folder.path() / "x.safetensors", {{"a", "F32", {1}}}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsWriter, RefusesWrongOrderAndWrongLengths) {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder.path() / "x.safetensors", {{"a", "F32", {1}}, {"b", "F32", {1}}});
  EXPECT_THROW(writer.append("b", bytes_of({1})), InternalError);
  EXPECT_THROW(writer.append("a", bytes_of({1, 2})), InternalError);
  writer.append("a", bytes_of({1}));
  EXPECT_THROW(writer.publish(), InternalError);
}

TEST(SafetensorsWriter, RefusesDeclarationsThatNoReaderTakes) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  EXPECT_THROW(SafetensorsWriter(path, {{"a", "F32", {1}}, {"a", "F32", {1}}}), FormatError);
  EXPECT_THROW(SafetensorsWriter(path, {{"a", "Q4_1", {32}}}), FormatError);
  EXPECT_THROW(SafetensorsWriter(path, {{"\xff", "F32", {1}}}), FormatError);
  EXPECT_THROW(SafetensorsWriter(path, {{"__metadata__", "F32", {1}}}), FormatError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ModelWeightsWriter, WritesOneFileWhenItFits) {
  const TemporaryFolder folder;
  folder.write("model.safetensors.index.json", "{}");
  ModelWeightsWriter writer(folder.path(), {{"a", "F32", {1}}, {"b", "F32", {1}}});
  writer.append("a", bytes_of({1}));
  writer.append("b", bytes_of({2}));
  const auto written = writer.publish();
  ASSERT_EQ(written.size(), 1u);
  EXPECT_EQ(written[0].name, "model.safetensors");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "model.safetensors.index.json")) << "stale index";
  EXPECT_EQ(open_weights(folder.path())->tensors().size(), 2u);
}

TEST(ModelWeightsWriter, SplitsAtTheLimitAndIndexesTheShards) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", "stale");
  ModelWeightsWriter writer(folder.path(), {{"a", "F32", {2}}, {"b", "F32", {1}}, {"big", "F32", {9}}}, 12);
  writer.append("a", bytes_of({1, 2}));
  writer.append("b", bytes_of({3}));
  writer.append("big", bytes_of({1, 2, 3, 4, 5, 6, 7, 8, 9}));
  const auto written = writer.publish();
  ASSERT_EQ(written.size(), 3u);
  EXPECT_EQ(written[0].name, "model-00001-of-00002.safetensors");
  EXPECT_EQ(written[2].name, "model.safetensors.index.json");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "model.safetensors"));
  EXPECT_EQ(parse_shard_index(read_text(folder.path() / written[2].name), "index").total_size, 48);
  const auto weights = open_weights(folder.path());
  float last = 0;
  weights->read("big", 8, {&last, 1});
  EXPECT_EQ(last, 9);
}

}  // namespace
}  // namespace sluice::format
