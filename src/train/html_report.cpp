#include "train/html_report.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/formatted.h"
#include "train/svg_charts.h"

namespace sluice::train {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--page:#fcfcfb;--text:#1c1c1a;--soft:#6b6b66;--line:#e2e2dd;--loss:#2563eb;--held:#d97706;
--forward:#3b82f6;--backward:#8b5cf6;--update:#10b981;--norm:#94a3b8;--fetch:#f59e0b;--write:#ef4444;--other:#64748b}
@media (prefers-color-scheme:dark){:root{--page:#161615;--text:#ecece8;--soft:#9c9c95;--line:#33332f;--loss:#60a5fa;
--held:#fbbf24;--forward:#60a5fa;--backward:#a78bfa;--update:#34d399;--norm:#64748b;--fetch:#fbbf24;--write:#f87171}}
body{background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.4rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{color:var(--soft);margin:.25rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}
th{font-weight:600;color:var(--soft)}
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}svg .strong{fill:var(--text);font-weight:600}
.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:var(--line)}
.forward{fill:var(--forward)}.backward{fill:var(--backward)}.update{fill:var(--update)}.norm{fill:var(--norm)}
.fetch{fill:var(--fetch)}.write{fill:var(--write)}.other{fill:var(--other)}
.figures{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.25rem 0 0}
.figures div{flex:1 1 9rem;border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}
.figures strong{display:block;font-size:1.25rem;font-weight:600}.figures span{color:var(--soft);font-size:.85rem}
.key span{margin-right:1rem;display:inline-block}
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}
summary{cursor:pointer;color:var(--soft)}
pre{overflow:auto;background:color-mix(in srgb,var(--text) 5%,transparent);padding:1rem;
border-radius:6px;font-size:12px}
)";

std::string percent(double predicted, double measured) {
  if (predicted <= 0 || measured <= 0) return "";
  return formatted("%+.1f %%", (measured / predicted - 1) * 100);
}

std::string row(std::initializer_list<std::string> cells, const char* cell = "td") {
  std::string html = "<tr>";
  for (const std::string& text : cells) html += std::string("<") + cell + ">" + escape_html(text) + "</" + cell + ">";
  return html + "</tr>\n";
}

std::string section(const std::string& title, const std::string& content) {
  return content.empty() ? "" : "<h2>" + escape_html(title) + "</h2>\n" + content + "\n";
}

std::string bytes_or_dash(Bytes bytes) { return bytes > 0 ? format_bytes(bytes) : "-"; }
std::string seconds_or_dash(Seconds seconds) { return seconds > 0 ? format_seconds(seconds) : "-"; }

std::string count_text(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return formatted("%.2f B", value * 1e-9);
  if (value >= 1e6) return formatted("%.1f M", value * 1e-6);
  return std::to_string(count);
}

// The folder or file alone: a report is shown to others, who do not have the path.
std::string model_name(const RunReport& report) {
  const std::filesystem::path path = report.model;
  const std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  return name.empty() ? "sluice" : name;
}

std::string heading(const RunReport& report) {
  std::string html = "<h1>" + escape_html(model_name(report)) + "</h1>\n<p>";
  html += count_text(report.num_parameters) + " parameters";
  if (!report.machine.empty()) html += " on " + escape_html(report.machine);
  html += ", " + std::to_string(report.steps.size()) + " steps, " + std::to_string(report.num_tokens) + " tokens in " +
          format_seconds(report.total_seconds);
  if (!report.version.empty()) html += ", sluice " + escape_html(report.version);
  return html + "</p>\n";
}

std::string figure(const std::string& value, const std::string& what) {
  return "<div><strong>" + escape_html(value) + "</strong><span>" + escape_html(what) + "</span></div>";
}

// What one looks for first.
std::string figures(const RunReport& report) {
  std::string html;
  if (!report.losses.empty())
    html += figure(formatted("%.4g", report.losses.back()),
                   formatted("training loss of the last step (first: %.4g)", report.losses.front()));
  if (!report.held_out.empty()) {
    const auto best = std::ranges::min_element(report.held_out, {}, [](const auto& point) { return point.second; });
    html += figure(formatted("%.4g", best->second), "best held-out loss, after step " + std::to_string(best->first));
  }
  if (report.total_seconds > 0)
    html += figure(formatted("%.3g", static_cast<double>(report.num_tokens) / report.total_seconds), "tokens/s");
  for (const MemoryRow& memory : report.memory) {
    if (memory.name == "process RAM" && memory.measured > 0)
      html += figure(format_bytes(memory.measured), "RAM at most, of " + bytes_or_dash(memory.budget));
  }
  if (report.disk_written > 0) html += figure(format_bytes(report.disk_written), "written to disk");
  return html.empty() ? html : "<div class=\"figures\">" + html + "</div>\n";
}

