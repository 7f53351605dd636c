// The picture's JSON: events, names, escapes. There is no JSON parser in this layer, so text is compared.
#include "plan/trace_json.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/handmade.h"
#include "plan/simulator.h"

namespace sluice::plan {
namespace {

using namespace handmade;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ChromeTrace, HasOneProcessPerTimelineAndOneThreadPerLane) {
  const Plan plan = training_plan();
  const Timeline timeline = simulate(plan, host_and_disk());
  const NamedTimeline timelines[] = {{"predicted", timeline}, {"measured", timeline}};
  const std::string json = chrome_trace(plan, timelines);
  EXPECT_TRUE(contains(json, R"({"ph":"M","name":"process_name","pid":1,"tid":0,"args":{"name":"measured"}})"));
  EXPECT_TRUE(contains(json, R"({"ph":"M","name":"thread_name","pid":0,"tid":2,"args":{"name":"disk write"}})"));
  EXPECT_FALSE(contains(json, "communication"));
  EXPECT_TRUE(contains(json, R"("name":"forward block 0 mb 0","cat":"forward","pid":0,"tid":0)"));
  EXPECT_TRUE(contains(json, R"("name":"fetch moment 0 slice 0 chunk 0")"));
  EXPECT_TRUE(contains(json, R"({"ph":"C","name":"tier 0 bytes","pid":0,"tid":0,"ts":)"));
  EXPECT_FALSE(contains(json, R"("ts":-)"));
  EXPECT_EQ(std::ranges::count(json, '{'), std::ranges::count(json, '}'));
  EXPECT_EQ(std::ranges::count(json, '"') % 2, 0);
}

TEST(ChromeTrace, NamesBlocksAndEscapesThem) {
  const Plan plan = training_plan();
  StepTrace trace;
  trace.blocks.resize(1);
  trace.blocks[0].name = "la\"yers\\.0\n";
  const NamedTimeline timelines[] = {{"predicted", simulate(plan, host_and_disk())}};
  EXPECT_TRUE(contains(chrome_trace(plan, timelines, &trace), R"("name":"forward la\"yers\\.0\u000a mb 0")"));
}

TEST(ChromeTrace, OfNothingIsAnEmptyTrace) {
  EXPECT_EQ(chrome_trace(Plan{}, {}), "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\n]}\n");
}

}  // namespace
}  // namespace sluice::plan
