// What was saved comes back bit for bit; what is damaged is refused and the one before is found.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/folder_lock.h"
#include "checkpoint/reader.h"
#include "checkpoint/sample.h"
#include "checkpoint/writer.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

void expect_sample(const Checkpoint& checkpoint, std::int64_t step) {
  EXPECT_EQ(checkpoint.step, step);
  EXPECT_EQ(checkpoint.trainer_state_json, "{\"step\": " + std::to_string(step) + "}");
  const auto weights = open_checkpoint_weights(checkpoint);
  const auto states = open_checkpoint_states(checkpoint);
  for (const StateTensor& tensor : sample_contents(step).tensors)
    EXPECT_TRUE(tensor.file == "model" ? holds_sample(*weights, tensor, step) : holds_sample(*states, tensor, step))
        << tensor.name;
}

/// find_checkpoint, and what it said.
std::pair<std::int64_t, std::string> find_step(const fs::path& output) {
  testing::internal::CaptureStderr();
  const auto found = find_checkpoint(output);
  return {found ? found->step : -1, testing::internal::GetCapturedStderr()};
}

TEST(Checkpoint, ComesBackBitForBitForAnyStagingSize) {
  for (const std::size_t staging : {1, 7, 99, 4096}) {
    const TemporaryFolder output;
    const auto folder = save_sample(output.path(), 12, staging);
    const auto found = find_checkpoint(output.path());
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->folder, folder);
    expect_sample(*found, 12);
    EXPECT_EQ(file_bytes(folder / "tokenizer.json"), std::string("a\0b", 3));
    EXPECT_EQ(names_in(folder), (Names{"config.json", "manifest.json", "model.safetensors", "optimizer.safetensors",
                                       "tokenizer.json", "trainer_state.json"}));
    EXPECT_EQ(names_in(output.path()), Names{"checkpoint-12"});
  }
}

TEST(Checkpoint, HasNoOptimizerFileWithoutStates) {
  const TemporaryFolder output;
  CheckpointContents contents{.tensors = sample_model(), .trainer_state_json = "{}", .side_files = {}};
  std::vector<float> staging(10);
  write_checkpoint(output.path() / "checkpoint-1", contents, sample_state(1), staging);
  const auto found = find_checkpoint(output.path());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(open_checkpoint_states(*found), nullptr);
}

TEST(Checkpoint, ReadsAnyRangeOfATensor) {
  const TemporaryFolder output;
  save_sample(output.path(), 3);
  const auto states = open_checkpoint_states(*find_checkpoint(output.path()));
  const StateTensor tensor = sample_contents(3).tensors[3];
  std::vector<float> part(13);
  read_floats(*states, tensor, 21, part);
  for (std::size_t i = 0; i < part.size(); ++i)
    EXPECT_EQ(std::bit_cast<std::uint32_t>(part[i]),
              std::bit_cast<std::uint32_t>(sample_value(3, tensor, 21 + static_cast<std::int64_t>(i))));
}

TEST(Checkpoint, OfSeveralRanksHoldsWhatOneWouldSave) {
  for (const int ranks : {1, 2, 3, 5}) {
    const TemporaryFolder output;
    const auto folder = save_shared_sample(output.path(), 4, ranks);
    expect_sample(open_checkpoint(folder), 4);
    EXPECT_EQ(format::open_weights(folder)->tensors().size(), sample_model().size()) << "a model folder, too";
    EXPECT_EQ(names_in(output.path()), Names{"checkpoint-4"});
  }
}

TEST(Checkpoint, OfSeveralRanksIsPassedOverWhenAShareIsDamagedOrMissing) {
  const TemporaryFolder output;
  save_sample(output.path(), 1);
  const auto folder = save_shared_sample(output.path(), 2, 3);
  for (const std::string& name : names_in(folder)) {
    const std::string bytes = file_bytes(folder / name);
    std::string flipped = bytes;
    flipped.back() = static_cast<char>(flipped.back() ^ 1);
    overwrite(folder / name, flipped);
    EXPECT_EQ(find_step(output.path()).first, 1) << name;
    fs::remove(folder / name);
    EXPECT_EQ(find_step(output.path()).first, 1) << name;
    overwrite(folder / name, bytes);
  }
  EXPECT_EQ(find_step(output.path()).first, 2);
}

TEST(Checkpoint, ReplacesAFolderOfTheSameStep) {
  const TemporaryFolder output;
  const auto folder = save_sample(output.path(), 5);
  overwrite(folder / "model.safetensors", "damaged");
  save_sample(output.path(), 5);
  expect_sample(open_checkpoint(folder), 5);
  EXPECT_EQ(names_in(output.path()), Names{"checkpoint-5"});
}

TEST(FindCheckpoint, TakesTheHighestStepNotTheLastName) {
  const TemporaryFolder output;
  for (const int step : {9, 10, 100, 20}) save_sample(output.path(), step);
  fs::create_directory(output.path() / "checkpoint-0200");
  fs::create_directory(output.path() / "checkpoint-300.tmp-1");
  fs::create_directory(output.path() / "checkpoint-best");
  overwrite(output.path() / "checkpoint-400", "a file");
  EXPECT_EQ(find_step(output.path()).first, 100);
}

TEST(FindCheckpoint, SaysNoForAMissingOrEmptyFolder) {
  const TemporaryFolder output;
  EXPECT_FALSE(find_checkpoint(output.path()).has_value());
  EXPECT_FALSE(find_checkpoint(output.path() / "none").has_value());
}

