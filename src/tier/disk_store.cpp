#include "tier/disk_store.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "tier/io_engine.h"
#include "tier/object_table.h"
#include "tier/spill_space.h"
#include "tier/watchdog.h"

namespace sluice::tier {
namespace {

constexpr std::string_view kComponent = "tier.disk";
constexpr int kMaxQueueDepth = 4096;

class DiskStore final : public Store {
 public:
  explicit DiskStore(const DiskOptions& options)
      : options_(options),
        space_(options.folders, options.capacity > 0 ? 100 : 95),
        capacity_(options.capacity > 0 ? options.capacity : space_.room()) {}

  [[nodiscard]] StoreInfo info() const override {
    const std::lock_guard lock(mutex_);
    return {.name = "disk", .capacity = capacity_, .used = used_};
  }
  ObjectId reserve(Bytes bytes, std::string_view name) override;
  std::unique_ptr<Channel> open_channel() override;
  [[nodiscard]] Bytes bytes_read() const override { return bytes_read_.load(); }
  [[nodiscard]] Bytes bytes_written() const override { return bytes_written_.load(); }
  [[nodiscard]] std::uint64_t checksum_of(ObjectId object) const override { return table_.checksum_of(object); }

  ObjectTable& table() { return table_; }
  [[nodiscard]] const SpillFile& file(const StripePlace& place) const {
    return space_.file(static_cast<std::size_t>(place.file));
  }
  [[nodiscard]] std::vector<StripePlace> places(ObjectId object, std::span<const StripeUse> stripes) const;
  void count(Direction direction, Bytes bytes) {
    (direction == Direction::Read ? bytes_read_ : bytes_written_) += bytes;
  }
  Watchdog& watchdog() { return watchdog_; }

 private:
  DiskOptions options_;
  ObjectTable table_{std::string(kComponent)};
  mutable std::mutex mutex_;  // guards what follows, up to the counters
  SpillSpace space_;          // its files do not change after the constructor and are used without the lock
  Bytes capacity_ = 0;
  Bytes used_ = 0;
  std::deque<std::vector<StripePlace>> places_;  // by object
  std::atomic<Bytes> bytes_read_{0};
  std::atomic<Bytes> bytes_written_{0};
  Watchdog watchdog_{options_.patience};
};

ObjectId DiskStore::reserve(Bytes bytes, std::string_view name) {
  SLUICE_CHECK(bytes > 0 && bytes % kStoreAlignment == 0, "object '", name, "' of ", bytes, " bytes");
  const std::lock_guard lock(mutex_);
  const std::string asked = "asked " + format_bytes(bytes) + " for '" + std::string(name) + "', free ";
  if (bytes > capacity_ - used_)
    throw CapacityError(kComponent, "reserve failed",
                        asked + format_bytes(capacity_ - used_) + " of " + format_bytes(capacity_),
                        "raise --disk-memory or name another folder with --spill-dir");
  auto places = space_.place(bytes);
  if (!places)
    throw CapacityError(kComponent, "reserve failed: disk full", asked + space_.describe_free(),
                        "free space there or name another folder with --spill-dir");
  const ObjectId object = table_.add(bytes, name);
  places_.push_back(std::move(*places));
  used_ += bytes;
  return object;
}

std::vector<StripePlace> DiskStore::places(ObjectId object, std::span<const StripeUse> stripes) const {
  const std::lock_guard lock(mutex_);
  const std::vector<StripePlace>& all = places_[static_cast<std::size_t>(object)];
  std::vector<StripePlace> found;
  found.reserve(stripes.size());
  for (const StripeUse& use : stripes) found.push_back(all[static_cast<std::size_t>(use.index)]);
  return found;
}

class DiskChannel final : public Channel {
 public:
  DiskChannel(DiskStore& store, std::unique_ptr<IoEngine> engine) : store_(store), engine_(std::move(engine)) {}

  void read(ObjectId object, Bytes offset, std::span<std::byte> destination) override {
    check_buffer(destination.data(), destination.size());
    const auto stripes = store_.table().begin_read(object, offset, static_cast<Bytes>(destination.size()));
    std::vector<std::uint64_t> found(stripes.size());
    TransferHooks hooks{.before = [](std::size_t) {},
                        .after = [&](std::size_t i) { found[i] = checksum_at(destination, stripes, i); }};
    const auto places = move(Direction::Read, object, stripes, destination.data(), hooks);
    for (std::size_t i = 0; i < stripes.size(); ++i)
      store_.table().verify(object, stripes[i], found[i], store_.file(places[i]).folder().native());
  }

  void write(ObjectId object, Bytes offset, std::span<const std::byte> source) override {
    check_buffer(source.data(), source.size());
    auto stripes = store_.table().begin_write(object, offset, static_cast<Bytes>(source.size()));
    TransferHooks hooks{.before = [&](std::size_t i) { stripes[i].checksum = checksum_at(source, stripes, i); },
                        .after = [](std::size_t) {}};
    try {
      // The engine only reads from these bytes.
      move(Direction::Write, object, stripes, const_cast<std::byte*>(source.data()), hooks);
    } catch (...) {
      store_.table().fail_write(object, stripes);
      throw;
    }
    store_.table().end_write(object, stripes);
  }

