// Where every buffer's bytes are while no period runs: in the arenas where the plan says they wait between periods,
// else in the store. Loading, saving and inspecting go through here.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "plan/planner.h"
#include "tier/device.h"
#include "tier/mover.h"
#include "tier/store.h"

namespace sluice::exec {

/// Borrowed arenas, fastest tier first, store (nullptr: everything waits in the arenas) and device, whose memory the
/// first of two arenas is. One thread, between periods only.
class State {
 public:
  /// Reserves an object in the store for every buffer that is ever moved there or waits there. CapacityError when it is
  /// full.
  State(const plan::PlanSet& plans, tier::ArenaBases arenas, tier::Store* store, tier::Device* device = nullptr);

  /// Bytes of a persistent buffer, of weights as fp32 numbers. `offset` is a multiple of tier::kStripeBytes and the
  /// length too (of weights in fewer bits, of so many more), unless it ends the buffer; `source` is 4096-aligned.
  void write(plan::BufferId buffer, Bytes offset, std::span<const std::byte> source);
  /// Any range of whole numbers; of weights in NF4 none.
  void read(plan::BufferId buffer, Bytes offset, std::span<std::byte> destination);
  /// The same for elements of a chunk's weights, or of a moment with one fp32 number per element; `first` is a multiple
  /// of kPiece.
  void write(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<const float> source);
  void read(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::span<float> destination);

  /// Stored bytes of a chunk's weights in Buffer::stored, from `offset` on: what numbers alone do not say. From the
  /// first byte to the last without a gap, all of a chunk before anything else.
  void write_stored(int chunk, Bytes offset, std::span<const std::byte> source);

  /// Elements; in 8 bits they are a stripe.
  static constexpr std::int64_t kPiece = tier::kStripeBytes;

  [[nodiscard]] const std::vector<plan::Buffer>& buffers() const { return buffers_; }
  [[nodiscard]] std::span<const std::int64_t> slice_elements() const { return slice_elements_; }
  [[nodiscard]] std::span<const tier::ObjectId> objects() const { return objects_; }
  [[nodiscard]] const tier::ArenaBases& arenas() const { return arenas_; }
  [[nodiscard]] tier::Store* store() const { return store_; }

 private:
  /// Where a buffer waits between periods.
  struct Place {
    int tier = 0;
    Bytes offset = 0;
  };
  [[nodiscard]] std::byte* address(const Place& place) const { return arenas_[place.tier] + place.offset; }
  void put(const Place& place, Bytes offset, std::span<const std::byte> source);
  void get(const Place& place, Bytes offset, std::span<std::byte> destination);
  void put_widened(const plan::Buffer& buffer, const Place& place, std::int64_t first,
                   std::span<const std::byte> source);
  template <typename Use>
  void for_narrowed(NumberFormat format, Bytes offset, std::span<const std::byte> source, Use use);
  void read_store(std::size_t buffer, Bytes offset, std::span<std::byte> destination);
  template <typename Visit>
  void for_each_part(plan::BufferKind kind, int chunk, int moment, std::int64_t first, std::int64_t count, Visit visit);

  const std::vector<plan::Buffer>& buffers_;
  const std::vector<std::int64_t>& slice_elements_;  // per chunk
  tier::ArenaBases arenas_;
  tier::Store* store_;
  std::unique_ptr<tier::Channel> channel_;
  std::unique_ptr<tier::CopyEngine> line_;                   // to and from a device that the host may not touch
  std::unique_ptr<std::byte, decltype(&std::free)> stripe_;  // one stripe of the store, for ranges that cut stripes
  std::vector<tier::ObjectId> objects_;                      // per buffer; -1: never in the store
  std::vector<char> stored_;                                 // per buffer: the store must hold it between periods
  std::vector<std::vector<Place>> waits_at_;                 // per buffer; none: in the store
};

}  // namespace sluice::exec
