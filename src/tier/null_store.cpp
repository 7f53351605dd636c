#include "tier/null_store.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>

#include "base/check.h"
#include "base/file.h"
#include "tier/arena.h"
#include "tier/object_table.h"

namespace sluice::tier {
namespace {

struct NullObject {
  explicit NullObject(Bytes bytes) : memory(bytes) {}
  [[nodiscard]] std::byte* at(const StripeUse& use) const { return memory.data() + use.index * kStripeBytes; }
  Arena memory;
};

class NullStore final : public Store {
 public:
  explicit NullStore(Bytes capacity) : capacity_(capacity) {}

  [[nodiscard]] StoreInfo info() const override {
    const std::lock_guard lock(mutex_);
    return {.name = "null", .capacity = capacity_, .used = used_};
  }

  ObjectId reserve(Bytes bytes, std::string_view name) override {
    const std::lock_guard lock(mutex_);
    if (bytes > capacity_ - used_)
      throw CapacityError("tier.null", "reserve failed",
                          "asked " + format_bytes(bytes) + " for '" + std::string(name) + "', free " +
                              format_bytes(capacity_ - used_) + " of " + format_bytes(capacity_));
    const ObjectId object = table_.add(bytes, name);
    objects_.emplace_back(bytes);
    used_ += bytes;
    return object;
  }

  std::unique_ptr<Channel> open_channel() override;
  [[nodiscard]] Bytes bytes_read() const override { return bytes_read_.load(); }
  [[nodiscard]] Bytes bytes_written() const override { return bytes_written_.load(); }
  [[nodiscard]] std::uint64_t checksum_of(ObjectId object) const override { return table_.checksum_of(object); }

  void read(ObjectId object, Bytes offset, std::span<std::byte> destination) {
    check_buffer(destination.data(), destination.size());
    std::byte* into = destination.data();
    for (const StripeUse& use : table_.begin_read(object, offset, static_cast<Bytes>(destination.size()))) {
      const auto length = static_cast<std::size_t>(use.length);
      std::memcpy(into, find(object).at(use), length);
      table_.verify(object, use, checksum({into, length}));
      into += length;
    }
    bytes_read_ += static_cast<Bytes>(destination.size());
  }

  void write(ObjectId object, Bytes offset, std::span<const std::byte> source) {
    check_buffer(source.data(), source.size());
    const std::byte* from = source.data();
    auto stripes = table_.begin_write(object, offset, static_cast<Bytes>(source.size()));
    for (StripeUse& use : stripes) {
      const auto length = static_cast<std::size_t>(use.length);
      use.checksum = checksum({from, length});
      std::memcpy(find(object).at(use), from, length);
      from += length;
    }
    table_.end_write(object, stripes);
    bytes_written_ += static_cast<Bytes>(source.size());
  }

 private:
  const NullObject& find(ObjectId object) const {
    const std::lock_guard lock(mutex_);
    return objects_[static_cast<std::size_t>(object)];
  }

  ObjectTable table_{"tier.null"};
  mutable std::mutex mutex_;  // guards what follows, up to the counters
  Bytes capacity_ = 0;
  Bytes used_ = 0;
  std::deque<NullObject> objects_;
  std::atomic<Bytes> bytes_read_{0};
  std::atomic<Bytes> bytes_written_{0};
};

class NullChannel final : public Channel {
 public:
  explicit NullChannel(NullStore& store) : store_(store) {}
  void read(ObjectId object, Bytes offset, std::span<std::byte> destination) override {
    store_.read(object, offset, destination);
  }
  void write(ObjectId object, Bytes offset, std::span<const std::byte> source) override {
    store_.write(object, offset, source);
  }
  [[nodiscard]] std::string_view engine() const override { return "memory"; }

 private:
  NullStore& store_;
};

std::unique_ptr<Channel> NullStore::open_channel() { return std::make_unique<NullChannel>(*this); }

}  // namespace

std::unique_ptr<Store> make_null_store(Bytes capacity) { return std::make_unique<NullStore>(capacity); }

}  // namespace sluice::tier
