#include "model/cpu_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <c10/util/ParallelGuard.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "plan/first_fit.h"

namespace sluice::model {
namespace {

constexpr Bytes kAlignment = plan::FirstFit::kAlignment;

// What allocates inside a parallel region (row sums of attention's backward, at most a few KiB a thread) does so in the
// order of a race: such memory stays out of the workspace and of every trace. It is part of the process's own needs.
bool in_parallel_region() { return c10::ParallelGuard::is_enabled(); }

class CpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = bytes == 0 ? nullptr : take(round_up(static_cast<Bytes>(bytes), kAlignment));
    return {data, data, &release_data, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_data; }
  void copy_data(void* destination, const void* source, std::size_t count) const override {
    default_copy_data(destination, source, count);
  }

  void observe(AllocationObserver* observer) {
    const std::scoped_lock lock(mutex_);
    observer_ = observer;
  }
  void use(std::byte* base, Bytes capacity) {
    const std::scoped_lock lock(mutex_);
    SLUICE_CHECK(placement_.live_bytes() == 0, "the workspace still holds ", placement_.live_bytes(), " bytes");
    SLUICE_CHECK(reinterpret_cast<std::uintptr_t>(base) % kAlignment == 0, "workspace base is not aligned");
    base_ = base;
    capacity_ = limit_ = base == nullptr ? 0 : capacity;
    placement_ = plan::FirstFit();
    peak_ = 0;
  }
  void limit(Bytes bytes) {
    const std::scoped_lock lock(mutex_);
    limit_ = std::min(bytes, capacity_);
  }
  Bytes peak() {
    const std::scoped_lock lock(mutex_);
    return peak_;
  }
  void reset_peak() {
    const std::scoped_lock lock(mutex_);
    peak_ = placement_.top();
  }
  Bytes live() {
    const std::scoped_lock lock(mutex_);
    return placement_.live_bytes();
  }
  void plan(std::vector<PlannedAllocation> allocations) {
    const std::scoped_lock lock(mutex_);
    planned_ = std::move(allocations);
    next_planned_ = 0;
    num_allocations_ = 0;
  }
  void tell_allocated(const void* key, Bytes bytes) {
    const std::scoped_lock lock(mutex_);
    if (observer_ != nullptr) observer_->allocated(key, bytes);
  }
  void tell_released(const void* key) {
    const std::scoped_lock lock(mutex_);
    if (observer_ != nullptr) observer_->released(key);
  }
  bool observed() {
    const std::scoped_lock lock(mutex_);
    return observer_ != nullptr;
  }

 private:
  void* take(Bytes bytes) {
    if (in_parallel_region()) return take_from_system(bytes);
    const std::scoped_lock lock(mutex_);
    void* data = take_planned();
    if (data == nullptr) data = base_ == nullptr ? take_from_system(bytes) : take_from_workspace(bytes);
    if (observer_ != nullptr) observer_->allocated(data, bytes);
    return data;
  }

  void* take_planned() {
    const std::int64_t number = num_allocations_++;
    if (next_planned_ == planned_.size() || planned_[next_planned_].number != number) return nullptr;
    std::byte* address = planned_[next_planned_++].address;
    outside_.insert(address);
    return address;
  }

  static void* take_from_system(Bytes bytes) {
    void* data = std::aligned_alloc(static_cast<std::size_t>(kAlignment), static_cast<std::size_t>(bytes));
    if (data == nullptr) {
      C10_THROW_ERROR(OutOfMemoryError, "[model.cpu_allocator] allocation failed: asked " + format_bytes(bytes) +
                                            " of system memory; lower the batch size");
    }
    return data;
  }

  void* take_from_workspace(Bytes bytes) {
    const Bytes offset = placement_.allocate(bytes);
    if (offset + bytes > limit_) {
      placement_.release(offset);
      C10_THROW_ERROR(OutOfMemoryError, "[model.cpu_allocator] allocation failed: predicted peak of the workspace " +
                                            std::to_string(limit_) + " bytes, asked " + std::to_string(bytes) +
                                            " bytes ending at " + std::to_string(offset + bytes) + " with " +
                                            std::to_string(placement_.live_bytes()) +
                                            " bytes live; plan again with a larger workspace");
    }
    peak_ = std::max(peak_, offset + bytes);
    return base_ + offset;
  }

  static void release_data(void* data);
  void give_back(void* data) {
    const std::scoped_lock lock(mutex_);
    const auto* address = static_cast<std::byte*>(data);
    if (observer_ != nullptr) observer_->released(data);
    if (outside_.erase(address) > 0) return;
    if (base_ != nullptr && address >= base_ && address < base_ + capacity_) {
      placement_.release(address - base_);
    } else {
      std::free(data);
    }
  }

  std::mutex mutex_;
  AllocationObserver* observer_ = nullptr;
  std::byte* base_ = nullptr;
  Bytes capacity_ = 0, limit_ = 0, peak_ = 0;
  plan::FirstFit placement_;
  std::vector<PlannedAllocation> planned_;
  std::size_t next_planned_ = 0;
  std::int64_t num_allocations_ = 0;              // since `planned_` was given
  std::unordered_set<const std::byte*> outside_;  // live allocations at planned addresses
};

// Never destroyed: tensors of static storage duration are released after it would be.
CpuAllocator& cpu_allocator() {
  static auto* allocator = new CpuAllocator;
  return *allocator;
}

void CpuAllocator::release_data(void* data) {
  if (data != nullptr) cpu_allocator().give_back(data);
}

// Meta tensors have no memory; while somebody observes, each gets a key that lives as long as its storage would.
class MetaAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    constexpr auto kMeta = c10::DeviceType::Meta;
    if (bytes == 0 || !cpu_allocator().observed()) return {nullptr, nullptr, &release_key, c10::Device(kMeta)};
    void* key = new char;
    cpu_allocator().tell_allocated(key, round_up(static_cast<Bytes>(bytes), kAlignment));
    return {nullptr, key, &release_key, c10::Device(kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_key; }
  void copy_data(void*, const void*, std::size_t) const override {}

 private:
  static void release_key(void* key) {
    if (key == nullptr) return;
    cpu_allocator().tell_released(key);
    delete static_cast<char*>(key);
  }
};

}  // namespace

void install_cpu_allocator() {
  static const bool installed = [] {
    constexpr std::uint8_t kPriority = std::numeric_limits<std::uint8_t>::max();
    c10::SetCPUAllocator(&cpu_allocator(), kPriority);
    c10::SetAllocator(c10::DeviceType::Meta, new MetaAllocator, kPriority);
    return true;
  }();
  static_cast<void>(installed);
}

void observe_allocations(AllocationObserver* observer) { cpu_allocator().observe(observer); }
void use_workspace(std::byte* base, Bytes capacity) { cpu_allocator().use(base, capacity); }
void limit_workspace(Bytes limit) { cpu_allocator().limit(limit); }
PlannedAllocations::PlannedAllocations(std::vector<PlannedAllocation> allocations) {
  cpu_allocator().plan(std::move(allocations));
}
PlannedAllocations::~PlannedAllocations() { cpu_allocator().plan({}); }
Bytes workspace_peak() { return cpu_allocator().peak(); }
void reset_workspace_peak() { cpu_allocator().reset_peak(); }
Bytes workspace_live() { return cpu_allocator().live(); }

}  // namespace sluice::model
