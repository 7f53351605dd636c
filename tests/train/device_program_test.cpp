// --device emulated, as a user runs it: the bits of the CPU from three tiers, and every tier's memory as predicted.
#include <regex>

#include "train/training_program.h"

namespace sluice::train {
namespace {

class EmulatedDevice : public TrainingProgram {
 protected:
  static std::string device(Bytes memory, const std::string& name = "emulated") {
    return "--device " + name + " --device-memory " + std::to_string(memory) + " ";
  }
  /// The least memory of a device for a run with `more`, as the refusal of one that is too small names it.
  Bytes smallest_device(const std::string& more) {
    const auto refused = train("plan", "--dry-run " + more + device(MiB));
    expect_failure(refused, 3, "--device-memory");
    std::smatch found;
    EXPECT_TRUE(std::regex_search(refused.err, found, std::regex(R"(\(([0-9]+) bytes)"))) << refused.err;
    return found.empty() ? 0 : std::stoll(found[1]);
  }
  static void expect_predicted_is_measured(const Json& end) {
    EXPECT_GT(end.at("device_peak_bytes"), 0);
    EXPECT_EQ(end.at("device_peak_bytes"), end.at("predicted_device_peak_bytes"));
    EXPECT_EQ(end.at("host_peak_bytes"), end.at("predicted_host_peak_bytes"));
    EXPECT_LE(end.at("rss_bytes"), end.at("predicted_rss_bytes"));
  }
};

TEST_F(EmulatedDevice, GivesTheBitsOfTheCpuOnTwoAndThreeTiers) {
  const std::string held_out = "--eval-data " + path("held-out.safetensors") + " --eval-steps 3 ";
  const std::string expected = weights_after("cpu", held_out);

  EXPECT_TRUE(weights_after("two", held_out + device(smallest_device(held_out))) == expected);
  EXPECT_EQ(steps("two"), steps("cpu"));
  expect_predicted_is_measured(metrics("two").back());

  const std::string there = held_out + "--update-on device ";
  EXPECT_TRUE(weights_after("there", there + device(smallest_device(there))) == expected);
  expect_predicted_is_measured(metrics("there").back());

  const Bytes memory = smallest_device(spill() + held_out) + MiB;
  const Bytes host = smallest_budget() + kSpread;
  EXPECT_TRUE(weights_after("three", held_out + spill() + device(memory, "emulated:2") + budget(host)) == expected);
  EXPECT_EQ(steps("three"), steps("cpu"));
  for (std::size_t i = 0; i < events("cpu", "eval").size(); ++i)
    EXPECT_EQ(events("three", "eval")[i].at("loss"), events("cpu", "eval")[i].at("loss"));
  const Json end = metrics("three").back();
  expect_predicted_is_measured(end);
  EXPECT_GT(end.at("disk_read_bytes"), 0);
  EXPECT_EQ(end.at("disk_peak_bytes"), end.at("predicted_disk_peak_bytes"));
  EXPECT_LE(end.at("rss_bytes"), host + memory);
  const std::string trace = cli::read_whole(path("three/trace.json"));
  EXPECT_NE(trace.find("host to device"), std::string::npos);
  EXPECT_NE(trace.find("device to host"), std::string::npos);
}

TEST_F(EmulatedDevice, EvaluatesToTheSameNumbers) {
  weights_after("out");
  const auto evaluate = [&](const std::string& more) {
    const auto result = run("eval --model " + path("out") + " --data " + path("held-out.safetensors") +
                            " --micro-batch-size 2 --threads 2 " + more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  EXPECT_EQ(evaluate(device(4 * MiB)), evaluate(""));
}

TEST_F(EmulatedDevice, IsRefusedWithoutMemoryAndPlannedFromAnywhere) {
  expect_failure(train("out", "--device emulated"), 2, "--device-memory");
  const auto planned = run("plan --model " + path("model") + " --seq-len 32 --micro-batch-size 2 " + device(8 * MiB));
  EXPECT_EQ(planned.exit_code, 0) << planned.err;
  EXPECT_NE(planned.out.find("device"), std::string::npos) << planned.out;
}

}  // namespace
}  // namespace sluice::train
