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
                    .length = std::min(kStripeBytes, offset + length - at),
                    .checksum = 0});
  }
  return uses;
}

ObjectId ObjectTable::add(Bytes bytes, std::string_view name) {
  SLUICE_CHECK(bytes > 0 && bytes % kStoreAlignment == 0, "object '", name, "' of ", bytes, " bytes");
  Object object{.name = std::string(name), .bytes = bytes, .stripes = {}};
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
    SLUICE_CHECK(stripe.content != Content::BeingWritten, "object '", entry.name, "' stripe ", use.index,
                 " is read while it is being written");
    SLUICE_CHECK(stripe.content != Content::NeverWritten, "object '", entry.name, "' stripe ", use.index,
                 " was never written");
    if (stripe.content == Content::Lost)
      throw IoError(component_, "read failed",
                    "object '" + entry.name + "' at offset " + std::to_string(use.index * kStripeBytes) +
                        " was lost by an earlier failed write",
                    "check the disk and resume from a checkpoint");
    use.checksum = stripe.checksum;
  }
  return uses;
}

std::vector<StripeUse> ObjectTable::begin_write(ObjectId object, Bytes offset, Bytes length) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  auto uses = cut(entry, offset, length);
  for (const StripeUse& use : uses)
    SLUICE_CHECK(entry.stripes[static_cast<std::size_t>(use.index)].content != Content::BeingWritten, "object '",
                 entry.name, "' stripe ", use.index, " is written twice at once");
  for (const StripeUse& use : uses) entry.stripes[static_cast<std::size_t>(use.index)].content = Content::BeingWritten;
  return uses;
}

void ObjectTable::end_write(ObjectId object, std::span<const StripeUse> stripes) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  for (const StripeUse& use : stripes)
    entry.stripes[static_cast<std::size_t>(use.index)] = {.checksum = use.checksum, .content = Content::Written};
}

void ObjectTable::fail_write(ObjectId object, std::span<const StripeUse> stripes) {
  const std::lock_guard lock(mutex_);
  Object& entry = find(object);
  for (const StripeUse& use : stripes) entry.stripes[static_cast<std::size_t>(use.index)].content = Content::Lost;
}

std::uint64_t ObjectTable::checksum_of(ObjectId object) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> values;
  for (const Stripe& stripe : find(object).stripes)
    values.push_back(stripe.content == Content::Written ? stripe.checksum : 0);
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
