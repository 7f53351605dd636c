#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "builders.h"
#include "format/safetensors.h"
#include "format/weight_source.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

std::string one_tensor(const std::string& name) {
  return safetensors_bytes(R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
}

TEST(ShardIndex, ListsEachFileOnce) {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":12},"weight_map":{"a":"x.safetensors","b":"y.safetensors","c":"x.safetensors"}})",
      "index");
  EXPECT_EQ(index.files, (std::vector<std::string>{"x.safetensors", "y.safetensors"}));
  EXPECT_EQ(index.total_size, 12);
  EXPECT_EQ(index.weight_map.at("c"), "x.safetensors");
}

TEST(ShardIndex, RefusesFileNamesThatLeaveTheFolder) {
  for (const char* name : {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "x\\u0000y", "x\\ny"})
    EXPECT_THROW(parse_shard_index(std::string(R"({"weight_map":{"a":")") + name + "\"}}", "index"), FormatError)
        << name;
}

TEST(ShardIndex, RefusesBrokenDocuments) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":{"a":1}})",
                           R"({"weight_map":{"a":"x","a":"y"}})", R"({"weight_map":{"a":"x"})",
                           R"({"weight_map":{"a":"x"}} x)", R"({"weight_map":{"":"x"}})"})
    EXPECT_THROW(parse_shard_index(text, "index"), FormatError) << text;
}

TEST(ShardIndex, OpensShardsThatAgreeWithIt) {
  const TemporaryFolder folder;
  folder.write("1.safetensors", one_tensor("a"));
  folder.write("2.safetensors", one_tensor("b"));
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto weights = open_weights(folder.path());
  EXPECT_EQ(weights->tensors().size(), 2u);
  float value = 1;
  weights->read("b", 0, {&value, 1});
  EXPECT_EQ(value, 0);
}

TEST(ShardIndex, RefusesShardsThatDisagreeWithIt) {
  const TemporaryFolder folder;
  folder.write("1.safetensors", one_tensor("a"));
  folder.write("2.safetensors", one_tensor("a"));
  const auto refusal = [&](const std::string& map) {
    return message_of([&] { open_shards(folder.path(), parse_shard_index(R"({"weight_map":)" + map + "}", "index")); });
  };
  EXPECT_NE(refusal(R"({"a":"1.safetensors","b":"1.safetensors"})").find("'b'"), std::string::npos);
  EXPECT_NE(refusal(R"({"b":"1.safetensors"})").find("'a'"), std::string::npos);
  EXPECT_NE(refusal(R"({"a":"1.safetensors","b":"2.safetensors"})").find("'a'"), std::string::npos)
      << "one tensor in two shards";
  EXPECT_NE(refusal(R"({"a":"3.safetensors"})").find("No such file"), std::string::npos);
}

TEST(ShardIndex, RefusesLinksOutOfTheFolder) {
  const TemporaryFolder outside;
  const TemporaryFolder folder;
  outside.write("secret.safetensors", one_tensor("a"));
  std::filesystem::create_symlink(outside.path() / "secret.safetensors", folder.path() / "1.safetensors");
  EXPECT_THROW(open_shards(folder.path(), parse_shard_index(R"({"weight_map":{"a":"1.safetensors"}})", "index")),
               Error);
}

TEST(ShardIndex, FollowsTheLinksOfTheHubCache) {
  const TemporaryFolder folder;
  const auto snapshot = folder.path() / "models--o--n" / "snapshots" / "0123";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(folder.path() / "models--o--n" / "blobs");
  folder.write("models--o--n/blobs/abc", one_tensor("a"));
  std::filesystem::create_symlink("../../blobs/abc", snapshot / "1.safetensors");
  const ShardIndex index = parse_shard_index(R"({"weight_map":{"a":"1.safetensors"}})", "index");
  EXPECT_EQ(open_shards(snapshot, index).size(), 1u);
  EXPECT_EQ(open_shards(snapshot / "", index).size(), 1u);
}

TEST(ByteSource, RefusesWhatIsNotARegularFile) {
  const TemporaryFolder folder;
  EXPECT_THROW(open_file_source(folder.path()), IoError);
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(open_file_source(folder.path() / "pipe"), IoError);
  EXPECT_THROW(open_file_in(folder.path(), "pipe"), IoError);
}

}  // namespace
}  // namespace sluice::format
