// When updates run: the rows of every mode, and the checker's word on orders that would change the result.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "plan/checker.h"
#include "plan/handmade.h"
#include "plan/memory_parts.h"
#include "plan/random_model.h"
#include "plan/simulator.h"
#include "plan/step.h"

namespace sluice::plan {
namespace {

using namespace handmade;

// Two blocks of one chunk each in one arena, updated in the second of two passes.
enum : BufferId { kWeight0, kWeight1, kGradient0, kGradient1 };
enum : std::int32_t {
  kNorm1 = 2,
  kNorm0 = 4,
  kForwardAgain = 5,
  kBackward1 = 6,
  kUpdate1 = 7,
  kBackward0 = 8,
  kUpdate0 = 9
};

Action update_of(int chunk, SkipWhen skip) {
  Action action =
      compute(ActionKind::Update, chunk, 0, {at(chunk, chunk, Access::ReadWrite), at(chunk + 2, chunk + 2)});
  action.slice = 0;
  action.skip = skip;
  return action;
}

Action again(Action action) {
  action.repeat = 1;
  return action;
}

Plan two_pass_plan() {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Weight, 1), buffer(BufferKind::Gradient, 0),
                  buffer(BufferKind::Gradient, 1)};
  for (Buffer& buffer : plan.buffers) buffer.num_elements = 1024;
  plan.slice_elements = {1024, 1024};
  const Action forward = compute(ActionKind::Forward, 0, 0, {at(kWeight0, 0)});
  const Action top = compute(ActionKind::Backward, 1, 0, {at(kWeight1, 1), at(kGradient1, 3, Access::Write)});
  const Action bottom = compute(ActionKind::Backward, 0, 0, {at(kWeight0, 0), at(kGradient0, 2, Access::Write)});
  plan.actions = {forward,
                  top,
                  compute(ActionKind::ReduceNorm, 1, 0, {at(kGradient1, 3)}),
                  bottom,
                  compute(ActionKind::ReduceNorm, 0, 0, {at(kGradient0, 2)}),
                  again(forward),
                  again(top),
                  update_of(1, SkipWhen::StepNotFinite),
                  again(bottom),
                  update_of(0, SkipWhen::StepNotFinite)};
  for (BufferId id = 0; id < 4; ++id) plan.residences.push_back(stay(id, id, 0, kUpdate0));
  plan.entry = {{kWeight0, 0, 0}, {kWeight1, 0, kPage}};
  plan.arena_peak = {4 * kPage, 4 * kPage};
  return plan;
}

std::vector<std::string> faults(Plan plan) {
  for (Residence& stay : plan.residences) stay.last = static_cast<std::int32_t>(plan.actions.size()) - 1;
  return check_plan(plan, host_and_disk());
}

void move_before(Plan& plan, std::int32_t action, std::int32_t before) {
  const Action moved = plan.actions[action];
  plan.actions.erase(plan.actions.begin() + action);
  plan.actions.insert(plan.actions.begin() + (before > action ? before - 1 : before), moved);
}

TEST(Checker, AcceptsASecondPass) { EXPECT_EQ(faults(two_pass_plan()), std::vector<std::string>{}); }

struct Breakage {
  const char* name;
  std::function<void(Plan&)> apply;
  const char* complaint;
};

void PrintTo(const Breakage& breakage, std::ostream* out) { *out << breakage.name; }

class BrokenTwoPassPlan : public testing::TestWithParam<Breakage> {};

TEST_P(BrokenTwoPassPlan, IsRefused) {
  Plan plan = two_pass_plan();
  GetParam().apply(plan);
  const auto lines = faults(plan);
  const bool found = std::ranges::any_of(
      lines, [&](const std::string& line) { return line.find(GetParam().complaint) != std::string::npos; });
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  EXPECT_TRUE(found) << "expected \"" << GetParam().complaint << "\", got:\n" << all;
}

