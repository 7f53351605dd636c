#include "tier/device_workspace.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace sluice::tier {

std::byte* DeviceWorkspace::Region::take(Bytes bytes) {
  if (base == nullptr) return nullptr;
  const Bytes offset = placement.allocate(bytes);
  if (offset + bytes > limit) {
    placement.release(offset);
    return nullptr;
  }
  peak = std::max(peak, offset + bytes);
  return base + offset;
}

DeviceWorkspace::DeviceWorkspace(std::byte* pool, Bytes capacity) {
  pool_.base = pool;
  pool_.capacity = pool_.limit = capacity;
}

void DeviceWorkspace::use(std::byte* base, Bytes capacity) {
  const std::scoped_lock lock(mutex_);
  SLUICE_CHECK(workspace_.placement.live_bytes() == 0, "the device's workspace still holds ",
               workspace_.placement.live_bytes(), " bytes");
  workspace_ = Region();
  workspace_.base = base;
  workspace_.capacity = workspace_.limit = base == nullptr ? 0 : capacity;
}

void DeviceWorkspace::forget() {
  const std::scoped_lock lock(mutex_);
  workspace_ = Region();
}

void DeviceWorkspace::limit(Bytes bytes) {
  const std::scoped_lock lock(mutex_);
  workspace_.limit = std::min(bytes, workspace_.capacity);
}

std::byte* DeviceWorkspace::allocate(Bytes bytes) {
  if (bytes == 0) return nullptr;
  const Bytes rounded = round_up(bytes, kAlignment);
  const std::scoped_lock lock(mutex_);
  if (std::byte* memory = workspace_.take(rounded)) return memory;
  if (std::byte* memory = pool_.take(rounded)) return memory;
  throw CapacityError("tier.device", "no memory left on the device",
                      "asked " + format_bytes(bytes) + " beside " + format_bytes(workspace_.placement.live_bytes()) +
                          " of a planned workspace of " + format_bytes(workspace_.limit) + " and " +
                          format_bytes(pool_.placement.live_bytes()) + " of " + format_bytes(pool_.capacity) +
                          " for libraries",
                      "lower --micro-batch-size or --seq-len");
}

void DeviceWorkspace::release(std::byte* memory) {
  if (memory == nullptr) return;
  const std::scoped_lock lock(mutex_);
  Region& region = workspace_.holds(memory) ? workspace_ : pool_;
  SLUICE_CHECK(region.holds(memory), "memory given back that is not of this device");
  region.placement.release(memory - region.base);
}

Bytes DeviceWorkspace::peak() const {
  const std::scoped_lock lock(mutex_);
  return workspace_.peak;
}

Bytes DeviceWorkspace::pool_peak() const {
  const std::scoped_lock lock(mutex_);
  return pool_.peak;
}

}  // namespace sluice::tier
