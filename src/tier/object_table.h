// Which stripes of which objects can be read, and their checksums: the part that all stores share. Holds no bytes and
// moves none.
#pragma once
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tier/store.h"

namespace sluice::tier {

/// One stripe as a transfer sees it.
struct StripeUse {
  std::int32_t index = 0;  ///< of the object
  Bytes length = 0;
  std::uint64_t checksum = 0;  ///< read: what it must be; write: what the writer found, set before `end_write`
};

/// Thread-safe. A stripe was never written, is being written, was written or was lost by a failed write.
class ObjectTable {
 public:
  /// `component` opens the messages: "tier.disk".
  explicit ObjectTable(std::string component) : component_(std::move(component)) {}

  ObjectId add(Bytes bytes, std::string_view name);
  /// Stripes of the range, to be read. Throws InternalError for a range that breaks the rules of store.h or holds bytes
  /// never written or being written, IoError where the last write failed.
  [[nodiscard]] std::vector<StripeUse> begin_read(ObjectId object, Bytes offset, Bytes length) const;
  /// Stripes of the range; they are "being written" until end_write or fail_write. Throws InternalError, and changes
  /// nothing, where one already is.
  std::vector<StripeUse> begin_write(ObjectId object, Bytes offset, Bytes length);
  void end_write(ObjectId object, std::span<const StripeUse> stripes);
  void fail_write(ObjectId object, std::span<const StripeUse> stripes);
  [[nodiscard]] std::uint64_t checksum_of(ObjectId object) const;
  /// "object 'name' at offset N", for messages.
  [[nodiscard]] std::string describe(ObjectId object, Bytes offset) const;
  /// FormatError unless `found` is what the table holds for this use; `folder` (where it lies, if anywhere) joins the
  /// message.
  void verify(ObjectId object, const StripeUse& stripe, std::uint64_t found, std::string_view folder = {}) const;

 private:
  enum class Content : std::uint8_t { NeverWritten, BeingWritten, Written, Lost };
  struct Stripe {
    std::uint64_t checksum = 0;  // of what was written
    Content content = Content::NeverWritten;
  };
  struct Object {
    std::string name;
    Bytes bytes = 0;
    std::vector<Stripe> stripes;
  };
  const Object& find(ObjectId object) const;
  Object& find(ObjectId object);
  static std::vector<StripeUse> cut(const Object& object, Bytes offset, Bytes length);

  std::string component_;
  mutable std::mutex mutex_;
  std::deque<Object> objects_;
};

/// Throws InternalError unless address and length of a buffer are multiples of kStoreAlignment.
void check_buffer(const void* data, std::size_t length);

}  // namespace sluice::tier
