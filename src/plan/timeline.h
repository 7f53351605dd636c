// When each action ran: predicted by the simulator, measured by the executor, compared by the report.
#pragma once
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace sluice::plan {

struct Span {
  std::int32_t action = -1;  ///< index into Plan::actions
  Seconds start = 0, end = 0;
};

/// One period. Spans in order of their start; times relative to the period's start.
struct Timeline {
  std::vector<Span> spans;
  Seconds total = 0;             ///< until the last compute action ended
  Seconds compute = 0;           ///< the compute lane was busy
  Seconds stall = 0;             ///< the compute lane waited for another lane
  std::vector<Bytes> tier_peak;  ///< per tier, highest byte in use
  Bytes disk_read = 0, disk_written = 0;
  /// What a day of such periods writes to the disk.
  [[nodiscard]] Bytes written_per_day() const {
    return total > 0 ? static_cast<Bytes>(static_cast<double>(disk_written) / total * 86400.0) : 0;
  }
};

}  // namespace sluice::plan
