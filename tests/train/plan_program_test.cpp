// `sluice plan` for machines and clusters that are not here.
#include "train/training_program.h"

namespace sluice::train {
namespace {

class PlanProgram : public TrainingProgram {
 protected:
  Json planned(const std::string& arguments) {
    const auto result =
        run("plan --model " + path("model") + " --seq-len 32 --json " + path("plan.json") + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(cli::read_whole(path("plan.json")));
  }
};

TEST_F(PlanProgram, PlansForAClusterAtEveryStageOrTheOneThatIsAskedFor) {
  const Json all = planned("--machine h100-80gb --nodes 2 --gpus-per-node 4");
  EXPECT_EQ(all.at("ranks"), Json({{"count", 8}, {"per_node", 4}, {"zero_stage", 1}}));
  EXPECT_EQ(all.at("tokens_per_step"), 8 * 32);
  ASSERT_EQ(all.at("stages").size(), 4U);
  const Json third = planned("--machine h100-80gb --nodes 2 --gpus-per-node 4 --zero-stage 3");
  ASSERT_EQ(third.at("stages").size(), 1U);
  EXPECT_EQ(third.at("stages")[0], all.at("stages")[3]);
  EXPECT_EQ(third.at("step_seconds"), third.at("stages")[0].at("step_seconds"));
}

TEST_F(PlanProgram, TakesLongerOverTheNetworkThanWithinANode) {
  const Json one = planned("--machine h100-80gb --nproc 8 --zero-stage 2").at("stages")[0];
  const Json eight = planned("--machine h100-80gb --nodes 8 --zero-stage 2").at("stages")[0];
  EXPECT_EQ(one.at("sent_bytes"), eight.at("sent_bytes"));
  EXPECT_LT(one.at("communication_seconds"), eight.at("communication_seconds"));
}

TEST_F(PlanProgram, BudgetsAreThoseOfAllRanksOfANode) {
  const Json plan = planned("--machine h100-80gb --nodes 3 --nproc 4 --zero-stage 1 --host-memory 64GiB");
  EXPECT_EQ(plan.at("tiers")[1].at("capacity_bytes").get<Bytes>() + plan.at("process_overhead_bytes").get<Bytes>(),
            16 * GiB);
  const Json here = planned("--nodes 2 --nproc 2 --zero-stage 1 --host-memory 2GiB --threads 2");
  EXPECT_EQ(here.at("ranks"), Json({{"count", 4}, {"per_node", 2}, {"zero_stage", 1}}));
  EXPECT_EQ(here.at("threads"), 1);
  EXPECT_NEAR(here.at("tiers")[0].at("capacity_bytes").get<double>(), 1.0 * GiB, 0.4 * GiB);
}

TEST_F(PlanProgram, ForecastsProductsOfBf16NumbersAtTheirRate) {
  Json machine = Json::parse(cli::read_whole(SLUICE_TEST_DATA "/cli/machine.json"));
  machine["compute"]["bf16_matmul_flops"] = 10 * machine["compute"]["matmul_flops"].get<double>();
  const std::string flags = "--micro-batch-size 64 --machine " + scratch_.write("machine.json", machine.dump());
  const Json wide = planned(flags), narrow = planned(flags + " --compute-dtype bf16");
  EXPECT_LT(narrow.at("compute_seconds").get<double>(), 0.8 * wide.at("compute_seconds").get<double>());
}

TEST_F(PlanProgram, RefusesNodesWhereNothingIsPlannedForThem) {
  const auto result = train("out", "--nodes 2");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("nodes"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace sluice::train
