// The checker accepts correct plans made by hand and names the fault of each deliberately broken one.
#include "plan/checker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "plan/handmade.h"

namespace sluice::plan {
namespace {

using namespace handmade;

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

void expect_correct(const Plan& plan, const Machine& machine, const Plan* before = nullptr) {
  EXPECT_EQ(joined(check_plan(plan, machine, before)), "");
}

void expect_line_with(const std::vector<std::string>& lines, std::initializer_list<const char*> parts) {
  const bool found = std::ranges::any_of(lines, [&](const std::string& line) {
    return std::ranges::all_of(parts, [&](const char* part) { return line.find(part) != std::string::npos; });
  });
  EXPECT_TRUE(found) << "expected a line with \"" << *parts.begin() << "\", got:\n" << joined(lines);
}

void remove_dependencies(Plan& plan, std::int32_t action) { plan.actions[action].dependencies.clear(); }

struct Breakage {
  const char* name;
  std::function<void(Plan&)> apply;
  const char* where;      // action or buffer that the line names
  const char* complaint;  // and the rule
};

void PrintTo(const Breakage& breakage, std::ostream* out) { *out << breakage.name; }

class BrokenTrainingPlan : public testing::TestWithParam<Breakage> {};

TEST_P(BrokenTrainingPlan, IsRefused) {
  Plan plan = training_plan();
  GetParam().apply(plan);
  expect_line_with(check_plan(plan, host_and_disk()), {GetParam().complaint, GetParam().where});
}

const Breakage kBreakages[] = {
    {"MissingFetch",
     [](Plan& p) {
       p.actions[kFetchMoment].slots = {};
       p.actions[kFetchMoment].kind = ActionKind::Evict;
     },
     "action 4 (update chunk 0), moment 0 slice 0 chunk 0", "where it has not been put"},
    {"WrongOffset", [](Plan& p) { p.actions[kForward].slots[0].offset += kPage; }, "action 1 (forward block 0 mb 0)",
     "wrong offset"},
    {"NotResident", [](Plan& p) { p.residences[2].last = kBackward; }, "action 4 (update chunk 0), gradient chunk 0",
     "not resident in host"},
    {"NegativeOffset", [](Plan& p) { p.residences[0].offset = -kPage; }, "weight chunk 0", "out of range"},
    {"InputOnDisk", [](Plan& p) { p.actions[kForward].slots[0] = on_disk(kWeight); }, "action 1", "only fetch"},
    {"OffsetOnDisk", [](Plan& p) { p.actions[kFetchWeight].slots[0].offset = 0; }, "action 0", "expected offset -1"},
    {"StaleRead",  // a second copy of the weight from before the update is written back after it
     [](Plan& p) {
       p.actions[kFetchMoment] = fetch(on_disk(kWeight), at(kWeight, 10));
       p.actions[kWriteWeight].slots[0].offset = 10 * kPage;
       p.residences.push_back(stay(kWeight, 10, kFetchMoment, kWriteMoment));
     },
     "action 5 (write_back weight chunk 0)", "stale version"},
    {"StaleDisk",
     [](Plan& p) {
       p.entry.push_back({kWeight, 0, 4 * kPage});
       p.residences[0] = stay(kWeight, 4, 0, kWriteMoment);
       p.actions[kWriteWeight].kind = ActionKind::ReduceNorm;
       p.actions[kWriteWeight].slots = {};
     },
     "action 0 (fetch weight chunk 0)", "stale version"},
    {"ReadBeforeWrite", [](Plan& p) { p.actions[kBackward].slots[3].access = Access::ReadWrite; },
     "action 2 (backward block 0 mb 0), gradient chunk 0", "before anything is written"},
    {"OverlapOfResidences",
     [](Plan& p) {
       p.residences[4].offset = 5 * kPage;
       p.actions[kForward].slots[2].offset = p.actions[kBackward].slots[2].offset = 5 * kPage;
     },
     "boundary 0 mb 0", "overlaps the residence of weight chunk 1"},
    {"PartialOverlap",
     [](Plan& p) {
       p.residences[4].offset += kPage / 2;
       p.actions[kForward].slots[2].offset = p.actions[kBackward].slots[2].offset = p.residences[4].offset;
     },
     "gradient chunk 0", "overlaps the residence of boundary 0 mb 0"},
    {"WorkspaceOverResidence", [](Plan& p) { p.actions[kBackward].workspace = p.workspace_peak = 5 * kPage; },
     "action 2 (backward block 0 mb 0), weight chunk 0", "overlaps its workspace of 20480 bytes"},
    {"WorkspaceOverSavedActivations", [](Plan& p) { p.actions[kBackward].workspace = p.workspace_peak = 4 * kPage; },
     "action 2 (backward block 0 mb 0), saved 0 mb 0 block 0", "overlaps its workspace"},
    {"MoveIntoSavedActivations",
     [](Plan& p) {
       p.actions[kFetchMoment].slots[1].offset = 3 * kPage;
       std::swap(p.actions[kFetchMoment], p.actions[kBackward]);
       p.residences.push_back(stay(kMoment, 3, kBackward, kWriteMoment));
     },
     "saved 0 mb 0 block 0", "overlaps the residence of"},
    {"NothingSaved", [](Plan& p) { p.actions[kForward].slots.pop_back(); }, "saved 0 mb 0 block 0",
     "before anything is written"},
    {"DirtyBufferDropped",
     [](Plan& p) {
       p.actions[kWriteMoment].kind = ActionKind::ReduceNorm;
       p.actions[kWriteMoment].slots = {};
     },
     "moment 0 slice 0 chunk 0", "it is dirty and not written back"},
    {"EvictOfOnlyCopy",
     [](Plan& p) {
       p.actions[kWriteMoment].kind = ActionKind::Evict;
       p.actions[kWriteMoment].slots.resize(1);
     },
     "action 6 (evict moment 0 slice 0 chunk 0)", "evicts the only copy"},
    {"EvictOfNothing",
     [](Plan& p) {
       p.actions[kFetchMoment].kind = ActionKind::Evict;
       p.actions[kFetchMoment].slots = {at(kMoment, 8)};
     },
     "action 3 (evict moment", "not there"},
    {"WriteBackOfClean", [](Plan& p) { p.actions[kUpdate].slots[0].access = Access::Read; },
     "action 5 (write_back weight chunk 0)", "clean copy"},
    {"UpdateSkippedLeavesNothingToWrite",  // the write makes the content, and the step may skip it
     [](Plan& p) {
       p.actions[kFetchMoment].kind = ActionKind::Evict;
       p.actions[kFetchMoment].slots = {};
       p.actions[kUpdate].slots[2].access = Access::Write;
     },
     "action 6 (write_back moment", "has not been put (fetch or write missing), when updates are skipped"},
    {"EntryNotRestored", [](Plan& p) { p.residences[3] = stay(kFrozen, 5, 0, kBackward); }, "entry of weight chunk 1",
     "no residence at its place across the period's end"},
    {"EntryNotFilled", [](Plan& p) { p.residences[3] = stay(kFrozen, 5, kWriteMoment, kBackward); },
     "entry of weight chunk 1", "not restored at the end"},
    {"WrapsWithoutEntry", [](Plan& p) { p.residences[2] = stay(kGradient, 7, kBackward, kForward); },
     "gradient chunk 0", "not in entry"},
    {"DataDependencyMissing", [](Plan& p) { remove_dependencies(p, kForward); }, "action 1 (forward block 0 mb 0)",
     "dependency missing for data: it must wait for action 0 (fetch weight chunk 0)"},
    {"WriteBackTooEarly",
     [](Plan& p) {
       remove_dependencies(p, kWriteMoment);
       remove_dependencies(p, kWriteWeight);
     },
     "action 6", "dependency missing for data: it must wait for action 4"},
    {"DataAcrossThePeriod", [](Plan& p) { remove_dependencies(p, kFetchMoment); }, "action 3 (fetch moment",
     "must wait for action 6 (write_back moment 0 slice 0 chunk 0) of the period before"},
    {"MemoryReuse",  // the moment comes to where the boundary was, without waiting for the backward
     [](Plan& p) {
       p.residences[1].offset = p.actions[kFetchMoment].slots[1].offset = 6 * kPage;
       p.actions[kUpdate].slots[2].offset = p.actions[kWriteMoment].slots[0].offset = 6 * kPage;
     },
     "action 3 (fetch moment", "for reuse of memory (boundary 0 mb 0 was there): it must wait for action 2"},
    {"MemoryReuseAcrossThePeriod",  // and the boundary comes to where the moment is still written back
     [](Plan& p) {
       p.residences[1].offset = p.actions[kFetchMoment].slots[1].offset = 6 * kPage;
       p.actions[kUpdate].slots[2].offset = p.actions[kWriteMoment].slots[0].offset = 6 * kPage;
     },
     "action 1 (forward", "for reuse of memory (moment 0 slice 0 chunk 0 was there): it must wait for action 6"},
    {"WorkspaceReuse",  // the moment comes to where the backward computes
     [](Plan& p) {
       p.residences[1].offset = p.actions[kFetchMoment].slots[1].offset = 0;
       p.actions[kUpdate].slots[2].offset = p.actions[kWriteMoment].slots[0].offset = 0;
     },
     "action 3 (fetch moment", "for reuse of memory (workspace was there): it must wait for action 2"},
    {"DependencyOnLaterAction", [](Plan& p) { p.actions[kForward].dependencies.push_back(after(kUpdate)); }, "action 1",
     "deadlock: it waits for the later action 4"},
    {"DependencyOnItself", [](Plan& p) { p.actions[kForward].dependencies.push_back(after(kForward)); }, "action 1",
     "deadlock"},
    {"DependencyOutOfRange", [](Plan& p) { p.actions[kForward].dependencies.push_back(after(99)); }, "action 1",
     "out of range"},
    {"SlotOutOfRange", [](Plan& p) { p.actions[kForward].slots[0].buffer = 99; }, "action 1", "out of range"},
    {"CapacityExceeded", [](Plan& p) { p.arena_peak[0] = 17 * kPage; }, "host", "capacity of host exceeded"},
    {"DiskCapacityExceeded", [](Plan& p) { p.arena_peak[1] = 65 * kPage; }, "disk", "capacity of disk exceeded"},
    {"PeakUnderstated", [](Plan& p) { p.arena_peak[0] = 8 * kPage; }, "host", "arena_peak of host"},
    {"DiskPeakUnderstated", [](Plan& p) { p.arena_peak[1] = 2 * kPage; }, "disk", "arena_peak of disk"},
    {"WorkspacePeakUnderstated", [](Plan& p) { p.workspace_peak = kPage; }, "12288", "workspace_peak"},
    {"MoveTheWrongWay", [](Plan& p) { std::swap(p.actions[kFetchMoment].slots[0], p.actions[kFetchMoment].slots[1]); },
     "action 3", "illegal move: from tier 0 to 1"},
    {"MoveOfTwoBuffers", [](Plan& p) { p.actions[kFetchMoment].slots[0].buffer = kWeight; }, "action 3",
     "illegal move"},
    {"MoveOnTheWrongLane", [](Plan& p) { p.actions[kFetchMoment].lane = Lane::DiskWrite; }, "action 3",
     "on lane disk write, expected disk read"},
    {"MoveOfHalfABuffer", [](Plan& p) { p.actions[kFetchMoment].bytes = kPage / 2; }, "action 3", "2048 bytes of 4096"},
    {"NoPeakPerTier", [](Plan& p) { p.arena_peak.pop_back(); }, "arena_peak", "one value per tier"},
};

INSTANTIATE_TEST_SUITE_P(Checker, BrokenTrainingPlan, testing::ValuesIn(kBreakages),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Checker, AcceptsCorrectPlans) {
  expect_correct(training_plan(), host_and_disk());
  expect_correct(prefetching_plan(), host_and_disk());
  Plan empty;
  empty.arena_peak = {0, 0};
  expect_correct(empty, host_and_disk());
}

TEST(Checker, ReportsEachFaultOnce) {
  Plan plan = training_plan();
  remove_dependencies(plan, kFetchMoment);
  EXPECT_EQ(check_plan(plan, host_and_disk()).size(), 1U);
}

// Two micro-batches of the blocks that are named, last block first, adding to one gradient that is measured then.
Plan summing_plan(std::vector<std::pair<int, int>> blocks_and_micro_batches) {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Gradient, 0)};
  plan.num_micro_batches = 2;
  Access access = Access::Write;
  for (const auto& [block, micro_batch] : blocks_and_micro_batches) {
    plan.actions.push_back(compute(ActionKind::Backward, block, 0, {at(0, 0, access)}));
    plan.actions.back().micro_batch = micro_batch;
    access = Access::ReadWrite;
  }
  plan.actions.push_back(compute(ActionKind::ReduceNorm, 0, 0, {at(0, 0)}));
  plan.residences = {stay(0, 0, 0, static_cast<std::int32_t>(plan.actions.size()) - 1)};
  plan.arena_peak = {kPage, 0};
  return plan;
}

