// Where every buffer's bytes are while no period runs: in the arena where the plan says they wait between periods, else
// in the store. Loading, saving and inspecting go through here.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "plan/planner.h"
#include "tier/arena.h"
#include "tier/store.h"

namespace sluice::exec {

/// Borrowed arena and store (nullptr: everything waits in the arena). One thread, between periods only.
class State {
 public:
  /// Reserves an object in the store for every buffer that is ever moved there or waits there. CapacityError when it is
  /// full.
  State(const plan::PlanSet& plans, tier::Arena& arena, tier::Store* store);

  /// Elements of a weight or moment buffer, by chunk: writes range [first, first + source.size()) of `chunk`. `first`
  /// is a multiple of kPiece and the length too, unless it ends the chunk; `source` is 4096-aligned.
  void write(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<const float> source);
  /// Any range.
  void read(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<float> destination);
  /// Everything written so far is current: call once after loading.
  void commit();

  static constexpr std::int64_t kPiece = tier::kStripeBytes / static_cast<std::int64_t>(sizeof(float));

  [[nodiscard]] std::span<const tier::ObjectId> objects() const { return objects_; }
  [[nodiscard]] std::byte* arena() const { return arena_.data(); }
  [[nodiscard]] tier::Store* store() const { return store_; }

 private:
  void read_store(std::size_t buffer, Bytes offset, std::span<std::byte> destination);
  template <typename Visit>
  void for_each_part(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::int64_t count, Visit visit);

  const std::vector<plan::Buffer>& buffers_;
  tier::Arena& arena_;
  tier::Store* store_;
  std::unique_ptr<tier::Channel> channel_;
  std::unique_ptr<std::byte, decltype(&std::free)> stripe_;  // one stripe of the store, for ranges that cut stripes
  std::vector<tier::ObjectId> objects_;                      // per buffer; -1: never in the store
  std::vector<char> stored_;                                 // per buffer: the store must hold it between periods
  std::vector<Bytes> waits_at_;  // per buffer: offset in the arena between periods; -1: in the store
};

}  // namespace sluice::exec
