#include "train/plan_report.h"

#include <gtest/gtest.h>

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
  return make_forecast(preset, traced(preset), machine, {});
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
  EXPECT_GT(json["needed_bytes"].get<Bytes>(), 64 * MiB);
  EXPECT_NE(to_text(forecast, {}).find("does not fit"), std::string::npos);
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