const Breakage kBreakages[] = {
    {"NormOfOneBlockComesTooLate", [](Plan& p) { move_before(p, kNorm0, kForwardAgain + 3); },
     "waits for a norm that is not known yet (chunk 0)"},
    {"UpdateInTheFirstPass", [](Plan& p) { move_before(p, kUpdate1, kNorm1 + 1); },
     "applies a sum before the last pass has made it"},
    {"WeightsChangeBetweenThePasses", [](Plan& p) { move_before(p, kUpdate1, kForwardAgain); },
     "computes with weights that an update changed"},
    {"MeasuredTwice",
     [](Plan& p) {
       const Action norm = p.actions[kNorm1];
       p.actions.insert(p.actions.begin() + kBackward1 + 1, norm);
     },
     "measures a gradient for the second time"},
    {"NotMeasured", [](Plan& p) { p.actions.erase(p.actions.begin() + kNorm1); },
     "begins again before the sum of the pass before was read"},
    {"NeverUpdated", [](Plan& p) { p.actions.pop_back(); }, "chunk 0: its slice 0 is never updated"},
    {"UpdatedTwice", [](Plan& p) { p.actions.push_back(p.actions.back()); }, "updates a slice twice"},
    {"SumsOfBothPassesAdded", [](Plan& p) { p.actions[kBackward1].slots[1].access = Access::ReadWrite; },
     "begins a sum without zeroing it"},
    {"OnePassCountsAsTwo", [](Plan& p) { p.actions[kBackward1].repeat = 0; }, "read as if it were whole"},
    {"SecondPassComesFirst",
     [](Plan& p) {
       p.actions[1].repeat = 1;
       p.actions[kBackward1].repeat = 0;
     },
     "adds in an earlier pass after a later one"},
    {"OtherActionsWaitForNoNorm", [](Plan& p) { p.actions[kForwardAgain].skip = SkipWhen::StepNotFinite; },
     "only an update may wait for a norm"},
    {"UpdateBetweenForwardAndBackward",
     [](Plan& p) {
       p.actions[kUpdate0].skip = SkipWhen::NoUpdate;
       move_before(p, kUpdate0, 1);
     },
     "computes with weights that an update changed"},
};

INSTANTIATE_TEST_SUITE_P(Checker, BrokenTwoPassPlan, testing::ValuesIn(kBreakages),
                         [](const auto& test) { return test.param.name; });

// In one pass an update may wait for the norm of its own block alone.
TEST(Checker, LetsABlockBeUpdatedWhenItsOwnNormIsKnown) {
  Plan plan = two_pass_plan();
  plan.actions = {plan.actions[0],
                  plan.actions[1],
                  plan.actions[kNorm1],
                  update_of(1, SkipWhen::BlockNotFinite),
                  plan.actions[3],
                  plan.actions[kNorm0],
                  update_of(0, SkipWhen::BlockNotFinite)};
  EXPECT_EQ(faults(plan), std::vector<std::string>{});
  plan.actions[3].skip = SkipWhen::StepNotFinite;
  EXPECT_NE(faults(plan).at(0).find("not known yet (chunk 0)"), std::string::npos);
  plan.actions[3].skip = SkipWhen::BlockNotFinite;
  std::swap(plan.actions[2], plan.actions[3]);
  EXPECT_NE(faults(plan).at(0).find("not known yet (chunk 1)"), std::string::npos);
}

class UpdateRows : public testing::TestWithParam<unsigned> {
 protected:
  UpdateRows() : random_(GetParam()), trace_(random_.trace()), recipe_(random_.recipe()) {}
  [[nodiscard]] StepRows rows(UpdateWhen update) {
    recipe_.update = update;
    return emit_rows(Variant::Train, trace_, recipe_, {.group_size = random_.pick(1, recipe_.num_micro_batches)}, 0);
  }
  static std::vector<const Row*> of_kind(const StepRows& step, ActionKind kind) {
    std::vector<const Row*> found;
    for (const Row& row : step.rows) {
      if (row.kind == kind) found.push_back(&row);
    }
    return found;
  }
  RandomModel random_;
  StepTrace trace_;
  Recipe recipe_;
};

TEST_P(UpdateRows, OfASecondPassRepeatTheComputationAndMeasureOnce) {
  const StepRows once = rows(UpdateWhen::Backward), twice = rows(UpdateWhen::SecondPass);
  for (const ActionKind kind : {ActionKind::Forward, ActionKind::Backward})
    EXPECT_EQ(of_kind(twice, kind).size(), 2 * of_kind(once, kind).size());
  for (const ActionKind kind : {ActionKind::ReduceNorm, ActionKind::Update})
    EXPECT_EQ(of_kind(twice, kind).size(), of_kind(once, kind).size());
  EXPECT_EQ(of_kind(twice, ActionKind::ReduceNorm).size(), trace_.chunks.size());
  bool second = false;
  for (const Row& row : twice.rows) {
    if (row.repeat == 1) second = true;
    const bool computes = row.kind == ActionKind::Forward || row.kind == ActionKind::Backward;
    EXPECT_TRUE(!computes || row.repeat == (second ? 1 : 0));
    EXPECT_FALSE(row.kind == ActionKind::ReduceNorm && second);
    EXPECT_TRUE(row.kind != ActionKind::Update || (second && row.skip == SkipWhen::StepNotFinite));
  }
}

