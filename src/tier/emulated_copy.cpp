#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/fail_point.h"
#include "tier/copy_engine.h"

namespace sluice::tier {
namespace {

using Clock = std::chrono::steady_clock;

// Small against any buffer worth a copy, long against the grain of a sleep: 170 us at 6 GB/s.
constexpr Bytes kPiece = MiB;

class EmulatedCopyEngine final : public CopyEngine {
 public:
  explicit EmulatedCopyEngine(const CopyOptions& options) : rate_(options.rate) {}

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

}  // namespace

CopyEngine::~CopyEngine() = default;

std::unique_ptr<CopyEngine> make_emulated_copy_engine(const CopyOptions& options) {
  return std::make_unique<EmulatedCopyEngine>(options);
}

}  // namespace sluice::tier
