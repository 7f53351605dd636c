// The line a person watches: a bar on a terminal, one plain line per step otherwise.
#pragma once
#include <cstdint>
#include <string>

#include "base/units.h"

namespace sluice::train {

struct StepReport {
  std::int64_t step = 0, max_steps = 0;
  double loss = 0, grad_norm = 0, lr = 0, tokens_per_second = 0;
  Bytes resident = 0, arena = 0, disk_read = 0, disk_written = 0;  ///< the last two of this step
  Seconds step_seconds = 0, left = 0;
  bool skipped = false;
};

class Progress {
 public:
  Progress();
  ~Progress();
  void step(const StepReport& report);
  /// A line of its own, above the bar.
  void note(const std::string& text);

 private:
  void clear_bar();
  bool terminal_;
  bool bar_shown_ = false;
};

}  // namespace sluice::train
