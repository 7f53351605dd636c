#include "train/svg_charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/formatted.h"
#include "plan/describe.h"

namespace sluice::train {
namespace {

constexpr double kWidth = 960, kLeft = 96, kRight = 12;
constexpr double kPlotWidth = kWidth - kLeft - kRight;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  [[nodiscard]] bool empty() const { return low > high; }
  [[nodiscard]] double share(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};

// 1, 2 or 5 times a power of ten, so that about `count` of them fill `width`.
double tick_step(double width, int count) {
  const double raw = std::max(width / count, 1e-12);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

// Means of equal shares of the points: what a screen can show.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<std::int64_t, double>>& points) {
  constexpr std::size_t kMost = 800;
  std::vector<std::pair<double, double>> result;
  const std::size_t group = (points.size() + kMost - 1) / kMost;
  for (std::size_t first = 0; first < points.size(); first += group) {
    const std::size_t end = std::min(points.size(), first + group);
    double step = 0, value = 0;
    for (std::size_t i = first; i < end; ++i) {
      step += static_cast<double>(points[i].first);
      value += points[i].second;
    }
    const auto count = static_cast<double>(end - first);
    result.emplace_back(step / count, value / count);
  }
  return result;
}

/// Where a curve's values go on the page.
struct Axes {
  Range x, y;
  double height = 260, top = 12, bottom = 30;
  [[nodiscard]] double px(double value) const { return kLeft + x.share(value) * kPlotWidth; }
  [[nodiscard]] double py(double value) const { return height - bottom - y.share(value) * (height - top - bottom); }
};

// From tick to tick, so that no point lies on the edge. Gives the distance of ticks.
double widen_to_ticks(Range& range, int count) {
  const double step = tick_step(std::max(range.high - range.low, 1e-3 * std::abs(range.high)), count);
  range.include(std::floor(range.low / step) * step);
  range.include(std::ceil(range.high / step) * step);
  return step;
}

void add_axes(std::string& svg, const Axes& axes, double y_step) {
  for (double y = axes.y.low; y <= axes.y.high + y_step / 2; y += y_step) {
    svg += formatted("<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft, kWidth - kRight,
                     axes.py(y), axes.py(y));
    svg += formatted("<text class=\"end\" x=\"%.1f\" y=\"%.1f\">%.4g</text>", kLeft - 6, axes.py(y) + 4, y);
  }
  const double x_step = std::max(1.0, tick_step(axes.x.high - axes.x.low, 8));
  for (double x = std::ceil(axes.x.low / x_step) * x_step; x <= axes.x.high; x += x_step)
    svg += formatted("<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%.0f</text>", axes.px(x), axes.height - 10, x);
  svg += formatted("<text class=\"end\" x=\"%.1f\" y=\"%.1f\">step</text>", kLeft - 6, axes.height - 10);
}

void add_curve(std::string& svg, const Axes& axes, const Curve& curve) {
  std::string path;
  bool pen_down = false;
  const auto points = thinned(curve.points);
  for (const auto& [step, value] : points) {
    if (std::isfinite(value)) path += formatted("%s%.1f %.1f", pen_down ? "L" : "M", axes.px(step), axes.py(value));
    pen_down = std::isfinite(value);
  }
  svg += formatted("<path fill=\"none\" stroke-width=\"1.5\" stroke=\"%s\" d=\"", curve.colour.c_str());
  svg += path + "\"/>";
  if (points.size() > 60) return;
  for (const auto& [step, value] : points) {
    if (std::isfinite(value))
      svg += formatted("<circle r=\"2.5\" fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\"/>", curve.colour.c_str(), axes.px(step),
                       axes.py(value));
  }
}

struct Box {
  double start, end;
  plan::ActionKind kind;
  std::int32_t action;
  int count;
};

// What would be narrower than a fraction of a pixel joins its neighbour of the same kind.
std::vector<Box> boxes_of(const plan::Plan& plan, const plan::Timeline& timeline, plan::Lane lane, double pixel) {
  std::vector<Box> boxes;
  for (const plan::Span& span : timeline.spans) {
    if (span.action < 0 || span.action >= static_cast<std::int32_t>(plan.actions.size())) continue;
    const plan::Action& action = plan.actions[span.action];
    if (action.lane != lane || !(span.end > span.start)) continue;
    const bool joins = !boxes.empty() && boxes.back().kind == action.kind &&
                       span.start - boxes.back().end < pixel / 2 &&
                       (span.end - span.start < pixel || boxes.back().end - boxes.back().start < pixel);
    if (joins) {
      boxes.back().end = std::max(boxes.back().end, span.end);
      ++boxes.back().count;
    } else {
      boxes.push_back({span.start, span.end, action.kind, span.action, 1});
    }
  }
  return boxes;
}

constexpr double kLaneHeight = 20, kLaneGap = 4;

void add_lane(std::string& svg, const plan::Plan& plan, const std::vector<Box>& boxes, const Range& time, double y) {
  for (const Box& box : boxes) {
    const double left = kLeft + time.share(box.start) * kPlotWidth;
    const double width = std::max(0.2, time.share(box.end) * kPlotWidth - time.share(box.start) * kPlotWidth);
    svg += formatted("<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\">", colour_class(box.kind),
                     left, y, width, kLaneHeight);
    const std::string name = box.count == 1 ? plan::describe_action(plan, plan.actions[box.action])
                                            : std::to_string(box.count) + " x " + plan::name(box.kind);
    svg += formatted("<title>%s, %s</title></rect>", escape_html(name).c_str(),
                     format_seconds(box.end - box.start).c_str());
  }
}

double add_group(std::string& svg, const plan::Plan& plan, const plan::Timeline& timeline, const char* title,
                 const Range& time, double y) {
  if (timeline.spans.empty()) return y;
  svg += formatted("<text class=\"strong\" x=\"4\" y=\"%.1f\">%s: %s</text>", y + 12, title,
                   format_seconds(timeline.total).c_str());
  y += 20;
  for (int lane = 0; lane < plan::kNumLanes; ++lane) {
    const auto which = static_cast<plan::Lane>(lane);
    const auto boxes = boxes_of(plan, timeline, which, (time.high - time.low) / kPlotWidth);
    if (boxes.empty()) continue;
    svg += formatted("<text class=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>", kLeft - 6, y + 14, plan::name(which));
    add_lane(svg, plan, boxes, time, y);
    y += kLaneHeight + kLaneGap;
  }
  return y + 8;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

const char* colour_class(plan::ActionKind kind) {
  switch (kind) {
    case plan::ActionKind::Forward:
      return "forward";
    case plan::ActionKind::Backward:
      return "backward";
    case plan::ActionKind::Update:
      return "update";
    case plan::ActionKind::ReduceNorm:
      return "norm";
    case plan::ActionKind::Fetch:
      return "fetch";
    case plan::ActionKind::WriteBack:
      return "write";
    default:
      return "other";
  }
}

std::string line_chart(const std::vector<Curve>& curves) {
  Axes axes;
  for (const Curve& curve : curves) {
    for (const auto& [step, value] : curve.points) {
      axes.x.include(static_cast<double>(step));
      if (std::isfinite(value)) axes.y.include(value);
    }
  }
  if (axes.y.empty()) return {};
  std::string svg;
  svg += formatted("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">", kWidth, axes.height);
  add_axes(svg, axes, widen_to_ticks(axes.y, 5));
  for (const Curve& curve : curves) add_curve(svg, axes, curve);
  return svg + "</svg>";
}

std::string lane_chart(const plan::Plan& plan, const plan::Timeline& predicted, const plan::Timeline& measured) {
  Range time;
  for (const plan::Timeline* timeline : {&predicted, &measured}) {
    for (const plan::Span& span : timeline->spans) {
      if (!std::isfinite(span.start) || !std::isfinite(span.end)) continue;
      time.include(span.start);
      time.include(span.end);
    }
  }
  if (time.empty()) return {};
  std::string body;
  double height = add_group(body, plan, predicted, "predicted", time, 4);
  height = add_group(body, plan, measured, "measured", time, height);
  const double step = tick_step(time.high - time.low, 8);
  for (double t = std::ceil(time.low / step) * step; t <= time.high; t += step)
    body += formatted("<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%.4g s</text>", kLeft + time.share(t) * kPlotWidth,
                      height + 8, t);
  std::string svg;
  svg += formatted("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">", kWidth, height + 14);
  return svg + body + "</svg>";
}

}  // namespace sluice::train
