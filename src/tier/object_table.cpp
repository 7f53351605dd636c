#include "tier/object_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/file.h"

namespace sluice::tier {

void check_buffer(const void* data, std::size_t length) {
  SLUICE_CHECK(reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(kStoreAlignment) == 0,
               "buffer is not aligned to ", kStoreAlignment);
  SLUICE_CHECK(length % static_cast<std::size_t>(kStoreAlignment) == 0, "length ", length, " is not a multiple of ",
               kStoreAlignment);
}

const ObjectTable::Object& ObjectTable::find(ObjectId object) const {
  SLUICE_CHECK(object >= 0 && static_cast<std::size_t>(object) < objects_.size(), "no object ", object);
  return objects_[static_cast<std::size_t>(object)];
}

ObjectTable::Object& ObjectTable::find(ObjectId object) {
  return const_cast<Object&>(std::as_const(*this).find(object));
}

int ObjectTable::target_generation(const Object& object, const Stripe& stripe) {
  return object.generations == 2 && stripe.current == 0 ? 1 : 0;
}

std::vector<StripeUse> ObjectTable::cut(const Object& object, Bytes offset, Bytes length) {
  SLUICE_CHECK(offset >= 0 && length >= 0 && offset + length <= object.bytes, "object '", object.name, "' has ",
               object.bytes, " bytes, asked [", offset, ", ", offset + length, ")");
  SLUICE_CHECK(offset % kStripeBytes == 0 && (length % kStripeBytes == 0 || offset + length == object.bytes),
               "object '", object.name, "': range [", offset, ", ", offset + length, ") cuts a stripe of ",
               kStripeBytes);
  std::vector<StripeUse> uses;
  uses.reserve(static_cast<std::size_t>(round_up(length, kStripeBytes) / kStripeBytes));
  for (Bytes at = offset; at < offset + length; at += kStripeBytes) {
    uses.push_back({.index = static_cast<std::int32_t>(at / kStripeBytes),
                    .generation = 0,
                    .length = std::min(kStripeBytes, offset + length - at),
                    .checksum = 0});
  }
  return uses;
}

ObjectId ObjectTable::add(Bytes bytes, int generations, std::string_view name) {
  SLUICE_CHECK(bytes > 0 && bytes % kStoreAlignment == 0, "object '", name, "' of ", bytes, " bytes");
  SLUICE_CHECK(generations == 1 || generations == 2, "object '", name, "' with ", generations, " generations");
  Object object{.name = std::string(name), .bytes = bytes, .generations = generations, .stripes = {}};
  object.stripes.resize(static_cast<std::size_t>(round_up(bytes, kStripeBytes) / kStripeBytes));
  const std::lock_guard lock(mutex_);
  objects_.push_back(std::move(object));
  return static_cast<ObjectId>(objects_.size() - 1);
}

std::vector<StripeUse> ObjectTable::begin_read(ObjectId object, Bytes offset, Bytes length) const {
  const std::lock_guard lock(mutex_);
  const Object& entry = find(object);
  auto uses = cut(entry, offset, length);
  for (StripeUse& use : uses) {
    const Stripe& stripe = entry.stripes[static_cast<std::size_t>(use.index)];
    const bool in_place = entry.generations == 1;
    SLUICE_CHECK(!(in_place && stripe.next == Next::BeingWritten), "object '", entry.name, "' stripe ", use.index,
                 " is read while it is being written");
    if (in_place && stripe.next == Next::Failed)
      throw IoError(component_, "read failed",
                    "object '" + entry.name + "' at offset " + std::to_string(use.index * kStripeBytes) +
                        " was lost by an earlier failed write",
                    "check the disk");
    SLUICE_CHECK(stripe.current >= 0, "object '", entry.name, "' stripe ", use.index, " was never written");
    use.generation = stripe.current;
    use.checksum = stripe.checksum[static_cast<std::size_t>(stripe.current)];
  }
  return uses;
}

std::vector<StripeUse> ObjectTable::begin_write(ObjectId object, Bytes offset, Bytes length) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  auto uses = cut(entry, offset, length);
  for (const StripeUse& use : uses)
    SLUICE_CHECK(entry.stripes[static_cast<std::size_t>(use.index)].next != Next::BeingWritten, "object '", entry.name,
                 "' stripe ", use.index, " is written twice at once");
  for (StripeUse& use : uses) {
    Stripe& stripe = entry.stripes[static_cast<std::size_t>(use.index)];
    use.generation = target_generation(entry, stripe);
    stripe.next = Next::BeingWritten;
  }
  return uses;
}

void ObjectTable::end_write(ObjectId object, std::span<const StripeUse> stripes) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  for (const StripeUse& use : stripes) {
    Stripe& stripe = entry.stripes[static_cast<std::size_t>(use.index)];
    stripe.checksum[static_cast<std::size_t>(use.generation)] = use.checksum;
    if (entry.generations == 1) {
      stripe.current = 0;
      stripe.next = Next::None;
    } else {
      stripe.next = Next::Pending;
    }
  }
}

void ObjectTable::fail_write(ObjectId object, std::span<const StripeUse> stripes) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  for (const StripeUse& use : stripes) entry.stripes[static_cast<std::size_t>(use.index)].next = Next::Failed;
}

void ObjectTable::commit(ObjectId object) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  if (entry.generations == 1) return;
  for (const Stripe& stripe : entry.stripes) {
    SLUICE_CHECK(stripe.next != Next::BeingWritten, "object '", entry.name, "' is committed while it is being written");
    if (stripe.next == Next::Failed)
      throw IoError(component_, "commit refused", "a write of object '" + entry.name + "' failed",
                    "its bytes of the last commit are intact");
  }
  for (Stripe& stripe : entry.stripes) {
    if (stripe.next != Next::Pending) continue;
    stripe.current = static_cast<std::int8_t>(target_generation(entry, stripe));
    stripe.next = Next::None;
  }
}

std::size_t ObjectTable::num_stripes(ObjectId object) const {
  const std::lock_guard lock(mutex_);
  return find(object).stripes.size();
}

std::uint64_t ObjectTable::checksum_of(ObjectId object) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> values;
  for (const Stripe& stripe : find(object).stripes)
    values.push_back(stripe.current < 0 ? 0 : stripe.checksum[static_cast<std::size_t>(stripe.current)]);
  return checksum(std::as_bytes(std::span(values)));
}

std::string ObjectTable::describe(ObjectId object, Bytes offset) const {
  const std::lock_guard lock(mutex_);
  return "object '" + find(object).name + "' at offset " + std::to_string(offset);
}

void ObjectTable::verify(ObjectId object, const StripeUse& stripe, std::uint64_t found, std::string_view folder) const {
  if (found == stripe.checksum) return;
  const std::string where = folder.empty() ? "" : " in " + std::string(folder);
  throw FormatError(component_, "checksum mismatch in " + describe(object, stripe.index * kStripeBytes) + where,
                    "expected " + std::to_string(stripe.checksum) + ", got " + std::to_string(found),
                    "the device returned other bytes than were written: check it and resume from a checkpoint");
}

}  // namespace sluice::tier
