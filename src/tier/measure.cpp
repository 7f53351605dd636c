#include "tier/measure.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <span>
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
      : bytes(size), buffer(kPiece), channel(store.open_channel()), object(store.reserve(size, "measurement")) {
    fill(buffer);
  }
  void write(Bytes at) { channel->write(object, at, piece(at)); }
  void read(Bytes at) { channel->read(object, at, piece(at)); }
  std::span<std::byte> piece(Bytes at) {
    return {buffer.data(), static_cast<std::size_t>(std::min(kPiece, bytes - at))};
  }
  Bytes bytes;
  Arena buffer;
  std::unique_ptr<Channel> channel;
  ObjectId object;
};

using Transfer = void (Line::*)(Bytes at);

struct Job {
  Line* line;
  Transfer transfer;
  BytesPerSecond rate = 0;  // result
};

// Each job moves its line's bytes from front to back and goes on from the front until all have done so: every rate is
// one beside all others. Meanwhile `beside` runs here; returns how often it did per second.
double run_together(std::span<Job> jobs, const std::function<void()>& beside) {
  std::atomic<std::size_t> behind = jobs.size();
  std::vector<std::exception_ptr> failed(jobs.size());
  const auto play = [&](std::size_t index) {
    Job& job = jobs[index];
    const Seconds begin = now();
    Bytes moved = 0, at = 0;
    bool through = false;
    const auto pass = [&] {
      if (!through) --behind;
      through = true;
    };
    try {
      while (behind > 0) {
        (job.line->*job.transfer)(at);
        moved += static_cast<Bytes>(job.line->piece(at).size());
        at = at + kPiece < job.line->bytes ? at + kPiece : 0;
        if (at == 0) pass();
      }
    } catch (...) {
      failed[index] = std::current_exception();
    }
    pass();
    job.rate = static_cast<BytesPerSecond>(moved) / std::max(now() - begin, 1e-9);
  };
  const Seconds begin = now();
  double calls = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < jobs.size(); ++i) threads.emplace_back(play, i);
    for (; beside && behind > 0; ++calls) beside();
  }
  const Seconds seconds = now() - begin;
  for (const std::exception_ptr& error : failed) {
    if (error) std::rethrow_exception(error);
  }
  return calls / std::max(seconds, 1e-9);
}

// What remains of a transfer's time when its bytes are taken off: from transfers of two sizes.
Seconds transfer_latency(Line& line) {
  constexpr Bytes kSmall = kStripeBytes;
  constexpr int kTransfers = 24;
  const auto seconds_of = [&](Bytes bytes) {
    std::vector<Seconds> seconds;
    for (int i = 0; i < kTransfers; ++i) {
      const Bytes at = i * kPiece % line.bytes;
      const Seconds begin = now();
      line.channel->read(line.object, at, line.piece(at).first(static_cast<std::size_t>(bytes)));
      seconds.push_back(now() - begin);
    }
    std::ranges::nth_element(seconds, seconds.begin() + kTransfers / 2);
    return seconds[kTransfers / 2];
  };
  if (line.bytes % kPiece != 0) return 0;
  constexpr double kRatio = static_cast<double>(kPiece / kSmall);
  return std::max(0.0, (kRatio * seconds_of(kSmall) - seconds_of(kPiece)) / (kRatio - 1));
}

}  // namespace

DiskRates measure_disk(const std::filesystem::path& folder, Bytes bytes, const std::function<void()>& beside) {
  SLUICE_CHECK(bytes >= kPiece, "measure_disk of ", bytes, " bytes");
  bytes = bytes / kStoreAlignment * kStoreAlignment;
  const auto store = make_disk_store({.folders = {folder}});
  Line first(*store, bytes);
  Line second(*store, bytes);
  DiskRates rates;
  rates.engine = first.channel->engine();
  // The extents are fresh, which costs a file system more than rewriting them: both are written once before timing.
  for (Line* line : {&first, &second}) {
    for (Bytes at = 0; at < bytes; at += kPiece) line->write(at);
  }
  std::array<Job, 2> jobs = {{{&first, &Line::write}, {&second, &Line::read}}};
  rates.beside_write = run_together(std::span(jobs).first(1), beside);
  rates.write = jobs[0].rate;
  rates.beside_read = run_together(std::span(jobs).last(1), beside);
  rates.read = jobs[1].rate;
  rates.beside_both = run_together(jobs, beside);
  rates.mixed_write = jobs[0].rate;
  rates.mixed_read = jobs[1].rate;
  if (!beside) rates.latency = transfer_latency(first);
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
