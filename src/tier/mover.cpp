#include "tier/mover.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "base/check.h"
#include "base/narrow.h"

namespace sluice::tier {
namespace {

std::byte* address(const ArenaBases& arenas, const plan::Slot& slot) {
  SLUICE_CHECK(slot.tier >= 0 && slot.tier < static_cast<int>(arenas.size()) && slot.offset >= 0,
               "a move names offset ", slot.offset, " of tier ", slot.tier, ", which is no place in an arena");
  return arenas[slot.tier] + slot.offset;
}

class DiskMover final : public Mover {
 public:
  DiskMover(Store& store, ArenaBases arenas, std::span<const ObjectId> objects)
      : arenas_(std::move(arenas)), objects_(objects), channel_(store.open_channel()) {}

  void move(const plan::Action& action, const plan::Buffer& buffer) override {
    const bool fetch = action.kind == plan::ActionKind::Fetch;
    const plan::Slot& in_arena = action.slots[fetch ? 1 : 0];
    const ObjectId object = objects_[in_arena.buffer];
    SLUICE_CHECK(object >= 0, "a disk move of a buffer without an object");
    const std::span bytes(address(arenas_, in_arena), static_cast<std::size_t>(buffer.bytes));
    const bool is_alike = buffer.stored == buffer.held;
    if (fetch) {
      const std::span<std::byte> stored = bytes.last(static_cast<std::size_t>(buffer.bytes_on_disk()));
      channel_->read(object, 0, stored);
      if (!is_alike) widen(buffer.stored, stored.data(), numbers(bytes));
    } else if (is_alike) {
      channel_->write(object, 0, bytes);
    } else {
      write_narrow(object, buffer.stored, numbers(bytes));
    }
  }

 private:
  static std::span<float> numbers(std::span<std::byte> bytes) {
    return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
  }

  // Others may read the numbers meanwhile, so they stay as they are.
  void write_narrow(ObjectId object, NumberFormat format, std::span<const float> wide) {
    constexpr std::size_t kPiece = kNarrowStaging / sizeof(std::uint16_t);
    if (!staging_) staging_.reset(static_cast<std::uint16_t*>(std::aligned_alloc(kStoreAlignment, kNarrowStaging)));
    for (std::size_t first = 0; first < wide.size(); first += kPiece) {
      const std::span to(staging_.get(), std::min(kPiece, wide.size() - first));
      narrow(format, wide.subspan(first, to.size()), reinterpret_cast<std::byte*>(to.data()));
      channel_->write(object, static_cast<Bytes>(first * sizeof(std::uint16_t)), std::as_bytes(to));
    }
  }

  const ArenaBases arenas_;
  const std::span<const ObjectId> objects_;
  const std::unique_ptr<Channel> channel_;
  std::unique_ptr<std::uint16_t, decltype(&std::free)> staging_{nullptr, &std::free};
};

class CopyMover final : public Mover {
 public:
  CopyMover(std::unique_ptr<CopyEngine> engine, ArenaBases arenas)
      : engine_(std::move(engine)), arenas_(std::move(arenas)) {}

  void move(const plan::Action& action, const plan::Buffer& buffer) override {
    engine_->copy(address(arenas_, action.slots[1]), address(arenas_, action.slots[0]), buffer.bytes);
  }

 private:
  const std::unique_ptr<CopyEngine> engine_;
  const ArenaBases arenas_;
};

}  // namespace

Mover::~Mover() = default;

std::unique_ptr<Mover> make_disk_mover(Store& store, ArenaBases arenas, std::span<const ObjectId> objects) {
  return std::make_unique<DiskMover>(store, std::move(arenas), objects);
}

std::unique_ptr<Mover> make_copy_mover(std::unique_ptr<CopyEngine> engine, ArenaBases arenas) {
  return std::make_unique<CopyMover>(std::move(engine), std::move(arenas));
}

}  // namespace sluice::tier