TEST(Checker, AcceptsOneOrderOfSums) {
  expect_correct(summing_plan({{0, 0}, {0, 1}}), host_and_disk());
  expect_correct(summing_plan({{3, 0}, {3, 1}, {0, 0}, {0, 1}}), host_and_disk());
}

TEST(Checker, RefusesEveryOtherOrderOfSums) {
  const auto expect = [](const Plan& plan, const char* where, const char* complaint) {
    expect_line_with(check_plan(plan, host_and_disk()), {where, complaint});
  };
  expect(summing_plan({{0, 1}, {0, 0}}), "action 0", "expected micro-batch 0");
  expect(summing_plan({{0, 0}}), "action 1 (reduce_norm chunk 0)", "not complete");
  expect(summing_plan({{0, 0}, {0, 1}, {3, 0}, {3, 1}}), "action 2", "after an earlier block");
  expect(summing_plan({{3, 0}, {0, 0}, {3, 1}, {0, 1}}), "action 0", "micro-batches are missing");
  Plan plan = summing_plan({{0, 0}, {0, 1}});
  plan.actions[1].slots[0].access = Access::Write;
  expect(plan, "action 1", "zeroes a sum");
  plan = summing_plan({{0, 0}, {0, 1}});
  std::swap(plan.actions[1], plan.actions[2]);
  expect(plan, "action 2", "read as if it were whole");
}

