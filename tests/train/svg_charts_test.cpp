#include "train/svg_charts.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::train {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

plan::Plan small_plan(int num_fetches) {
  plan::Plan plan;
  plan.actions.push_back(
      {.kind = plan::ActionKind::Forward, .lane = plan::Lane::Compute, .block = 0, .micro_batch = 0});
  plan.buffers.push_back({.chunk = 0, .bytes = 4096});
  for (int i = 0; i < num_fetches; ++i) {
    plan::Action fetch{.kind = plan::ActionKind::Fetch, .lane = plan::Lane::DiskRead};
    fetch.slots = {{0, 1, -1}, {0, 0, 0}};
    plan.actions.push_back(fetch);
  }
  return plan;
}

TEST(LineChart, LeavesAGapWhereTheLossIsNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = line_chart({{"loss", "red", {{1, 3.0}, {2, 2.5}, {3, nan}, {4, 2.0}, {5, 1.5}}}});
  EXPECT_EQ(count(svg, "<circle"), 4U);
  const std::string path = svg.substr(svg.find(" d=\""));
  EXPECT_EQ(count(path, "M"), 2U);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(LineChart, IsEmptyWithoutPointsAndStandsWithOne) {
  EXPECT_EQ(line_chart({}), "");
  EXPECT_EQ(line_chart({{"loss", "red", {}}}), "");
  EXPECT_EQ(count(line_chart({{"loss", "red", {{1, 2.0}}}}), "<circle"), 1U);
}

TEST(LineChart, HasTicksBeyondItsLowestAndHighestPoint) {
  const std::string svg = line_chart({{"loss", "red", {{1, 2.13}, {2, 3.87}}}});
  EXPECT_NE(svg.find(">2</text>"), std::string::npos) << svg;
  EXPECT_NE(svg.find(">4</text>"), std::string::npos) << svg;
}

TEST(LineChart, ThinsLongRuns) {
  Curve curve{"loss", "red", {}};
  for (int i = 0; i < 100000; ++i) curve.points.emplace_back(i, 1.0 / (1 + i));
  EXPECT_LT(line_chart({curve}).size(), 40000U);
}

TEST(LaneChart, ShowsBothTimelinesAndNamesWhatRan) {
  const plan::Plan plan = small_plan(1);
  plan::Timeline timeline{.spans = {{1, -0.5, 0.5}, {0, 0.5, 1.0}}, .total = 1.0, .tier_peak = {}};
  const std::string svg = lane_chart(plan, timeline, timeline);
  EXPECT_EQ(count(svg, "<rect"), 4U);
  EXPECT_EQ(count(svg, "forward block 0 mb 0"), 2U);
  EXPECT_NE(svg.find("predicted: 1.0"), std::string::npos) << svg;
  EXPECT_NE(svg.find("measured: 1.0"), std::string::npos);
}

TEST(LaneChart, JoinsWhatIsTooNarrowToSee) {
  const plan::Plan plan = small_plan(20000);
  plan::Timeline timeline{.spans = {}, .total = 1.0, .tier_peak = {}};
  for (int i = 0; i < 20000; ++i) timeline.spans.push_back({i + 1, i * 5e-5, (i + 1) * 5e-5});
  const std::string svg = lane_chart(plan, timeline, {});
  EXPECT_LT(count(svg, "<rect"), 2000U);
  EXPECT_NE(svg.find(" x fetch"), std::string::npos);
}

TEST(EscapeHtml, LeavesNoMarkup) { EXPECT_EQ(escape_html("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"); }

}  // namespace
}  // namespace sluice::train
