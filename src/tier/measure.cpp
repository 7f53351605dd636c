#include "tier/measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "base/check.h"
#include "tier/arena.h"
#include "tier/disk_store.h"

namespace sluice::tier {
namespace {

constexpr Bytes kPiece = 8 * MiB;  // one read or write: what a lane asks for at a time

Seconds now() { return std::chrono::duration<Seconds>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

BytesPerSecond rate_of(Bytes bytes, const std::function<void()>& work) {
  const Seconds begin = now();
  work();
  return static_cast<BytesPerSecond>(bytes) / std::max(now() - begin, 1e-9);
}

// Not zeros: some devices and file systems make nothing of those.
void fill(Arena& buffer) {
  std::uint64_t state = 0x9E3779B97F4A7C15ULL;
  for (Bytes at = 0; at + 8 <= buffer.capacity(); at += 8) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    std::memcpy(buffer.data() + at, &state, sizeof state);
  }
}

// One object with a line of transfer and a buffer of its own.
struct Line {
  Line(Store& store, Bytes size)
      : bytes(size), buffer(kPiece), channel(store.open_channel()), object(store.reserve(size, 1, "measurement")) {
    fill(buffer);
  }
  void write() {
    for (Bytes at = 0; at < bytes; at += kPiece) channel->write(object, at, piece(at));
  }
  void read() {
    for (Bytes at = 0; at < bytes; at += kPiece) channel->read(object, at, piece(at));
  }
  std::span<std::byte> piece(Bytes at) {
    return {buffer.data(), static_cast<std::size_t>(std::min(kPiece, bytes - at))};
  }
  Bytes bytes;
  Arena buffer;
  std::unique_ptr<Channel> channel;
  ObjectId object;
};

}  // namespace

DiskRates measure_disk(const std::filesystem::path& folder, Bytes bytes) {
  SLUICE_CHECK(bytes >= kPiece, "measure_disk of ", bytes, " bytes");
  bytes = bytes / kStoreAlignment * kStoreAlignment;
  const auto store = make_disk_store({.folders = {folder}});
  Line first(*store, bytes);
  Line second(*store, bytes);
  DiskRates rates;
  rates.engine = first.channel->engine();
  // The extents are fresh, which costs a file system more than rewriting them: both are written once before timing.
  first.write();
  second.write();
  rates.write = rate_of(bytes, [&] { first.write(); });
  rates.read = rate_of(bytes, [&] { first.read(); });
  std::exception_ptr failed;
  std::thread reader([&] {
    try {
      rates.mixed_read = rate_of(bytes, [&] { first.read(); });
    } catch (...) {
      failed = std::current_exception();
    }
  });
  try {
    rates.mixed_write = rate_of(bytes, [&] { second.write(); });
  } catch (...) {
    reader.join();
    throw;
  }
  reader.join();
  if (failed) std::rethrow_exception(failed);
  return rates;
}

BytesPerSecond measure_memory_copy(int num_threads, Bytes bytes) {
  num_threads = std::max(1, num_threads);
  const auto share = static_cast<std::size_t>(std::max<Bytes>(bytes / num_threads, kStoreAlignment));
  const auto total = share * static_cast<std::size_t>(num_threads);
  Arena source(static_cast<Bytes>(total));
  Arena target(static_cast<Bytes>(total));
  const auto copy_all = [&] {
    std::vector<std::jthread> threads;
    for (int i = 0; i < num_threads; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) * share;
      threads.emplace_back([&, at] { std::memcpy(target.data() + at, source.data() + at, share); });
    }
  };
  fill(source);
  copy_all();  // faults the pages in
  constexpr int kRepeats = 3;
  BytesPerSecond best = 0;
  for (int i = 0; i < kRepeats; ++i) best = std::max(best, rate_of(static_cast<Bytes>(total), copy_all));
  return best;
}

}  // namespace sluice::tier