TEST_P(UpdateRows, OfASweepStandAtTheEnd) {
  const StepRows step = rows(UpdateWhen::Sweep);
  const auto first = std::ranges::find(step.rows, ActionKind::Update, &Row::kind);
  EXPECT_TRUE(std::all_of(first, step.rows.end(), [](const Row& row) { return row.kind == ActionKind::Update; }));
  EXPECT_EQ(of_kind(step, ActionKind::Update).size(), of_kind(rows(UpdateWhen::Backward), ActionKind::Update).size());
  EXPECT_TRUE(emit_rows(Variant::Flush, trace_, recipe_, {}, 0).rows.size() == 2) << "nothing is left to flush";
}

// What the measuring pass has moved on the update leaves alone, so that a state on disk is read and written once; of
// whole tensors there is one row for both.
TEST_P(UpdateRows, OfARuleThatMeasuresTouchAStateOnceAndDivideOnlyTensorsLongerThanASlice) {
  trace_ = random_.whole_tensor_trace();
  for (Chunk& chunk : trace_.chunks) {
    for (ParameterSlot& parameter : chunk.parameters) parameter.update = -1;
  }
  recipe_.rules = {{.states = {{}, {}}, .measuring_passes = 1, .advanced_states = 2}};
  const StepRows step = rows(UpdateWhen::Backward);
  std::map<BufferId, int> touched;
  for (const Row* row : of_kind(step, ActionKind::Update)) {
    const std::vector<std::int64_t>& starts = step.slice_starts[row->chunk];
    const std::int64_t first = starts[row->slice];
    const bool last = row->slice + 1 == static_cast<int>(starts.size());
    const std::int64_t end = last ? trace_.chunks[row->chunk].num_elements : starts[row->slice + 1];
    for (const ParameterSlot& parameter : trace_.chunks[row->chunk].parameters) {
      const std::int64_t begin = parameter.first_element, stop = begin + parameter.num_elements;
      if (stop <= first || begin >= end) continue;
      EXPECT_TRUE(row->pass == -1 ? begin >= first && stop <= end : begin <= first && stop >= end);
    }
    for (const Use& use : row->uses) touched[use.buffer] += step.buffers[use.buffer].kind == BufferKind::Moment;
  }
  for (std::size_t b = 0; b < step.buffers.size(); ++b) {
    const bool moment = step.buffers[b].kind == BufferKind::Moment;
    EXPECT_EQ(touched[static_cast<BufferId>(b)], moment ? 1 : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, UpdateRows, testing::Range(0U, 12U));

// All of memory: what is alive is what the mode needs, and no more.
TEST(MostAlive, GradientIsThatOfOneBlockInBackwardAndAllOfThemElse) {
  RandomModel random(3);
  StepTrace trace = random.trace();
  while (!trace.traces.back().backward_segments.empty()) trace = random.trace();
  std::erase(trace.blocks.back().chunks, 0);  // untied
  const Machine machine = random.machine(false);
  Bytes all = 0, largest = 0;
  for (const Chunk& chunk : trace.chunks) {
    all += round_up(chunk.num_elements * 4, 4096);
    largest = std::max(largest, round_up(chunk.num_elements * 4, 4096));
  }
  for (const UpdateWhen update :
       {UpdateWhen::Backward, UpdateWhen::NextForward, UpdateWhen::SecondPass, UpdateWhen::Sweep}) {
    PlanRequest request;
    request.recipe = {.num_micro_batches = 3, .update = update};
    const PlanSet plans = make_plan(trace, machine, request).plans.value();
    const bool in_backward = update == UpdateWhen::Backward || update == UpdateWhen::SecondPass;
    EXPECT_EQ(most_alive(plans.train, BufferKind::Gradient), in_backward ? largest : all);
    EXPECT_EQ(most_alive(plans.train, BufferKind::Weight), all);
    EXPECT_EQ(most_alive(plans.train, BufferKind::Moment), 2 * all);
    const MemoryParts parts = parts_at_peak(plans.train, 0);
    EXPECT_LE(parts.total(), plans.train.arena_peak[0]);
    EXPECT_EQ(parts.total(), std::ranges::max(occupancy(plans.train, 1)[0]));
    EXPECT_EQ(parts.buffers.at(BufferKind::Weight), all);
  }
}

TEST(DescribeParts, NamesTheLargestFirstAndLeavesOutNothingsBytes) {
  MemoryParts parts{.buffers = {{BufferKind::Weight, 3 * MiB}, {BufferKind::Gradient, 5 * MiB}}, .workspace = MiB};
  EXPECT_EQ(describe_parts(parts), "gradient 5.0 MiB, weight 3.0 MiB, workspace 1.0 MiB");
  parts.buffers[BufferKind::Gradient] = 0;
  EXPECT_EQ(describe_parts(parts), "weight 3.0 MiB, workspace 1.0 MiB");
}

}  // namespace
}  // namespace sluice::plan
