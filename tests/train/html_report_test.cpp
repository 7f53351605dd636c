#include "train/html_report.h"

#include <gtest/gtest.h>

namespace sluice::train {
namespace {

RunReport filled() {
  RunReport report;
  report.model = "models/<odd> name";
  report.machine = "laptop";
  report.num_parameters = 1000;
  report.num_tokens = 4096;
  report.total_seconds = 8;
  report.steps = {1, 2, 3, 4};
  report.losses = {4, 3, 2.5, 2.25};
  report.step_seconds = {2.5, 2, 2, 1.5};
  report.held_out = {{2, 3.5}, {4, 2.75}};
  report.memory = {{"host arena", 100 * MiB, 99 * MiB, 0}, {"process RAM", 256 * MiB, 240 * MiB, 300 * MiB}};
  report.forecasts = {{"machine file", 1.6, 1.5, 0.1, 5 * MiB, 0},
                      {"after the first steps", 1.9, 1.75, 0.15, 5 * MiB, 0},
                      {"measured", 2.0, 1.8, 0.2, 6 * MiB, 0}};
  report.lower_bound = 1.0;
  report.disk_read = 20 * MiB;
  report.settings_json = R"({"seq_len":512,"model":"<b>"})";
  return report;
}

TEST(HtmlReport, ShowsWhatThePlanSaidBesideWhatHappened) {
  const std::string html = html_report(filled());
  for (const char* part : {"<h2>Loss</h2>", "<h2>Memory</h2>", "<h2>Step time</h2>", "<h2>Disk</h2>", "300.0 MiB",
                           "+25.0 %", "+5.3 %", "after the first steps", "<td>1.8 s</td>", "<td>6.0 MiB</td>",
                           "held out", "&quot;seq_len&quot;: 512", "prefers-color-scheme:dark"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  EXPECT_EQ(html.find("lane by lane"), std::string::npos);
}

TEST(HtmlReport, OpensWithTheNameAndTheFiguresThatOneLooksForFirst) {
  const std::string html = html_report(filled());
  const std::string top = html.substr(html.find("<h1>"), html.find("<h2>") - html.find("<h1>"));
  for (const char* part : {"<h1>&lt;odd&gt; name</h1>", "2.25", "first: 4", "2.75", "after step 4", "512", "240.0 MiB"})
    EXPECT_NE(top.find(part), std::string::npos) << part << " in " << top;
  EXPECT_EQ(top.find("models/"), std::string::npos);
}

TEST(HtmlReport, StandsAloneAndLetsNoTextBecomeMarkup) {
  const std::string html = html_report(filled());
  for (const char* part : {"<script", "http", "<odd>", "<b>", " src="})
    EXPECT_EQ(html.find(part), std::string::npos) << part;
}

TEST(HtmlReport, SaysHowLongEachRankWaits) {
  RunReport report = filled();
  report.rank_waits = {1.5, 0.25};
  const std::string html = html_report(report);
  const std::size_t ranks = html.find("<h2>Ranks</h2>");
  ASSERT_NE(ranks, std::string::npos);
  const std::size_t first = html.find(format_seconds(1.5), ranks), second = html.find(format_seconds(0.25), ranks);
  EXPECT_TRUE(first < second && second != std::string::npos) << html.substr(ranks, 400);
}

TEST(HtmlReport, LeavesOutWhatIsNotKnown) {
  const std::string html = html_report({});
  for (const char* part : {"<h2>", "nan", "inf"}) EXPECT_EQ(html.find(part), std::string::npos) << part;
  EXPECT_NE(html.find("</html>"), std::string::npos);
}

TEST(HtmlReport, DrawsTheLanesOfBothTimelines) {
  RunReport report = filled();
  plan::Plan plan;
  plan.actions.push_back(
      {.kind = plan::ActionKind::Forward, .lane = plan::Lane::Compute, .block = 0, .micro_batch = 0});
  report.plan = &plan;
  report.predicted = {.spans = {{0, 0, 1}}, .total = 1, .tier_peak = {}};
  report.measured = {.spans = {{0, 0, 2}}, .total = 2, .tier_peak = {}};
  const std::string html = html_report(report);
  EXPECT_NE(html.find("lane by lane"), std::string::npos);
  EXPECT_NE(html.find("class=\"forward\""), std::string::npos);
}

}  // namespace
}  // namespace sluice::train