TEST(FindCheckpoint, FallsBackWhenAFileIsTruncatedMissingOrLonger) {
  const TemporaryFolder output;
  save_sample(output.path(), 1);
  const auto folder = save_sample(output.path(), 2);
  for (const std::string& name : names_in(folder)) {
    const std::string bytes = file_bytes(folder / name);
    for (const std::string& damaged : {bytes.substr(0, bytes.size() - 1), std::string(), bytes + "x"}) {
      overwrite(folder / name, damaged);
      const auto [step, message] = find_step(output.path());
      EXPECT_EQ(step, 1) << name;
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_NE(message.find("checkpoint-2 is passed over"), std::string::npos) << message;
      EXPECT_NE(message.find("expected"), std::string::npos) << message;
    }
    fs::remove(folder / name);
    const auto [step, message] = find_step(output.path());
    EXPECT_EQ(step, 1) << name;
    EXPECT_NE(message.find(name), std::string::npos) << message;
    overwrite(folder / name, bytes);
  }
  EXPECT_EQ(find_step(output.path()).first, 2);
}

TEST(FindCheckpoint, FallsBackForABitFlipAnywhere) {
  const TemporaryFolder output;
  save_sample(output.path(), 1);
  const auto folder = save_sample(output.path(), 2);
  for (const std::string& name : names_in(folder)) {
    const std::string bytes = file_bytes(folder / name);
    const std::size_t stride = std::max<std::size_t>(1, bytes.size() / 40);
    for (std::size_t i = 0; i < bytes.size(); i += stride) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i / stride % 8)));
      overwrite(folder / name, flipped);
      const auto [step, message] = find_step(output.path());
      ASSERT_EQ(step, 1) << name << " byte " << i;
      ASSERT_NE(message.find(name), std::string::npos) << message;
    }
    overwrite(folder / name, bytes);
  }
  EXPECT_EQ(find_step(output.path()).first, 2);
}

TEST(FindCheckpoint, RefusesTheManifestOfAnotherSave) {
  const TemporaryFolder output;
  const auto older = save_sample(output.path(), 1);
  const auto newer = save_sample(output.path(), 2);
  overwrite(newer / "manifest.json", file_bytes(older / "manifest.json"));
  const auto [step, message] = find_step(output.path());
  EXPECT_EQ(step, 1);
  EXPECT_NE(message.find("another step: expected 2, got 1"), std::string::npos) << message;
  fs::rename(newer, output.path() / "elsewhere");
  EXPECT_THROW(open_checkpoint(output.path() / "elsewhere"), FormatError);
}

TEST(PruneCheckpoints, KeepsTheNewestWholeOnes) {
  const TemporaryFolder output;
  for (const int step : {1, 2, 3, 4, 5}) save_sample(output.path(), step);
  overwrite(output.path() / "checkpoint-4" / "model.safetensors", "short");
  for (const char* name : {"checkpoint-6.tmp-1", "checkpoint-1.trash-7", ".model.tmp-3"})
    fs::create_directory(output.path() / name);
  overwrite(output.path() / "metrics.jsonl", "{}");
  prune_checkpoints(output.path(), 2);
  EXPECT_EQ(names_in(output.path()), (Names{"checkpoint-3", "checkpoint-4", "checkpoint-5", "metrics.jsonl"}));
  prune_checkpoints(output.path(), 0);
  EXPECT_EQ(names_in(output.path()), (Names{"checkpoint-5", "metrics.jsonl"}));
}

TEST(DiscardLaterCheckpoints, LeavesWhatThisRunSaved) {
  const TemporaryFolder output;
  for (const int step : {1, 2, 8, 9}) save_sample(output.path(), step);
  discard_later_checkpoints(output.path(), 2);
  prune_checkpoints(output.path(), 2);
  EXPECT_EQ(names_in(output.path()), (Names{"checkpoint-1", "checkpoint-2"}));
  discard_later_checkpoints(output.path(), 2);
  EXPECT_EQ(names_in(output.path()), (Names{"checkpoint-1", "checkpoint-2"}));
}

TEST(FolderLock, AdmitsOneRunAtATime) {
  const TemporaryFolder output;
  {
    const FolderLock lock(output.path() / "run");
    EXPECT_THROW(FolderLock(output.path() / "run"), ConfigError);
  }
  EXPECT_NO_THROW(FolderLock(output.path() / "run"));
}

void save_model(const fs::path& output, std::int64_t step, Bytes max_shard) {
  std::vector<float> staging(16);
  const ModelContents contents{
      .tensors = sample_model(),
      .side_files = {{"config.json", "{\"step\": " + std::to_string(step) + "}"}, {"tokenizer.json", "{}"}},
      .max_shard = max_shard};
  write_model_folder(output, contents, sample_state(step), staging);
}

void expect_model(const fs::path& output, std::int64_t step) {
  EXPECT_EQ(file_bytes(output / "config.json"), "{\"step\": " + std::to_string(step) + "}");
  const auto weights = format::open_weights(output);
  EXPECT_EQ(weights->tensors().size(), sample_model().size());
  for (const StateTensor& tensor : sample_model()) EXPECT_TRUE(holds_sample(*weights, tensor, step)) << tensor.name;
}

TEST(WriteModelFolder, ReplacesAnEarlierModelWhateverItsShards) {
  const TemporaryFolder output;
  save_sample(output.path(), 7);
  overwrite(output.path() / "metrics.jsonl", "{}");
  const Names others = {"checkpoint-7", "config.json", "metrics.jsonl", "tokenizer.json"};
  for (const Bytes max_shard : {Bytes{1} << 30, Bytes{64}, Bytes{410}, Bytes{1} << 30}) {
    save_model(output.path(), max_shard, max_shard);
    expect_model(output.path(), max_shard);
  }
  Names names = others;
  names.push_back("model.safetensors");
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names_in(output.path()), names);
  EXPECT_EQ(find_step(output.path()).first, 7);
}

}  // namespace
}  // namespace sluice::checkpoint