TEST(Checker, RefusesSegmentsOutOfOrder) {
  Plan plan = summing_plan({{3, 0}, {3, 1}, {0, 0}, {0, 1}});
  plan.actions[2].segment = plan.actions[3].segment = 0;
  expect_correct(plan, host_and_disk());
  plan.actions[3].segment = 1;
  expect_line_with(check_plan(plan, host_and_disk()), {"action 3", "expected segment 0"});
}

TEST(Checker, AcceptsReuseOfMemoryThatWaits) {
  Plan plan = training_plan();
  plan.residences[1].offset = plan.actions[kFetchMoment].slots[1].offset = 6 * kPage;
  plan.actions[kUpdate].slots[2].offset = plan.actions[kWriteMoment].slots[0].offset = 6 * kPage;
  plan.actions[kFetchMoment].dependencies.push_back(after(kBackward));
  plan.actions[kForward].dependencies.push_back(after_previous(kWriteMoment));
  expect_correct(plan, host_and_disk());
}

TEST(Checker, FollowsDependenciesThroughOtherLanes) {
  Plan plan = training_plan();
  // The forward waits for the fetch, which waits for the write_back of the period before: enough for both.
  plan.actions[kFetchWeight].dependencies = {after_previous(kWriteMoment)};
  plan.actions[kFetchMoment].dependencies = {};
  expect_correct(plan, host_and_disk());
}