std::string key(std::initializer_list<std::pair<const char*, const char*>> entries) {
  std::string html = "<p class=\"key\">";
  for (const auto& [name, variable] : entries)
    html += std::string("<span><i style=\"background:var(--") + variable + ")\"></i>" + name + "</span>";
  return html + "</p>";
}

template <typename Value>
Curve curve(const char* name, const char* variable, const std::vector<std::int64_t>& steps,
            const std::vector<Value>& values) {
  Curve result{name, std::string("var(--") + variable + ")", {}};
  for (std::size_t i = 0; i < std::min(steps.size(), values.size()); ++i)
    result.points.emplace_back(steps[i], values[i]);
  return result;
}

std::string loss_section(const RunReport& report) {
  std::vector<Curve> curves = {curve("training", "loss", report.steps, report.losses)};
  if (!report.held_out.empty()) curves.push_back({"held out", "var(--held)", report.held_out});
  const std::string chart = line_chart(curves);
  if (chart.empty()) return {};
  return (report.held_out.empty() ? "" : key({{"training", "loss"}, {"held out", "held"}})) + chart;
}

std::string memory_section(const RunReport& report) {
  if (report.memory.empty()) return {};
  std::string html = "<table>" + row({"", "predicted", "measured", "difference", "budget"}, "th");
  for (const MemoryRow& memory : report.memory) {
    html += row({memory.name, bytes_or_dash(memory.predicted), bytes_or_dash(memory.measured),
                 percent(static_cast<double>(memory.predicted), static_cast<double>(memory.measured)),
                 bytes_or_dash(memory.budget)});
  }
  html += "</table>";
  const std::string parts = plan::describe_parts(report.at_peak);
  return parts.empty() ? html : html + "<p>Where the plan's arena is fullest: " + escape_html(parts) + ".</p>";
}

std::string time_section(const RunReport& report) {
  if (report.forecasts.empty()) return {};
  const StepFigures& measured = report.forecasts.back();
  std::string html =
      "<table>" + row({"a steady step", "time", "measured is", "compute", "stall", "disk read", "written"}, "th");
  html += row({"lower bound of the plan", seconds_or_dash(report.lower_bound),
               percent(report.lower_bound, measured.total), "", "", "", ""});
  for (const StepFigures& figures : report.forecasts) {
    html +=
        row({figures.name, seconds_or_dash(figures.total),
             &figures == &measured ? "" : percent(figures.total, measured.total), seconds_or_dash(figures.compute),
             seconds_or_dash(figures.stall), bytes_or_dash(figures.disk_read), bytes_or_dash(figures.disk_written)});
  }
  html += "</table>";
  return html + line_chart({curve("step seconds", "loss", report.steps, report.step_seconds)});
}

// The rank that waits least is the one that the others wait for.
std::string ranks_section(const RunReport& report) {
  if (report.rank_waits.empty()) return {};
  std::string html = "<table>" + row({"rank", "waits for others in a steady step"}, "th");
  for (std::size_t rank = 0; rank < report.rank_waits.size(); ++rank)
    html += row({std::to_string(rank), format_seconds(report.rank_waits[rank])});
  return html + "</table>";
}

std::string disk_section(const RunReport& report) {
  if (report.disk_read + report.disk_written == 0) return {};
  return "<p>The run read " + format_bytes(report.disk_read) + " and wrote " + format_bytes(report.disk_written) +
         ".</p>";
}

std::string lanes_section(const RunReport& report) {
  if (report.plan == nullptr) return {};
  const std::string chart = lane_chart(*report.plan, report.predicted, report.measured);
  if (chart.empty()) return {};
  return key({{"forward", "forward"},
              {"backward", "backward"},
              {"update", "update"},
              {"norm", "norm"},
              {"fetch", "fetch"},
              {"write back", "write"}}) +
         chart;
}

std::string settings_section(const RunReport& report) {
  if (report.settings_json.empty()) return {};
  const auto json = nlohmann::ordered_json::parse(report.settings_json, nullptr, false);
  const std::string text = json.is_discarded() ? report.settings_json : json.dump(2);
  return "<details><summary>as resolved, also in run.yaml</summary><pre>" + escape_html(text) + "</pre></details>";
}

}  // namespace

std::string html_report(const RunReport& report) {
  std::string html = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  html += "<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + escape_html(model_name(report)) +
          " - sluice</title>\n<style>" + kStyle + "</style></head><body>\n";
  html += heading(report) + figures(report);
  html += section("Loss", loss_section(report));
  html += section("Memory", memory_section(report));
  html += section("Step time", time_section(report));
  html += section("Ranks", ranks_section(report));
  html += section("Disk", disk_section(report));
  html += section("One step, lane by lane", lanes_section(report));
  html += section("Settings", settings_section(report));
  return html + "</body></html>\n";
}

}  // namespace sluice::train
