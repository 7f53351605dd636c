// `sluice train --deepspeed FILE`: every sample trains a tiny model, a file says what flags say, and a run needs it no
// more once it is resolved.
#include "train/job_program.h"

namespace sluice::train {
namespace {

class DeepSpeedProgram : public JobProgram {
 protected:
  static std::string sample(const std::string& name) { return SLUICE_TEST_DATA "/recipe/deepspeed/" + name + ".json "; }

  /// Two steps with what the file says of batch, rule and rate; `more` follows.
  cli::ProgramResult train_with(const std::string& name, const std::string& more = {}) {
    return run("train --model " + path("model") + " --init random --data " + path("data.safetensors") + " --output " +
               path(name) + " --seq-len 32 --max-steps 2 --threads 2 --deepspeed " + sample(name) + more);
  }
  void expect_trained(const std::string& name, const std::string& more = {}) {
    const cli::ProgramResult result = train_with(name, more);
    EXPECT_EQ(result.exit_code, 0) << name << ": " << result.err;
    EXPECT_NE(result.err.find("keys of the DeepSpeed file"), std::string::npos) << result.err;
    EXPECT_EQ(steps(name).size(), 2U) << name;
  }
};

TEST_F(DeepSpeedProgram, TrainsWithEverySampleAlone) {
  const std::string small = "--micro-batch-size 2 --grad-accumulation 2";
  expect_trained("zero0-fp16-adam-warmuplr");
  expect_trained("zero1-bf16-adamw-cosine", small);
  expect_trained("zero2-offload-cpu-auto", small + " --weights-dtype bf16");
  expect_trained("zero3-offload-cpu-auto", small);
  expect_trained("zero3-infinity-nvme", spill() + "--host-memory 1GiB");
  expect_trained("zero3-hybrid-plusplus", small);
  expect_trained("legacy-cpu-offload");
  expect_trained("lr-range-test");
  expect_trained("lamb-onecycle", small);
  expect_trained("onebit-adam", small);
  const Json rates = {steps("lr-range-test").at(1)[2], steps("lr-range-test").at(2)[2]};
  EXPECT_DOUBLE_EQ(rates[0].get<double>(), 1e-4);
  EXPECT_DOUBLE_EQ(rates[1].get<double>(), 1e-4 * (1 + 5.0 / 200));
}

TEST_F(DeepSpeedProgram, TrainsWithSamplesOfSeveralRanks) {
  if (!has_library("gloo")) GTEST_SKIP() << "this build has no gloo";
  expect_trained("lamb-onecycle", "--nproc 2 --micro-batch-size 2 --grad-accumulation 1");
  expect_trained("zero3-hybrid-plusplus", "--nproc 2 --grad-accumulation 1");
  EXPECT_EQ(events("zero3-hybrid-plusplus", "step").back().at("ranks"), 2);
}

TEST_F(DeepSpeedProgram, PlansForTheRanksOfTheFile) {
  const auto plan = [&](const std::string& more) {
    return run("plan --model " + path("model/config.json") + " --seq-len 32 --deepspeed " + sample("lamb-onecycle") +
               more);
  };
  EXPECT_EQ(plan("--nproc 8").exit_code, 0);
  const auto alone = plan("");
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_NE(alone.err.find("use --nproc 8"), std::string::npos) << alone.err;
}

TEST_F(DeepSpeedProgram, AFileAndFlagsGiveTheSameBits) {
  ASSERT_EQ(train_with("zero0-fp16-adam-warmuplr").exit_code, 0);
  const auto flags = run("train --model " + path("model") + " --init random --data " + path("data.safetensors") +
                         " --output " + path("flags") +
                         " --seq-len 32 --max-steps 2 --threads 2 --micro-batch-size 4 --grad-accumulation 8 "
                         "--optimizer adamw --lr 1e-3 --betas 0.8,0.999 --eps 1e-8 --weight-decay 3e-7 "
                         "--lr-schedule warmup_lr --lr-schedule-option warmup_num_steps=1000 --weights-dtype fp16 "
                         "--loss-scale dynamic");
  ASSERT_EQ(flags.exit_code, 0) << flags.err;
  EXPECT_TRUE(weights_of("flags") == weights_of("zero0-fp16-adam-warmuplr"));
  const auto again = run("train --config " + path("zero0-fp16-adam-warmuplr/run.yaml") + " --output " + path("again"));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(weights_of("again") == weights_of("flags")) << "run.yaml has all that the file said";
}

TEST_F(DeepSpeedProgram, RefusesBrokenFilesInOneLine) {
  expect_failure(train_with("bad-unknown-key"), 2, "did you mean 'zero_optimization'?");
  expect_failure(train_with("bad-batch-arithmetic"), 2, "30 != 4 x 8 x 1");
  expect_failure(train_with("bad-fp16-and-bf16"), 2, "both enabled");
  expect_failure(train_with("bad-param-offload-below-stage3"), 2, "below stage 3");
}

}  // namespace
}  // namespace sluice::train
