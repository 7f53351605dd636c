#include "collective/flight_recorder.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace sluice::collective {
namespace {

std::string_view type_name(ElementType type) {
  switch (type) {
    case ElementType::Fp32:
      return "fp32";
    case ElementType::Bf16:
      return "bf16";
    case ElementType::Fp16:
      return "fp16";
    case ElementType::Int64:
      return "int64";
    case ElementType::Byte:
      return "bytes";
  }
  return "";
}

}  // namespace

std::uint64_t FlightRecorder::begin(const Record& record) {
  const std::lock_guard lock(mutex_);
  entries_[num_begun_ % kKept] = {.record = record, .begun = Clock::now(), .finished = {}, .is_finished = false};
  return num_begun_++;
}

void FlightRecorder::finish(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  // So many operations of other threads may have begun meanwhile that this one is no longer kept.
  if (num_begun_ - ticket > kKept) return;
  entries_[ticket % kKept].finished = Clock::now();
  entries_[ticket % kKept].is_finished = true;
}

std::string FlightRecorder::text() const {
  const std::lock_guard lock(mutex_);
  const std::uint64_t num_kept = std::min<std::uint64_t>(num_begun_, kKept);
  std::ostringstream out;
  out << "[collective] rank " << rank_ << ": the last " << num_kept << " of " << num_begun_
      << " operations, newest last" << std::fixed << std::setprecision(3);
  const Clock::time_point now = Clock::now();
  for (std::uint64_t i = num_begun_ - num_kept; i < num_begun_; ++i) {
    const Entry& entry = entries_[i % kKept];
    const Record& record = entry.record;
    out << "\n  " << operation_name(record.operation) << " number " << record.sequence << " of group " << record.context
        << " (" << record.group_size << " ranks), " << record.count << ' ' << type_name(record.type);
    if (record.peer >= 0) out << ", rank " << record.peer;
    const std::chrono::duration<double> taken = (entry.is_finished ? entry.finished : now) - entry.begun;
    out << (entry.is_finished ? ": done in " : ": NOT DONE after ") << taken.count() << " s";
  }
  return out.str();
}

}  // namespace sluice::collective
