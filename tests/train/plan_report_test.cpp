#include "train/plan_report.h"

#include <gtest/gtest.h>

#include <array>
#include <span>

#include "format/presets.h"
#include "model/model.h"
#include "model/tracer.h"
#include "recipe/machine_file.h"

namespace sluice::train {
namespace {

plan::StepTrace traced(const char* preset) {
  return model::trace_model(model::make_model(format::preset_config(preset)), {1, 256});
}

PlanForecast forecast_on(const plan::Machine& machine, const char* preset = "smollm2-135m") {
  const plan::StepTrace trace = traced(preset);
  return make_forecast({preset, trace, machine, {}});
}

TEST(PlanReport, SmallestBudgetIsExact) {
  plan::Machine machine = recipe::machine_by_name_or_file("laptop-8gb");
  const Bytes smallest = forecast_on(machine).smallest_budget - machine.process_overhead;
  machine.tiers[0].capacity = smallest;
  EXPECT_TRUE(forecast_on(machine).result.plans);
  machine.tiers[0].capacity = smallest - 4096;
  const PlanForecast failed = forecast_on(machine);
  EXPECT_FALSE(failed.result.plans);
  EXPECT_EQ(failed.result.needed, smallest);
}

// The search tries a few plans per budget, so neighbours may differ by a little.
TEST(PlanReport, MoreMemoryIsNotSlowerInTheTable) {
  constexpr double kSearch = 1.02;
  const PlanForecast forecast = forecast_on(recipe::machine_by_name_or_file("laptop-8gb"));
  ASSERT_GE(forecast.budgets.size(), 3U);
  EXPECT_EQ(forecast.budgets.front().label, "smallest");
  EXPECT_EQ(forecast.budgets.back().label, "all in memory");
  EXPECT_EQ(forecast.budgets.back().disk_read, 0);
  for (std::size_t i = 1; i < forecast.budgets.size(); ++i) {
    EXPECT_GT(forecast.budgets[i].budget, forecast.budgets[i - 1].budget);
    EXPECT_LE(forecast.budgets[i].step_seconds, forecast.budgets[i - 1].step_seconds * kSearch);
  }
}

TEST(PlanReport, TextAndJsonSayTheSame) {
  const PlanForecast forecast = forecast_on(recipe::machine_by_name_or_file("laptop-8gb"));
  recipe::Settings settings;
  settings.disk_write_limit = 1;
  const std::string text = to_text(forecast, settings);
  for (const char* part : {"laptop-8gb", "134515008 parameters", "process RAM", "tokens/s", "lower bound", "disk wear",
                           "smallest that works", "all in memory"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const nlohmann::ordered_json json = to_json(forecast, settings);
  EXPECT_EQ(json["fits"], true);
  EXPECT_EQ(json["parameters"], 134515008);
  EXPECT_EQ(json["largest_trained_tensor"], 49152 * 576) << "the table, of which there are several pieces";
  EXPECT_EQ(json["host_peak_bytes"].get<Bytes>(), forecast.result.plans->arena_peak[0]);
  EXPECT_EQ(json["rss_bytes"].get<Bytes>(), json["host_peak_bytes"].get<Bytes>() + forecast.machine.process_overhead);
  EXPECT_EQ(json["tokens_per_step"], 256);
  EXPECT_EQ(json["budgets"].size(), forecast.budgets.size());
}

TEST(PlanReport, SaysWhichTierIsShort) {
  plan::Machine machine = recipe::machine_by_name_or_file("laptop-8gb");
  machine.tiers[0].capacity = 64 * MiB;
  const PlanForecast forecast = forecast_on(machine);
  const nlohmann::ordered_json json = to_json(forecast, {});
  EXPECT_EQ(json["fits"], false);
  EXPECT_EQ(json["short_tier"], "host");
  EXPECT_FALSE(json.contains("stages")) << "one rank has none";
  EXPECT_GT(json["needed_bytes"].get<Bytes>(), 64 * MiB);
  EXPECT_NE(to_text(forecast, {}).find("does not fit"), std::string::npos);
}

PlanForecast of_ranks(const plan::Machine& machine, const char* preset, int num_ranks, std::span<const int> stages) {
  const plan::StepTrace trace = traced(preset);
  return make_forecast({preset, trace, machine, {.recipe = {.sharding = {num_ranks, 1}}}}, stages);
}

constexpr std::array kStages = {0, 1, 2, 3};

// ZeRO (arXiv 1910.02054), figure 1: 7.5B parameters on 64 GPUs take 120, 31.4, 16.6 and 1.9 GB with weights and
// gradients of 2 bytes and a copy, momentum and variance of 4 bytes each. The elements are the plan's; its own formats
// are fp32 weights (their own copy) and gradients and two fp32 moments.
TEST(PlanReport, CountsStateOfRanksAsTheZeroPaperDoes) {
  plan::Machine machine = recipe::machine_by_name_or_file("h100-80gb");
  machine.tiers[1].capacity = Bytes{1} << 40;
  machine.network.ranks_per_node = 8;
  const PlanForecast forecast = of_ranks(machine, "gpt3-7.5b", 64, kStages);
  ASSERT_EQ(forecast.stages.size(), 4U);
  constexpr std::array kPaper = {120.0, 31.4, 16.6, 1.9};
  const double elements = static_cast<double>(forecast.num_parameters);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const StageRow& row = forecast.stages[stage];
    ASSERT_TRUE(row.fits) << stage;
    const auto bytes =
        static_cast<double>(2 * row.elements.weights + 2 * row.elements.gradients + 12 * row.elements.updated);
    EXPECT_NEAR(bytes / 1e9 * 7.5e9 / elements, kPaper[stage], 0.02 * kPaper[stage]) << "stage " << stage;
    EXPECT_NEAR(static_cast<double>(row.weights), 4.0 * static_cast<double>(row.elements.weights), 1e-3 * elements);
    EXPECT_NEAR(static_cast<double>(row.states), 8.0 * static_cast<double>(row.elements.updated), 1e-3 * elements);
    EXPECT_GE(row.gradients, 4 * row.elements.gradients) << "and above stage 1 whole ones on their way";
    const double sent = static_cast<double>(row.exchanges.sent) / (4 * elements * 63 / 64);
    EXPECT_NEAR(sent, stage < 3 ? 2 : 3, 0.05) << "stage " << stage;
    EXPECT_LE(row.exchanges.exposed, row.exchanges.busy);
  }
}

TEST(PlanReport, TellsWhatRanksNeedAtEveryStage) {
  plan::Machine machine = recipe::machine_by_name_or_file("laptop-8gb");
  recipe::take_rank_share(machine, 2);
  const PlanForecast forecast = of_ranks(machine, "smollm2-135m", 8, kStages);
  EXPECT_EQ(forecast.sharding.stage, 1);
  EXPECT_EQ(forecast.tokens_per_step, 8 * 256);
  const std::string text = to_text(forecast, {});
  for (const char* part : {"8 (4 nodes x 2), ZeRO stage 1", "each of 8 ranks, by ZeRO stage", "exposed",
                           "sent by each rank", "8 ranks x 1 x 1"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const nlohmann::ordered_json json = to_json(forecast, {});
  EXPECT_EQ(json["ranks"], nlohmann::ordered_json({{"count", 8}, {"per_node", 2}, {"zero_stage", 1}}));
  ASSERT_EQ(json["stages"].size(), 4U);
  EXPECT_EQ(json["stages"][1]["step_seconds"], json["step_seconds"]);
  EXPECT_EQ(json["stages"][1]["planned_bytes"]["host"], json["host_peak_bytes"]);
  EXPECT_LT(json["stages"][3]["state_bytes"]["weight"], json["stages"][2]["state_bytes"]["weight"]);
  EXPECT_LT(json["stages"][3]["planned_bytes"]["host"].get<Bytes>(),
            json["stages"][0]["planned_bytes"]["host"].get<Bytes>());
}

// Where the stage that was asked for has no room, another one that has is told about.
TEST(PlanReport, FallsBackToAStageThatFits) {
  plan::Machine machine = recipe::machine_by_name_or_file("laptop-8gb");
  machine.tiers.pop_back();
  machine.tiers[0].capacity = of_ranks(machine, "smollm2-135m", 8, std::array{3}).smallest_budget;
  const PlanForecast forecast = of_ranks(machine, "smollm2-135m", 8, kStages);
  EXPECT_FALSE(forecast.stages[1].fits);
  EXPECT_GT(forecast.stages[1].needed, forecast.stages[1].available);
  ASSERT_TRUE(forecast.result.plans);
  EXPECT_EQ(forecast.sharding.stage, 3);
  EXPECT_NE(to_text(forecast, {}).find("does not fit: host needs"), std::string::npos);
}

TEST(PlanReport, PlansAModelLargerThanDeviceAndMemoryTogether) {
  const PlanForecast forecast = forecast_on(recipe::machine_by_name_or_file("rtx-4090-24gb"), "llama-65b");
  ASSERT_TRUE(forecast.result.plans);
  const auto& peak = forecast.result.plans->arena_peak;
  for (std::size_t tier = 0; tier < peak.size(); ++tier) EXPECT_LE(peak[tier], forecast.machine.tiers[tier].capacity);
  EXPECT_GT(peak[2], peak[0] + peak[1]);
}

}  // namespace
}  // namespace sluice::train
