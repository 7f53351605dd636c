// The whole of `sluice doctor`, engine included: some twenty seconds of measuring.
#include <gtest/gtest.h>

#include "recipe/machine_file.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

using SlowDoctor = TrainingProgram;

TEST_F(SlowDoctor, MeasuresCurvesThatAPlanCanUse) {
  std::filesystem::create_directories(path("spill"));
  const auto measured =
      run("doctor --sample 64MiB --threads 2 --spill-dir " + path("spill") + " --output " + path("machine.json"));
  ASSERT_EQ(measured.exit_code, 0) << measured.err;
  EXPECT_NE(measured.err.find("measuring"), std::string::npos) << "progress";
  const plan::Machine machine = recipe::read_machine_file(path("machine.json"));
  EXPECT_GE(machine.compute.products.size(), 30U);
  EXPECT_EQ(machine.compute.narrow_products.size(), machine.compute.products.size());
  EXPECT_GT(machine.compute.narrow_matmul, 1e8);
  EXPECT_GE(machine.compute.attention_forward.size(), 6U);
  EXPECT_EQ(machine.compute.attention_forward.size(), machine.compute.attention_backward.size());
  EXPECT_GE(machine.compute.memory_by_size.size(), 5U);
  EXPECT_GT(machine.norm_memory, 1e8);
  EXPECT_GT(machine.tiers.at(0).up_both, 0);
  EXPECT_GT(machine.contention.compute_beside_both, 0);
  EXPECT_LE(machine.contention.compute_beside_both, 1);
  EXPECT_TRUE(std::filesystem::is_empty(path("spill")));
  const auto planned =
      run("plan --model " + path("model") + " --json " + path("plan.json"), "SLUICE_MACHINE=" + path("machine.json"));
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  EXPECT_GT(Json::parse(cli::read_whole(path("plan.json"))).at("step_seconds"), 0);
}

}  // namespace
}  // namespace sluice::train
