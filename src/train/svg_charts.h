// The report's drawings as SVG text: lines over steps, and lanes over time. Colours are CSS variables of the page.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/plan.h"
#include "plan/timeline.h"

namespace sluice::train {

/// Points (step, value), ascending; values that are not finite leave a gap.
struct Curve {
  std::string name;
  std::string colour;  ///< a CSS colour
  std::vector<std::pair<std::int64_t, double>> points;
};

/// Curves over steps with axes; long ones are thinned to what can be seen. Empty when there is no point.
[[nodiscard]] std::string line_chart(const std::vector<Curve>& curves);

/// Predicted lanes above measured lanes on one time axis. Either may be empty.
[[nodiscard]] std::string lane_chart(const plan::Plan& plan, const plan::Timeline& predicted,
                                     const plan::Timeline& measured);

/// `text` with &, <, >, " and ' as entities.
[[nodiscard]] std::string escape_html(std::string_view text);

/// The CSS class that colours actions of `kind` in the lane chart.
[[nodiscard]] const char* colour_class(plan::ActionKind kind);

}  // namespace sluice::train