TEST(Checker, SeesAPrefetchThatNobodyWaitsFor) {
  Plan plan = prefetching_plan();
  remove_dependencies(plan, 1);
  expect_line_with(
      check_plan(plan, host_and_disk()),
      {"dependency missing for data", "must wait for action 2 (fetch weight chunk 0) of the period before"});
}

TEST(Checker, SeesAPrefetchThatOverwritesWhatIsStillRead) {
  Plan plan = prefetching_plan();
  remove_dependencies(plan, 0);
  expect_line_with(check_plan(plan, host_and_disk()),
                   {"action 0 (fetch weight chunk 1)", "must wait for action 3", "of the period before"});
}

// Gradients of one period wait on the disk for the update in the next one, which a first step skips.
Plan pending_plan() {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Gradient, 0)};
  plan.actions = {
      fetch(on_disk(1), at(1, 2), {after_previous(3)}),
      compute(ActionKind::Update, 0, 0, {at(0, 1, Access::ReadWrite), at(1, 2)}, {after(0)}),
      compute(ActionKind::Backward, 0, 1, {at(0, 1), at(1, 3, Access::Write)}, {after_previous(3)}),
      write_back(at(1, 3), on_disk(1), {after(2)}),
  };
  plan.actions[0].skip = plan.actions[1].skip = SkipWhen::NoUpdate;
  plan.residences = {stay(0, 1, 0, 3), stay(1, 2, 0, 1), stay(1, 3, 2, 3)};
  plan.entry = {{.buffer = 0, .tier = 0, .offset = kPage}};
  plan.arena_peak = {4 * kPage, 2 * kPage};
  plan.workspace_peak = kPage;
  return plan;
}

