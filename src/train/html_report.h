// OUTPUT/report.html: one page that stands alone (inline SVG and CSS, no script, light and dark) for a finished run.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "plan/memory_parts.h"
#include "plan/plan.h"
#include "plan/timeline.h"

namespace sluice::train {

/// A peak as it was planned and as it was.
struct MemoryRow {
  std::string name;  ///< "host arena", "process RAM", "disk"
  Bytes predicted = 0, measured = 0;
  Bytes budget = 0;  ///< 0: none
};

/// One step as it was forecast or measured.
struct StepFigures {
  std::string name;  ///< "machine file", "after the first steps", "measured"
  Seconds total = 0, compute = 0, stall = 0;
  Bytes disk_read = 0, disk_written = 0;
};

/// What the page shows. Empty vectors and zeros leave their part out.
struct RunReport {
  std::string model, machine, version;
  std::int64_t num_parameters = 0;
  std::int64_t num_tokens = 0;  ///< of the run
  Seconds total_seconds = 0;    ///< of all steps

  std::vector<std::int64_t> steps;                        ///< ascending
  std::vector<double> losses;                             ///< per entry of `steps`
  std::vector<Seconds> step_seconds;                      ///< per entry of `steps`
  std::vector<std::pair<std::int64_t, double>> held_out;  ///< step and held-out loss

  std::vector<MemoryRow> memory;
  plan::MemoryParts at_peak;  ///< of the arena where block math runs
  Seconds lower_bound = 0;
  std::vector<StepFigures> forecasts;     ///< a steady step, in the order in which they were made; measured last
  std::vector<Seconds> rank_waits;        ///< of several: how long each waits for others in a steady step
  Bytes disk_read = 0, disk_written = 0;  ///< of the whole run

  const plan::Plan* plan = nullptr;    ///< what the timelines' actions index; not owned
  plan::Timeline predicted, measured;  ///< one train period each
  std::string settings_json;
};

/// The whole page as HTML.
[[nodiscard]] std::string html_report(const RunReport& report);

}  // namespace sluice::train
