#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>

#include "base/error.h"
#include "base/fail_point.h"
#include "tier/arena.h"
#include "tier/device.h"

namespace sluice::tier {
namespace {

using Clock = std::chrono::steady_clock;

// Small against any buffer worth a copy, long against the grain of a sleep: 170 us at 6 GB/s.
constexpr Bytes kPiece = MiB;

class EmulatedCopyEngine final : public CopyEngine {
 public:
  explicit EmulatedCopyEngine(BytesPerSecond rate) : rate_(rate) {}

  // Each piece is due a fixed time after the start, so one that comes late is made up for by those after it.
  void copy(std::byte* destination, const std::byte* source, Bytes bytes) override {
    if (fail_point("device.copy") > 0)
      throw IoError("tier.device", "copy failed", format_bytes(bytes) + " between host and emulated device");
    const auto start = Clock::now();
    for (Bytes done = 0; done < bytes;) {
      const Bytes count = std::min(kPiece, bytes - done);
      std::memcpy(destination + done, source + done, static_cast<std::size_t>(count));
      done += count;
      if (rate_ <= 0) continue;
      const std::chrono::duration<double> due(static_cast<double>(done) / rate_);
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(due));
    }
  }

 private:
  const BytesPerSecond rate_;
};

class EmulatedMemory final : public DeviceMemory {
 public:
  explicit EmulatedMemory(Bytes bytes) : arena_(bytes) { arena_.touch(bytes); }
  [[nodiscard]] std::byte* data() const override { return arena_.data(); }

 private:
  Arena arena_;
};

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(const DeviceOptions& options) : options_(options) {}
  [[nodiscard]] std::string torch_name() const override { return "cpu"; }
  [[nodiscard]] Bytes capacity() const override {
    return options_.memory > 0 ? options_.memory : std::numeric_limits<Bytes>::max();
  }
  std::unique_ptr<DeviceMemory> reserve(Bytes bytes) override { return std::make_unique<EmulatedMemory>(bytes); }
  std::unique_ptr<CopyEngine> open_line() override { return std::make_unique<EmulatedCopyEngine>(options_.rate); }

 private:
  const DeviceOptions options_;
};

}  // namespace

CopyEngine::~CopyEngine() = default;
DeviceMemory::~DeviceMemory() = default;
PageLock::~PageLock() = default;
Device::~Device() = default;

std::unique_ptr<Device> make_emulated_device(const DeviceOptions& options) {
  return std::make_unique<EmulatedDevice>(options);
}

}  // namespace sluice::tier
