// A save that is killed or refused by the file system at any of its steps leaves what was there before.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fail_point.h"
#include "checkpoint/reader.h"
#include "checkpoint/sample.h"
#include "checkpoint/writer.h"

namespace sluice::checkpoint {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

const std::vector<std::string> kPlaces = {"checkpoint.write", "checkpoint.manifest", "checkpoint.rename",
                                          "file.write",       "file.sync",           "file.rename"};

class FailPoints {
 public:
  explicit FailPoints(const std::string& specification) { set_fail_points(specification); }
  FailPoints(const FailPoints&) = delete;
  FailPoints& operator=(const FailPoints&) = delete;
  ~FailPoints() { set_fail_points(""); }
};

/// Runs `save` in a child that dies at the k-th pass of `place`; false when it got through.
template <typename Save>
bool killed(const std::string& place, int k, const Save& save) {
  const pid_t child = ::fork();
  if (child == 0) {
    set_fail_points(place + "@" + std::to_string(k) + "=KILL");
    save();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void save_model(const fs::path& output, std::int64_t step) {
  std::vector<float> staging(64);
  const ModelContents contents{
      .tensors = sample_model(), .side_files = {{"config.json", "{}"}, {"tokenizer.json", "{}"}}, .max_shard = 410};
  write_model_folder(output, contents, sample_state(step), staging);
}

bool holds_model(const fs::path& output, std::int64_t step) {
  const auto weights = format::open_weights(output);
  for (const StateTensor& tensor : sample_model()) {
    if (!holds_sample(*weights, tensor, step)) return false;
  }
  return true;
}

TEST(Crash, AKillAtAnyPointOfASaveLeavesThePreviousCheckpoint) {
  const TemporaryFolder output;
  save_sample(output.path(), 1, 64);
  for (const std::string& place : kPlaces) {
    int k = 1;
    while (killed(place, k, [&] { save_sample(output.path(), 2, 64); })) {
      const auto found = find_checkpoint(output.path());
      ASSERT_TRUE(found.has_value()) << place << " " << k;
      ASSERT_EQ(found->step, 1) << place << " " << k;
      ASSERT_TRUE(holds_sample(*open_checkpoint_weights(*found), sample_model()[0], 1));
      ++k;
      ASSERT_LT(k, 100);
    }
    EXPECT_GT(k, 1) << place << " was never reached";
    EXPECT_EQ(find_checkpoint(output.path())->step, 2);
    fs::remove_all(output.path() / "checkpoint-2");
  }
  prune_checkpoints(output.path(), 2);
  EXPECT_EQ(names_in(output.path()), Names{"checkpoint-1"});
}

TEST(Crash, AKillAtAnyPointOfASaveOfSeveralRanksLeavesThePreviousCheckpoint) {
  const TemporaryFolder output;
  save_shared_sample(output.path(), 1, 2);
  for (const std::string& place : kPlaces) {
    int k = 1;
    for (; killed(place, k, [&] { save_shared_sample(output.path(), 2, 3); }); ++k) {
      const auto found = find_checkpoint(output.path());
      ASSERT_TRUE(found.has_value()) << place << " " << k;
      ASSERT_EQ(found->step, 1) << place << " " << k;
      ASSERT_TRUE(holds_sample(*open_checkpoint_weights(*found), sample_model()[0], 1));
      ASSERT_LT(k, 200);
    }
    EXPECT_GT(k, 1) << place << " was never reached";
    EXPECT_EQ(find_checkpoint(output.path())->step, 2);
    fs::remove_all(output.path() / "checkpoint-2");
  }
  prune_checkpoints(output.path(), 2);
  EXPECT_EQ(names_in(output.path()), Names{"checkpoint-1"});
}

TEST(Crash, AFullDiskAtAnyWriteOfSeveralRanksLeavesNoHalfFolder) {
  const TemporaryFolder output;
  save_shared_sample(output.path(), 1, 2);
  for (const std::string& place : kPlaces) {
    int k = 1;
    for (; k < 200; ++k) {
      const FailPoints full(place + "@" + std::to_string(k) + "=ENOSPC");
      try {
        save_shared_sample(output.path(), 2, 3);
        break;
      } catch (const IoError&) {
        ASSERT_EQ(names_in(output.path()), Names{"checkpoint-1"}) << place << " " << k;
      }
    }
    EXPECT_GT(k, 1) << place << " was never reached";
    fs::remove_all(output.path() / "checkpoint-2");
  }
}

TEST(Crash, AKillWhileReplacingAStepLeavesAWholeOne) {
  const TemporaryFolder output;
  save_sample(output.path(), 1, 64);
  for (const std::string& place : kPlaces) {
    for (int k = 1; killed(place, k, [&] { save_sample(output.path(), 1, 64); }); ++k)
      ASSERT_TRUE(find_checkpoint(output.path()).has_value()) << place << " " << k;
  }
}

TEST(Crash, AFullDiskAtAnyWriteLeavesNoHalfFolder) {
  const TemporaryFolder output;
  save_sample(output.path(), 1, 64);
  for (const std::string& place : kPlaces) {
    int k = 1;
    for (; k < 100; ++k) {
      const FailPoints full(place + "@" + std::to_string(k) + "=ENOSPC");
      try {
        save_sample(output.path(), 2, 64);
        break;
      } catch (const IoError& error) {
        ASSERT_NE(std::string(error.what()).find("No space left"), std::string::npos) << error.what();
      }
      ASSERT_EQ(names_in(output.path()), Names{"checkpoint-1"}) << place << " " << k;
    }
    EXPECT_GT(k, 1) << place << " was never reached";
    fs::remove_all(output.path() / "checkpoint-2");
  }
  const FailPoints full("file.write=ENOSPC");
  EXPECT_THROW(save_sample(output.path(), 2, 64), IoError);
  EXPECT_EQ(find_checkpoint(output.path())->step, 1);
}

TEST(Crash, ShortWritesAndInterruptionsAreFinished) {
  const TemporaryFolder output;
  const FailPoints weather("file.write@2=SHORT,file.write@5=EINTR,file.write@7=SHORT");
  save_sample(output.path(), 1, 64);
  EXPECT_TRUE(find_checkpoint(output.path()).has_value());
}

TEST(Crash, AReaderThatThrowsLeavesNothing) {
  const TemporaryFolder output;
  std::vector<float> staging(8);
  int calls = 0;
  const auto failing = [&](const StateTensor&, std::int64_t, std::span<std::byte>) {
    if (++calls == 20) throw IoError("tier.disk", "read failed");
  };
  EXPECT_THROW(write_checkpoint(output.path() / "checkpoint-1", sample_contents(1), failing, staging), IoError);
  EXPECT_TRUE(names_in(output.path()).empty());
}

TEST(Crash, AKillWhileTheModelIsWrittenLeavesAWholeModelOrNone) {
  for (const std::string& place : kPlaces) {
    const TemporaryFolder output;
    save_model(output.path(), 1);
    int k = 1;
    for (; killed(place, k, [&] { save_model(output.path(), 2); }); ++k) {
      ASSERT_LT(k, 100);
      if (fs::exists(output.path() / "config.json")) {
        ASSERT_TRUE(holds_model(output.path(), 1) || holds_model(output.path(), 2)) << place << " " << k;
      } else {
        save_model(output.path(), 1);
      }
    }
    EXPECT_TRUE(place == "checkpoint.manifest" || k > 1) << place << " was never reached";
    EXPECT_TRUE(holds_model(output.path(), 2));
    prune_checkpoints(output.path(), 1);
    for (const std::string& name : names_in(output.path())) EXPECT_EQ(name.find("tmp"), std::string::npos) << name;
  }
}

TEST(Crash, AFullDiskWhileTheModelIsWrittenKeepsTheEarlierOne) {
  const TemporaryFolder output;
  save_model(output.path(), 1);
  for (int k = 1; k < 100; ++k) {
    const FailPoints full("file.write@" + std::to_string(k) + "=ENOSPC");
    try {
      save_model(output.path(), 2);
      EXPECT_GT(k, 4);
      break;
    } catch (const IoError&) {
      ASSERT_TRUE(holds_model(output.path(), 1)) << k;
    }
  }
  EXPECT_TRUE(holds_model(output.path(), 2));
}

}  // namespace
}  // namespace sluice::checkpoint
