// Written by hand because this layer depends on no JSON library and the shape is flat.
#include "plan/trace_json.h"

#include <algorithm>
#include <array>

#include "base/formatted.h"
#include "plan/describe.h"
#include "plan/simulator.h"

namespace sluice::plan {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += formatted("\\u%04x", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Trace events count in microseconds; nanoseconds are kept.
std::string microseconds(Seconds seconds) { return formatted("%.3f", seconds * 1e6); }

class TraceWriter {
 public:
  TraceWriter(const Plan& plan, const StepTrace* trace) : plan_(plan), trace_(trace) {}

  void add_timeline(int process, const NamedTimeline& named, Seconds origin) {
    add_names(process, named);
    const auto curves = occupancy(plan_, static_cast<int>(named.timeline.tier_peak.size()));
    for (const Span& span : named.timeline.spans) {
      if (span.action < 0 || span.action >= static_cast<std::int32_t>(plan_.actions.size())) continue;
      add_span(process, span, origin);
      // Other lanes run ahead of the list; the compute lane keeps its order.
      if (plan_.actions[span.action].lane == Lane::Compute) add_counters(process, span, origin, curves);
    }
  }

  std::string finish() && { return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + std::move(events_) + "\n]}\n"; }

 private:
  void add_names(int process, const NamedTimeline& named) {
    const auto metadata = [&](const char* what, int thread, const std::string& text) {
      add("{\"ph\":\"M\",\"name\":\"" + std::string(what) + "\"" + ids(process, thread) +
          ",\"args\":{\"name\":" + quoted(text) + "}}");
    };
    metadata("process_name", 0, named.name);
    std::array<bool, kNumLanes> used{};
    for (const Action& action : plan_.actions) used[static_cast<std::size_t>(action.lane)] = true;
    for (int lane = 0; lane < kNumLanes; ++lane) {
      if (used[lane]) metadata("thread_name", lane, name(static_cast<Lane>(lane)));
    }
  }

  void add_span(int process, const Span& span, Seconds origin) {
    const Action& action = plan_.actions[span.action];
    add("{\"ph\":\"X\",\"name\":" + quoted(describe_action(plan_, action, trace_)) + ",\"cat\":\"" + name(action.kind) +
        "\"" + ids(process, static_cast<int>(action.lane)) + ",\"ts\":" + microseconds(span.start - origin) +
        ",\"dur\":" + microseconds(span.end - span.start) + ",\"args\":{\"action\":" + std::to_string(span.action) +
        ",\"bytes\":" + std::to_string(action.bytes) + ",\"workspace\":" + std::to_string(action.workspace) + "}}");
  }

  void add_counters(int process, const Span& span, Seconds origin, const std::vector<std::vector<Bytes>>& curves) {
    for (std::size_t tier = 0; tier < curves.size(); ++tier) {
      add("{\"ph\":\"C\",\"name\":\"tier " + std::to_string(tier) + " bytes\"" + ids(process, 0) +
          ",\"ts\":" + microseconds(span.start - origin) +
          ",\"args\":{\"bytes\":" + std::to_string(curves[tier][span.action]) + "}}");
    }
  }

  static std::string ids(int process, int thread) {
    return ",\"pid\":" + std::to_string(process) + ",\"tid\":" + std::to_string(thread);
  }

  void add(const std::string& event) {
    if (!events_.empty()) events_ += ",\n";
    events_ += event;
  }

  const Plan& plan_;
  const StepTrace* trace_;
  std::string events_;
};

}  // namespace

std::string chrome_trace(const Plan& plan, std::span<const NamedTimeline> timelines, const StepTrace* trace) {
  Seconds origin = 0;
  for (const NamedTimeline& named : timelines) {
    for (const Span& span : named.timeline.spans) origin = std::min(origin, span.start);
  }
  TraceWriter writer(plan, trace);
  for (std::size_t i = 0; i < timelines.size(); ++i) writer.add_timeline(static_cast<int>(i), timelines[i], origin);
  return std::move(writer).finish();
}

}  // namespace sluice::plan
