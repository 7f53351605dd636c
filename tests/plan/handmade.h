// Small plans written by hand, with sizes in pages, for the tests of checker and simulator.
#pragma once
#include <initializer_list>
#include <utility>
#include <vector>

#include "plan/plan.h"

namespace sluice::plan::handmade {

inline constexpr Bytes kPage = 4096;

inline Slot at(BufferId buffer, Bytes page, Access access = Access::Read, int tier = 0) {
  return {.buffer = buffer, .tier = tier, .offset = page * kPage, .access = access};
}
inline Slot on_disk(BufferId buffer, int tier = 1) { return {.buffer = buffer, .tier = tier, .offset = -1}; }
inline Dependency after(std::int32_t action) { return {.action = action}; }
inline Dependency after_previous(std::int32_t action) { return {.action = action, .previous_period = true}; }

inline Action move(ActionKind kind, Lane lane, Slot from, Slot to, std::vector<Dependency> dependencies = {}) {
  to.access = Access::Write;
  Action action;
  action.kind = kind;
  action.lane = lane;
  action.slots = {from, to};
  action.bytes = kPage;
  action.duration = 1;
  action.dependencies = std::move(dependencies);
  return action;
}
inline Action fetch(Slot from, Slot to, std::vector<Dependency> dependencies = {}) {
  return move(ActionKind::Fetch, Lane::DiskRead, from, to, std::move(dependencies));
}
inline Action write_back(Slot from, Slot to, std::vector<Dependency> dependencies = {}) {
  return move(ActionKind::WriteBack, Lane::DiskWrite, from, to, std::move(dependencies));
}

inline Action compute(ActionKind kind, int block, Bytes workspace_pages, std::vector<Slot> slots,
                      std::vector<Dependency> dependencies = {}) {
  Action action;
  action.kind = kind;
  const bool block_math = kind == ActionKind::Forward || kind == ActionKind::Backward;
  (block_math ? action.block : action.chunk) = block;
  if (block_math) action.micro_batch = 0;
  action.workspace = workspace_pages * kPage;
  action.slots = std::move(slots);
  action.duration = 1;
  action.dependencies = std::move(dependencies);
  return action;
}

inline Residence stay(BufferId buffer, Bytes page, std::int32_t first, std::int32_t last, int tier = 0) {
  return {.buffer = buffer, .tier = tier, .offset = page * kPage, .first = first, .last = last};
}

inline Buffer buffer(BufferKind kind, int chunk) {
  Buffer made;
  made.kind = kind;
  if (kind == BufferKind::Boundary) {
    made.boundary = chunk;
    made.micro_batch = 0;
  } else if (kind == BufferKind::Saved) {
    made.block = chunk;
    made.micro_batch = made.saved_class = 0;
  } else {
    made.chunk = chunk;
  }
  if (kind == BufferKind::Moment) made.moment = made.slice = 0;
  made.bytes = kPage;
  made.persistent = kind == BufferKind::Weight || kind == BufferKind::Moment;
  return made;
}

inline Machine host_and_disk() {
  Machine machine;
  machine.name = "laptop";
  machine.tiers = {{.kind = TierKind::Host, .capacity = 16 * kPage, .down = 1e9, .up = 1e9, .shared_link = true},
                   {.kind = TierKind::Disk, .capacity = 64 * kPage}};
  return machine;
}
inline Machine device_host_disk() {
  Machine machine;
  machine.name = "gpu";
  machine.tiers = {{.kind = TierKind::Device, .capacity = 16 * kPage},
                   {.kind = TierKind::Host, .capacity = 16 * kPage, .shared_link = true},
                   {.kind = TierKind::Disk, .capacity = 64 * kPage}};
  machine.update_tier = 1;
  return machine;
}

/// Buffers and actions of `training_plan`, by name.
enum : BufferId { kWeight, kMoment, kGradient, kFrozen, kBoundary, kSaved };
enum : std::int32_t { kFetchWeight, kForward, kBackward, kFetchMoment, kUpdate, kWriteWeight, kWriteMoment };

/// One block with saved activations; weight and moment come from the disk and go back, a frozen weight stays.
inline Plan training_plan() {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Moment, 0),   buffer(BufferKind::Gradient, 0),
                  buffer(BufferKind::Weight, 1), buffer(BufferKind::Boundary, 0), buffer(BufferKind::Saved, 0)};
  plan.actions = {
      fetch(on_disk(kWeight), at(kWeight, 4), {after_previous(kWriteWeight)}),
      compute(ActionKind::Forward, 0, 2,
              {at(kWeight, 4), at(kFrozen, 5), at(kBoundary, 6, Access::Write), at(kSaved, 3, Access::Write)},
              {after(kFetchWeight)}),
      compute(ActionKind::Backward, 0, 3,
              {at(kWeight, 4), at(kFrozen, 5), at(kBoundary, 6), at(kGradient, 7, Access::Write),
               at(kSaved, 3, Access::ReadWrite)}),
      fetch(on_disk(kMoment), at(kMoment, 8), {after_previous(kWriteMoment)}),
      compute(ActionKind::Update, 0, 0,
              {at(kWeight, 4, Access::ReadWrite), at(kGradient, 7), at(kMoment, 8, Access::ReadWrite)},
              {after(kFetchMoment)}),
      write_back(at(kWeight, 4), on_disk(kWeight), {after(kUpdate)}),
      write_back(at(kMoment, 8), on_disk(kMoment), {after(kUpdate)}),
  };
  plan.actions[kUpdate].skip = SkipWhen::NoUpdate;
  plan.residences = {stay(kWeight, 4, kFetchWeight, kWriteWeight), stay(kMoment, 8, kFetchMoment, kWriteMoment),
                     stay(kGradient, 7, kBackward, kUpdate),       stay(kFrozen, 5, 0, kWriteMoment),
                     stay(kBoundary, 6, kForward, kBackward),      stay(kSaved, 3, kForward, kBackward)};
  plan.entry = {{.buffer = kFrozen, .tier = 0, .offset = 5 * kPage}};
  plan.arena_peak = {9 * kPage, 3 * kPage};
  plan.workspace_peak = 3 * kPage;
  return plan;
}

/// Two frozen blocks; the first one's weight for the next period is fetched under the second one's forward.
inline Plan prefetching_plan() {
  Plan plan;
  plan.buffers = {buffer(BufferKind::Weight, 0), buffer(BufferKind::Weight, 1)};
  plan.actions = {
      fetch(on_disk(1), at(1, 2), {after_previous(3)}),
      compute(ActionKind::Forward, 0, 1, {at(0, 1)}, {after_previous(2)}),
      fetch(on_disk(0), at(0, 1), {after(1)}),
      compute(ActionKind::Forward, 1, 1, {at(1, 2)}, {after(0)}),
  };
  plan.residences = {stay(0, 1, 2, 1), stay(1, 2, 0, 3)};
  plan.entry = {{.buffer = 0, .tier = 0, .offset = kPage, .clean = true}};
  plan.arena_peak = {3 * kPage, 2 * kPage};
  plan.workspace_peak = kPage;
  return plan;
}

}  // namespace sluice::plan::handmade