TEST(Checker, AcceptsGradientsThatWaitOnTheDisk) { expect_correct(pending_plan(), host_and_disk()); }

TEST(Checker, RefusesAPendingGradientThatWasNotStored) {
  Plan plan = pending_plan();
  plan.actions[3] = compute(ActionKind::ReduceNorm, 0, 0, {at(1, 3)});
  expect_line_with(check_plan(plan, host_and_disk()),
                   {"action 0 (fetch gradient chunk 0)", "before anything is written"});
}

TEST(Checker, RefusesABoundaryThatOutlivesItsPeriod) {
  Plan plan = pending_plan();
  plan.buffers[1] = buffer(BufferKind::Boundary, 0);
  expect_line_with(check_plan(plan, host_and_disk()),
                   {"action 0 (fetch boundary 0 mb 0)", "before anything is written"});
}

// Applies what `pending_plan` left and parks the weight.
Plan flush_plan(bool writes_back) {
  Plan plan = pending_plan();
  plan.variant = Variant::Flush;
  plan.actions.resize(2);
  plan.actions[0].dependencies.clear();
  plan.residences = {stay(0, 1, 0, 1), stay(1, 2, 0, 1)};
  if (writes_back) {
    plan.actions.push_back(write_back(at(0, 1), on_disk(0), {after(1)}));
    plan.residences[0].last = 2;
  }
  return plan;
}

TEST(Checker, AcceptsAFlushAfterItsTrainingPlan) {
  const Plan train = pending_plan();
  expect_correct(flush_plan(false), host_and_disk(), &train);
  expect_correct(flush_plan(true), host_and_disk(), &train);
  expect_correct(flush_plan(true), host_and_disk());
}

// Fetches a second copy of a weight that is in entry.
Plan evaluate_plan(bool clean) {
  Plan plan = flush_plan(false);
  plan.variant = Variant::Evaluate;
  plan.actions = {fetch(on_disk(0), at(0, 2)), compute(ActionKind::Forward, 0, 1, {at(0, 2)}, {after(0)})};
  plan.residences = {stay(0, 1, 0, 1), stay(0, 2, 0, 1)};
  plan.entry[0].clean = clean;
  return plan;
}

TEST(Checker, TakesEntryForDirtyUnlessItIsCalledClean) {
  expect_correct(evaluate_plan(true), host_and_disk());
  expect_line_with(check_plan(evaluate_plan(false), host_and_disk()),
                   {"action 0 (fetch weight chunk 0)", "stale version"});
}

TEST(Checker, KnowsFromThePlanBeforeWhatIsDirty) {
  const Plan train = pending_plan();
  expect_line_with(check_plan(evaluate_plan(true), host_and_disk(), &train),
                   {"entry of weight chunk 0", "called clean, but the disk is stale"});
}

TEST(Checker, RefusesACleanEntryThatThePeriodMakesDirty) {
  Plan plan = pending_plan();
  plan.entry[0].clean = true;
  expect_line_with(check_plan(plan, host_and_disk()), {"entry of weight chunk 0", "called clean"});
}

TEST(Checker, RefusesAPlanThatStartsElsewhereThanTheOneBeforeEnded) {
  const Plan train = pending_plan();
  Plan flush = flush_plan(false);
  flush.entry[0].offset = flush.residences[0].offset = flush.actions[1].slots[0].offset = 3 * kPage;
  expect_line_with(check_plan(flush, host_and_disk(), &train), {"entry of weight chunk 0", "differs from where"});
}

