#include "train/stage_report.h"

#include <algorithm>

#include "base/formatted.h"

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;

std::string cell(const std::string& text, int width) { return formatted(" %*s", width, text.c_str()); }

double tokens_per_second(const StageRow& row) { return static_cast<double>(row.tokens_per_step) / row.step_seconds; }

std::string heading(const StageRow& first) {
  std::string text = "  stage";
  for (const auto& [tier, bytes] : first.planned) text += cell(plan::name(tier), 11);
  for (const char* what : {"weights", "gradients", "states"}) text += cell(what, 11);
  if (first.residuals > 0) text += cell("residuals", 11);
  text += cell("step", 12) + cell("tokens/s", 9);
  for (const char* what : {"sent", "busy", "exposed"}) text += cell(what, 11);
  return text + "\n";
}

std::string line(const StageRow& row) {
  std::string text = formatted("  %5d", row.sharding.stage);
  if (!row.fits)
    return text + "  does not fit: " + plan::name(row.short_tier) + " needs " + format_bytes(row.needed) + ", has " +
           format_bytes(row.available) + "\n";
  for (const auto& [tier, bytes] : row.planned) text += cell(format_bytes(bytes), 11);
  for (const Bytes bytes : {row.weights, row.gradients, row.states}) text += cell(format_bytes(bytes), 11);
  if (row.residuals > 0) text += cell(format_bytes(row.residuals), 11);
  text += cell(format_seconds(row.step_seconds), 12) + cell(formatted("%.4g", tokens_per_second(row)), 9);
  text += cell(format_bytes(row.exchanges.sent), 11) + cell(format_seconds(row.exchanges.busy), 11);
  return text + cell(format_seconds(row.exchanges.exposed), 11) + "\n";
}

}  // namespace

StageRow stage_row(const plan::Sharding& sharding, const plan::Machine& machine, const plan::PlanResult& result,
                   std::int64_t tokens_per_step) {
  StageRow row{.sharding = sharding, .fits = result.plans.has_value(), .tokens_per_step = tokens_per_step};
  if (!row.fits) {
    row.short_tier = result.short_tier < 0 ? machine.tiers.back().kind : machine.tiers[result.short_tier].kind;
    row.needed = result.needed;
    row.available = result.available;
    return row;
  }
  const plan::PlanSet& plans = *result.plans;
  for (std::size_t tier = 0; tier < machine.tiers.size(); ++tier)
    row.planned.emplace_back(machine.tiers[tier].kind, plans.arena_peak[tier]);
  row.weights = plan::most_alive(plans.train, plan::BufferKind::Weight);
  row.gradients = plan::most_alive(plans.train, plan::BufferKind::Gradient);
  row.states = plan::most_alive(plans.train, plan::BufferKind::Moment);
  row.residuals = plan::most_alive(plans.train, plan::BufferKind::Residual);
  row.elements = plan::state_elements(plans.train);
  row.step_seconds = plans.predicted.total;
  row.exchanges = plan::exchanges_of(plans.train, plans.predicted);
  return row;
}

std::string describe_ranks(const plan::Sharding& sharding, const plan::Network& network) {
  const int per_node = network.ranks_per_node > 0 ? network.ranks_per_node : sharding.num_ranks;
  const int nodes = (sharding.num_ranks + per_node - 1) / per_node;
  return std::to_string(sharding.num_ranks) + " (" + std::to_string(nodes) + (nodes == 1 ? " node x " : " nodes x ") +
         std::to_string(per_node) + "), ZeRO stage " + std::to_string(sharding.stage);
}

std::string stages_text(std::span<const StageRow> rows) {
  const auto widest = std::ranges::max_element(rows, {}, [](const StageRow& row) { return row.planned.size(); });
  std::string text = "each of " + std::to_string(rows.front().sharding.num_ranks) + " ranks, by ZeRO stage\n";
  text += heading(*widest);
  for (const StageRow& row : rows) text += line(row);
  return text;
}

Json elements_json(const plan::StateElements& elements) {
  return {{"weight", elements.weights}, {"gradient", elements.gradients}, {"updated", elements.updated}};
}

Json stages_json(std::span<const StageRow> rows) {
  Json json = Json::array();
  for (const StageRow& row : rows) {
    Json one = {{"zero_stage", row.sharding.stage}, {"fits", row.fits}};
    if (!row.fits) {
      one["short_tier"] = plan::name(row.short_tier);
      one["needed_bytes"] = row.needed;
      one["available_bytes"] = row.available;
      json.push_back(one);
      continue;
    }
    for (const auto& [tier, bytes] : row.planned) one["planned_bytes"][plan::name(tier)] = bytes;
    one["state_bytes"] = {{"weight", row.weights}, {"gradient", row.gradients}, {"moment", row.states}};
    if (row.residuals > 0) one["state_bytes"]["residual"] = row.residuals;
    one["state_elements"] = elements_json(row.elements);
    one["step_seconds"] = row.step_seconds;
    one["tokens_per_second"] = tokens_per_second(row);
    one["sent_bytes"] = row.exchanges.sent;
    one["communication_seconds"] = row.exchanges.busy;
    one["exposed_communication_seconds"] = row.exchanges.exposed;
    json.push_back(one);
  }
  return json;
}

}  // namespace sluice::train