  bool register_memory(std::span<std::byte> memory) override { return engine_->register_memory(memory); }
  [[nodiscard]] std::string_view engine() const override { return engine_->name(); }

 private:
  // The range starts on a stripe, so stripe i of it starts i stripes into the buffer.
  static std::uint64_t checksum_at(std::span<const std::byte> buffer, std::span<const StripeUse> stripes,
                                   std::size_t i) {
    return checksum(
        buffer.subspan(i * static_cast<std::size_t>(kStripeBytes), static_cast<std::size_t>(stripes[i].length)));
  }

  // Gives where the stripes lie.
  std::vector<StripePlace> move(Direction direction, ObjectId object, std::span<const StripeUse> stripes,
                                std::byte* data, const TransferHooks& hooks) {
    auto places = store_.places(object, stripes);
    std::vector<Transfer> transfers;
    transfers.reserve(stripes.size());
    Bytes total = 0;
    for (std::size_t i = 0; i < stripes.size(); ++i) {
      transfers.push_back({.fd = store_.file(places[i]).fd(),
                           .file_offset = places[i].offset,
                           .data = data + static_cast<Bytes>(i) * kStripeBytes,
                           .length = stripes[i].length});
      total += stripes[i].length;
    }
    if (const auto failure = run_watched(direction, object, stripes, places, transfers, hooks))
      fail(direction, store_.table().describe(object, stripes[failure->transfer].index * kStripeBytes),
           store_.file(places[failure->transfer]).folder(), *failure);
    for (std::size_t i = 0; i < stripes.size(); ++i) {
      const SpillFile& file = store_.file(places[i]);
      if (!file.direct()) file.forget(places[i].offset, stripes[i].length);
    }
    store_.count(direction, total);
    return places;
  }

  std::optional<TransferFailure> run_watched(Direction direction, ObjectId object, std::span<const StripeUse> stripes,
                                             std::span<const StripePlace> places, std::span<const Transfer> transfers,
                                             const TransferHooks& hooks) {
    std::vector<std::atomic<bool>> done(stripes.size());
    const TransferHooks noting{.before = hooks.before, .after = [&](std::size_t i) {
                                 hooks.after(i);
                                 done[i] = true;
                               }};
    const auto watch = store_.watchdog().watch([&] {
      std::size_t first = 0;
      while (first + 1 < stripes.size() && done[first]) ++first;
      return std::string(direction == Direction::Read ? "reading " : "writing ") +
             store_.table().describe(object, stripes[first].index * kStripeBytes) + ", file offset " +
             std::to_string(places[first].offset) + " in " + store_.file(places[first]).folder().string() + ",";
    });
    return engine_->run(direction, transfers, noting);
  }

  [[noreturn]] static void fail(Direction direction, const std::string& what, const std::filesystem::path& folder,
                                const TransferFailure& failure) {
    const int error = failure.error_number;
    const bool full = error == ENOSPC || error == EDQUOT;
    throw IoError(kComponent, direction == Direction::Read ? "read failed" : "write failed",
                  what + ", file offset " + std::to_string(failure.file_offset) + " in " + folder.string() + ": " +
                      (error == 0 ? "the file ended or would not take more bytes"
                                  : std::string(std::strerror(error)) + " (errno " + std::to_string(error) + ")"),
                  full ? "free space there or name another folder with --spill-dir"
                       : "check the disk (kernel log) and resume from a checkpoint");
  }

  DiskStore& store_;
  std::unique_ptr<IoEngine> engine_;
};

std::unique_ptr<Channel> DiskStore::open_channel() {
  const EngineOptions engine_options{.queue_depth = options_.queue_depth, .request_bytes = options_.request_bytes};
  std::unique_ptr<IoEngine> engine;
  if (options_.engine != DiskOptions::Engine::Threads) {
    engine = make_uring_engine(engine_options);
    if (!engine && options_.engine == DiskOptions::Engine::IoUring)
      log_warning("io_uring is not available to this process: the disk tier uses threads instead");
  }
  if (!engine) engine = make_thread_engine(engine_options);
  return std::make_unique<DiskChannel>(*this, std::move(engine));
}

}  // namespace

std::unique_ptr<Store> make_disk_store(const DiskOptions& options) {
  if (options.capacity < 0 || options.queue_depth < 1 || options.queue_depth > kMaxQueueDepth ||
      options.request_bytes < kStoreAlignment || options.request_bytes > kStripeBytes ||
      options.request_bytes % kStoreAlignment != 0)
    throw ConfigError(
        kComponent, "options out of range",
        "expected capacity >= 0, queue depth 1 to 4096, requests of 4 KiB to 1 MiB in steps of 4 KiB, got " +
            std::to_string(options.capacity) + ", " + std::to_string(options.queue_depth) + ", " +
            std::to_string(options.request_bytes));
  return std::make_unique<DiskStore>(options);
}

}  // namespace sluice::tier