// A weight comes up two tiers, is used on the device, and is updated on the host.
Plan device_plan() {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Gradient, 0)};
  const auto host = [](BufferId id, Bytes page, Access access = Access::Read) { return at(id, page, access, 1); };
  plan.actions = {
      fetch(on_disk(0, 2), host(0, 0), {after_previous(5)}),
      move(ActionKind::Fetch, Lane::HostToDevice, host(0, 0), at(0, 1), {after(0)}),
      compute(ActionKind::Backward, 0, 1, {at(0, 1), at(1, 2, Access::Write)}, {after(1), after_previous(3)}),
      move(ActionKind::WriteBack, Lane::DeviceToHost, at(1, 2), host(1, 1), {after(2)}),
      compute(ActionKind::Update, 0, 0, {host(0, 0, Access::ReadWrite), host(1, 1)}, {after(3)}),
      write_back(host(0, 0), on_disk(0, 2), {after(4)}),
  };
  plan.residences = {stay(0, 0, 0, 5, 1), stay(0, 1, 1, 2), stay(1, 2, 2, 3), stay(1, 1, 3, 4, 1)};
  plan.arena_peak = {3 * kPage, 2 * kPage, kPage};
  plan.workspace_peak = kPage;
  return plan;
}

TEST(Checker, AcceptsThreeTiers) { expect_correct(device_plan(), device_host_disk()); }

TEST(Checker, RefusesAMoveThatSkipsATier) {
  Plan plan = device_plan();
  plan.actions[1].slots[0] = on_disk(0, 2);
  expect_line_with(check_plan(plan, device_host_disk()), {"action 1", "illegal move: from tier 2 to 0"});
}

TEST(Checker, RefusesBlockMathBelowTierZero) {
  Plan plan = device_plan();
  plan.actions[2].slots[0] = at(0, 0, Access::Read, 1);
  expect_line_with(check_plan(plan, device_host_disk()), {"action 2", "expected tier 0"});
}

TEST(Checker, SeesAWriteThatOvertakesACopyToTheHost) {
  Plan plan = device_plan();
  plan.actions[2].dependencies = {after(1)};
  plan.actions[4].dependencies = {};
  const auto lines = check_plan(plan, device_host_disk());
  expect_line_with(lines, {"action 4 (update chunk 0), gradient chunk 0", "must wait for action 3"});
  expect_line_with(lines, {"action 2 (backward block 0 mb 0), gradient chunk 0", "action 3", "of the period before"});
}

TEST(Checker, WithoutADiskEverythingPersistentStays) {
  Machine machine = host_and_disk();
  machine.tiers.pop_back();
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0)};
  plan.actions = {compute(ActionKind::Forward, 0, 1, {at(0, 1)}), compute(ActionKind::Forward, 1, 1, {})};
  plan.residences = {stay(0, 1, 0, 1)};
  plan.entry = {{.buffer = 0, .tier = 0, .offset = kPage}};
  plan.arena_peak = {2 * kPage};
  plan.workspace_peak = kPage;
  expect_correct(plan, machine);
  plan.entry.clear();
  expect_line_with(check_plan(plan, machine), {"without a disk it must be in entry"});
}

TEST(Checker, TakesLongPlansInItsStride) {
  // Twenty thousand actions: weights stream through two slots of the arena.
  Plan plan;
  const int num_blocks = 10000;
  for (int b = 0; b < num_blocks; ++b) {
    plan.buffers.push_back(buffer(BufferKind::Weight, b));
    const std::int32_t index = 2 * b;
    const Dependency free = b < 2 ? after_previous(2 * (num_blocks - 2 + b) + 1) : after(index - 3);
    plan.actions.push_back(fetch(on_disk(b), at(b, 1 + b % 2), {free}));
    plan.actions.push_back(compute(ActionKind::Forward, b, 1, {at(b, 1 + b % 2)}, {after(index)}));
    plan.residences.push_back(stay(b, 1 + b % 2, index, index + 1));
  }
  plan.arena_peak = {3 * kPage, num_blocks * kPage};
  plan.workspace_peak = kPage;
  Machine machine = host_and_disk();
  machine.tiers[1].capacity = num_blocks * kPage;
  expect_correct(plan, machine);
  plan.actions[10000].dependencies.clear();
  EXPECT_EQ(check_plan(plan, machine).size(), 1U);
}

}  // namespace
}  // namespace sluice::plan
