#include "train/plan_report.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <future>
#include <utility>

#include "base/formatted.h"
#include "plan/describe.h"
#include "plan/packed_ram.h"
#include "plan/sharding.h"

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr Bytes kUnlimited = Bytes{1} << 50;
constexpr std::size_t kQuickActions = 5000;  // plans of more actions take about a second each

// RAM that a budget counts beside tier 0's arena: on a GPU none, its budget is the arena itself.
Bytes beside_arena(const plan::Machine& machine) {
  return machine.tiers[0].kind == plan::TierKind::Host ? machine.process_overhead : 0;
}

BudgetRow budget_row(std::string label, Bytes budget, const plan::PlanSet& plans) {
  return {std::move(label), budget, plans.predicted.total, plans.predicted.disk_read, plans.predicted.disk_written};
}

struct LeastMemory {
  Bytes budget = 0, beside_packed = 0;
};

std::vector<BudgetRow> plan_budgets(const plan::StepTrace& trace, plan::Machine machine,
                                    const plan::PlanRequest& request, const LeastMemory& least) {
  const Bytes beside = beside_arena(machine);
  std::vector<BudgetRow> rows;
  machine.tiers[0].capacity = kUnlimited;
  const plan::PlanResult whole = plan::make_plan(trace, machine, request);
  const Bytes most = whole.plans ? beside + whole.plans->arena_peak[0] : kUnlimited;
  constexpr std::array<std::pair<const char*, double>, 5> kFactors = {
      {{"smallest", 1.0}, {"1.25 x", 1.25}, {"1.5 x", 1.5}, {"2 x", 2.0}, {"4 x", 4.0}}};
  for (const auto& [label, factor] : kFactors) {
    const auto budget = round_up(static_cast<Bytes>(static_cast<double>(least.budget) * factor), 4096);
    if (budget >= most) break;
    machine.tiers[0].capacity = budget - beside;
    plan::Machine of_budget = machine;
    const plan::PlanResult result = plan::make_plan_in_ram(trace, of_budget, request, least.beside_packed);
    if (result.plans) rows.push_back(budget_row(label, budget, *result.plans));
  }
  if (whole.plans) rows.push_back(budget_row("all in memory", most, *whole.plans));
  return rows;
}

/// The plan of one stage, and what it was made of.
struct StagePlan {
  plan::StepTrace trace;
  plan::Machine machine, planned_on;  // the latter may have a tier of packed weights besides
  plan::PlanRequest request;
  plan::PlanResult result;
};

StagePlan plan_stage(const PlanQuestion& question, int stage) {
  StagePlan answer{question.trace, question.machine, question.machine, question.request, {}};
  answer.request.recipe.sharding.stage = stage;
  plan::pad_for_shards(answer.trace, answer.request.recipe.sharding);
  answer.result = plan::make_plan_in_ram(answer.trace, answer.planned_on, answer.request, question.beside_packed);
  const plan::PlanResult& result = answer.result;
  const bool disk_short =
      !result.plans && answer.machine.tiers.size() > 1 &&
      (result.least_written_per_day || answer.machine.tiers[result.short_tier].kind == plan::TierKind::Disk);
  if (!disk_short || !question.may_drop_disk) return answer;
  plan::Machine without_disk = answer.machine;
  without_disk.tiers.pop_back();
  plan::Machine planned_on = without_disk;
  plan::PlanResult again = plan::make_plan_in_ram(answer.trace, planned_on, answer.request, question.beside_packed);
  if (again.plans) {
    answer.machine = std::move(without_disk);
    answer.planned_on = std::move(planned_on);
    answer.result = std::move(again);
  }
  return answer;
}

// What was asked for; where that does not fit, the fastest that does.
std::size_t chosen_stage(std::span<const StageRow> rows, int asked) {
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].sharding.stage == asked) chosen = i;
  if (rows[chosen].fits) return chosen;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].fits && (!rows[chosen].fits || rows[i].step_seconds < rows[chosen].step_seconds)) chosen = i;
  return chosen;
}

// 0 for a tier that the machine does not have.
Bytes planned_peak(const PlanForecast& forecast, plan::TierKind kind) {
  const int tier = forecast.machine.tier_index(kind);
  return tier < 0 ? 0 : forecast.result.plans->arena_peak[tier];
}

[[gnu::format(printf, 2, 3)]] void add_line(std::string& text, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  text += vformatted(format, arguments);
  va_end(arguments);
  text += '\n';
}

void add_row(std::string& text, const char* what, const std::string& value) {
  add_line(text, "  %-22s %s", what, value.c_str());
}

std::string rounded(double value) { return formatted(value >= 100 ? "%.0f" : "%.3g", value); }

std::vector<Bytes> capacities(const plan::Machine& machine) {
  std::vector<Bytes> bytes;
  for (const plan::Tier& tier : machine.tiers) bytes.push_back(tier.capacity);
  return bytes;
}

void add_memory(std::string& text, const PlanForecast& forecast) {
  const plan::PlanSet* plans = forecast.result.plans ? &*forecast.result.plans : nullptr;
  text += forecast.stages.size() > 1 ? "memory at stage " + std::to_string(forecast.sharding.stage) + "\n" : "memory\n";
  add_line(text, "  %-22s %14s %14s", "", "planned", "available");
  for (std::size_t tier = 0; tier < forecast.machine.tiers.size(); ++tier) {
    const Bytes capacity = forecast.machine.tiers[tier].capacity;
    const bool is_short = static_cast<int>(tier) == forecast.result.short_tier;
    const std::string planned = plans != nullptr ? format_bytes(plans->arena_peak[tier])
                                : is_short       ? format_bytes(forecast.result.needed) + " !"
                                                 : "?";
    add_line(text, "  %-22s %14s %14s", plan::name(forecast.machine.tiers[tier].kind), planned.c_str(),
             format_bytes(capacity).c_str());
  }
  if (plans != nullptr) {
    const auto all = [&](plan::BufferKind kind) { return format_bytes(plan::most_alive(plans->train, kind)); };
    std::string parts = "weights " + all(plan::BufferKind::Weight) + ", gradients " + all(plan::BufferKind::Gradient) +
                        ", optimizer states " + all(plan::BufferKind::Moment);
    if (plan::most_alive(plans->train, plan::BufferKind::Residual) > 0)
      parts += ", residuals " + all(plan::BufferKind::Residual);
    add_row(text, "over all tiers", parts);
  }
  const int host = forecast.machine.tier_index(plan::TierKind::Host);
  if (plans != nullptr && host >= 0) {
    const Bytes overhead = forecast.machine.process_overhead;
    add_line(text, "  %-22s %14s %14s  (%s of it the program itself)", "process RAM",
             format_bytes(forecast.machine.process_ram(plans->arena_peak)).c_str(),
             format_bytes(forecast.machine.process_ram(capacities(forecast.machine))).c_str(),
             format_bytes(overhead).c_str());
  }
  const bool device = forecast.machine.tiers[0].kind == plan::TierKind::Device;
  add_row(text, "smallest that works",
          format_bytes(forecast.smallest_budget) + (device ? " of device memory" : " (--host-memory)"));
}

void add_step(std::string& text, const PlanForecast& forecast, const recipe::Settings& settings) {
  const plan::PlanSet& plans = *forecast.result.plans;
  const plan::Timeline& step = plans.predicted;
  text += "step\n";
  add_row(text, "time",
          format_seconds(step.total) + ", " + rounded(static_cast<double>(forecast.tokens_per_step) / step.total) +
              " tokens/s");
  const double gap = plans.bound > 0 ? (step.total / plans.bound - 1) * 100 : 0;
  add_row(text, "lower bound", format_seconds(plans.bound) + " (the plan is " + formatted("%.1f", gap) + " % above)");
  if (forecast.sharding.is_parallel()) {
    const plan::Exchanges exchanges = plan::exchanges_of(plans.train, step);
    add_row(text, "sent by each rank",
            format_bytes(exchanges.sent) + " in " + format_seconds(exchanges.busy) + ", " +
                format_seconds(exchanges.exposed) + " of it while nothing computes");
  }
  add_row(text, "compute, stall", format_seconds(step.compute) + ", " + format_seconds(step.stall));
  add_row(text, "activations", plan::describe_activations(forecast.activations, forecast.machine.tiers[0].kind));
  add_row(text, "order", plan::describe_order(plans.train));
  add_row(text, "fullest moment", plan::describe_parts(plan::parts_at_peak(plans.train, 0)));
  if (forecast.machine.tier_index(plan::TierKind::Disk) < 0) return;
  add_row(text, "disk read, written", format_bytes(step.disk_read) + ", " + format_bytes(step.disk_written));
  std::string wear = format_bytes(step.written_per_day()) + " a day";
  if (settings.disk_write_limit) {
    wear += step.written_per_day() > *settings.disk_write_limit ? ", above" : ", within";
    wear += " --disk-write-limit " + format_bytes(*settings.disk_write_limit);
  }
  add_row(text, "disk wear", wear);
}

void add_budgets(std::string& text, const PlanForecast& forecast) {
  if (forecast.budgets.empty()) return;
  text += "other budgets\n";
  add_line(text, "  %-16s %14s %12s %12s %14s %14s", "", "memory", "tokens/s", "step", "disk read", "written");
  for (const BudgetRow& row : forecast.budgets) {
    add_line(text, "  %-16s %14s %12s %12s %14s %14s", row.label.c_str(), format_bytes(row.budget).c_str(),
             rounded(static_cast<double>(forecast.tokens_per_step) / row.step_seconds).c_str(),
             format_seconds(row.step_seconds).c_str(), format_bytes(row.disk_read).c_str(),
             format_bytes(row.disk_written).c_str());
  }
}

void add_plan(Json& json, const PlanForecast& forecast) {
  const plan::PlanSet& plans = *forecast.result.plans;
  const plan::Timeline& step = plans.predicted;
  json["device_peak_bytes"] = planned_peak(forecast, plan::TierKind::Device);
  json["host_peak_bytes"] = planned_peak(forecast, plan::TierKind::Host);
  json["rss_bytes"] = forecast.machine.process_ram(plans.arena_peak);
  json["disk_peak_bytes"] = planned_peak(forecast, plan::TierKind::Disk);
  json["at_peak_bytes"] = parts_json(plan::parts_at_peak(plans.train, 0));
  json["state_bytes"] = state_json(plans.train);
  json["state_elements"] = elements_json(plan::state_elements(plans.train));
  json["step_seconds"] = step.total;
  json["tokens_per_second"] = static_cast<double>(forecast.tokens_per_step) / step.total;
  json["lower_bound_seconds"] = plans.bound;
  json["compute_seconds"] = step.compute;
  json["stall_seconds"] = step.stall;
  json["disk_read_bytes"] = step.disk_read;
  json["disk_write_bytes"] = step.disk_written;
  json["disk_write_bytes_per_day"] = step.written_per_day();
  json["activations"] = activations_json(forecast.activations);
  json["micro_batch_group"] = plans.train.group_size;
  json["boundary_stride"] = plans.train.boundary_stride;
  json["loss_in_segments"] = plans.train.loss_in_segments;
  json["actions"] = plans.train.actions.size();
}

}  // namespace

Json activations_json(const plan::ActivationSummary& summary) {
  return {{"held", summary.held},
          {"spilled", summary.spilled},
          {"in_part", summary.in_part},
          {"recomputed", summary.recomputed},
          {"spilled_bytes", summary.spilled_bytes}};
}

Json parts_json(const plan::MemoryParts& parts) {
  Json json = Json::object();
  for (const auto& [kind, bytes] : parts.buffers) json[plan::name(kind)] = bytes;
  json["workspace"] = parts.workspace;
  return json;
}

Json state_json(const plan::Plan& train) {
  Json json;
  for (const plan::BufferKind kind : {plan::BufferKind::Weight, plan::BufferKind::Gradient, plan::BufferKind::Moment})
    json[plan::name(kind)] = plan::most_alive(train, kind);
  if (const Bytes residuals = plan::most_alive(train, plan::BufferKind::Residual); residuals > 0)
    json[plan::name(plan::BufferKind::Residual)] = residuals;
  return json;
}

PlanForecast make_forecast(const PlanQuestion& question, std::span<const int> stages) {
  const plan::Sharding asked = question.request.recipe.sharding;
  std::vector<std::future<StagePlan>> answers;
  for (const int stage : stages.empty() ? std::span(&asked.stage, 1) : stages)
    answers.push_back(std::async(std::launch::async, plan_stage, std::cref(question), stage));
  std::vector<StagePlan> made;
  for (std::future<StagePlan>& answer : answers) made.push_back(answer.get());
  std::vector<StageRow> rows;
  const plan::PlanRequest& request = question.request;
  const std::int64_t tokens =
      question.trace.tokens_per_micro_batch * request.recipe.num_micro_batches * asked.num_ranks;
  for (const StagePlan& answer : made)
    rows.push_back(stage_row(answer.request.recipe.sharding, answer.planned_on, answer.result, tokens));
  StagePlan& chosen = made[chosen_stage(rows, asked.stage)];
  PlanForecast forecast{.model = question.model,
                        .machine = chosen.planned_on,
                        .num_parameters = question.trace.num_parameters(),
                        .num_trained = question.trace.num_trained(),
                        .largest_trained = question.trace.largest_trained(),
                        .sharding = chosen.request.recipe.sharding,
                        .tokens_per_step = tokens,
                        .activations = {},
                        .result = std::move(chosen.result),
                        .budgets = {},
                        .stages = asked.is_parallel() ? std::move(rows) : std::vector<StageRow>()};
  const LeastMemory least{beside_arena(chosen.machine) + plan::smallest_in_ram(chosen.trace, chosen.machine,
                                                                               chosen.request, question.beside_packed),
                          question.beside_packed};
  forecast.smallest_budget = least.budget;
  if (!forecast.result.plans) return forecast;
  const plan::Plan& train = forecast.result.plans->train;
  forecast.activations = plan::summarize_activations(train, chosen.trace);
  if (train.actions.size() <= kQuickActions)
    forecast.budgets = plan_budgets(chosen.trace, chosen.machine, chosen.request, least);
  return forecast;
}

std::string to_text(const PlanForecast& forecast, const recipe::Settings& settings) {
  std::string text;
  const bool part = forecast.num_trained < forecast.num_parameters;
  add_row(text, "model",
          forecast.model + ", " + std::to_string(forecast.num_parameters) + " parameters" +
              (part ? ", " + std::to_string(forecast.num_trained) + " of them trained" : ""));
  add_row(text, "machine", forecast.machine.name + ", " + std::to_string(forecast.machine.num_threads) + " threads");
  const bool many = forecast.sharding.is_parallel();
  if (many) add_row(text, "ranks", describe_ranks(forecast.sharding, forecast.machine.network));
  add_row(text, "a step",
          std::to_string(forecast.tokens_per_step) +
              " tokens: " + (many ? std::to_string(forecast.sharding.num_ranks) + " ranks x " : "") +
              std::to_string(settings.grad_accumulation) + " x " + std::to_string(settings.micro_batch_size) + " x " +
              std::to_string(settings.seq_len) + ", " + settings.optimizer +
              (settings.base_optimizer.empty() ? "" : ", base " + settings.base_optimizer));
  if (forecast.stages.size() > 1) text += stages_text(forecast.stages);
  add_memory(text, forecast);
  if (!forecast.result.plans) {
    const auto& least = forecast.result.least_written_per_day;
    text += least ? "every plan writes at least " + format_bytes(*least) + " a day\n" : "does not fit\n";
    return text;
  }
  add_step(text, forecast, settings);
  add_budgets(text, forecast);
  return text;
}

Json to_json(const PlanForecast& forecast, const recipe::Settings& settings) {
  Json json = {{"model", forecast.model},
               {"parameters", forecast.num_parameters},
               {"trained_parameters", forecast.num_trained},
               {"largest_trained_tensor", forecast.largest_trained},
               {"machine", forecast.machine.name},
               {"threads", forecast.machine.num_threads},
               {"seq_len", settings.seq_len},
               {"micro_batch_size", settings.micro_batch_size},
               {"grad_accumulation", settings.grad_accumulation},
               {"optimizer", settings.optimizer},
               {"base_optimizer", settings.base_optimizer},
               {"tokens_per_step", forecast.tokens_per_step},
               {"process_overhead_bytes", forecast.machine.process_overhead},
               {"smallest_budget_bytes", forecast.smallest_budget},
               {"fits", forecast.result.plans.has_value()}};
  if (forecast.sharding.is_parallel()) {
    const int per_node = forecast.machine.network.ranks_per_node;
    json["ranks"] = {{"count", forecast.sharding.num_ranks},
                     {"per_node", per_node > 0 ? per_node : forecast.sharding.num_ranks},
                     {"zero_stage", forecast.sharding.stage}};
    json["stages"] = stages_json(forecast.stages);
  }
  for (std::size_t tier = 0; tier < forecast.machine.tiers.size(); ++tier) {
    Json row = {{"kind", plan::name(forecast.machine.tiers[tier].kind)},
                {"capacity_bytes", forecast.machine.tiers[tier].capacity}};
    if (forecast.result.plans) row["planned_bytes"] = forecast.result.plans->arena_peak[tier];
    json["tiers"].push_back(row);
  }
  if (forecast.result.least_written_per_day) {
    json["disk_write_bytes_per_day"] = *forecast.result.least_written_per_day;
    return json;
  }
  if (!forecast.result.plans) {
    json["short_tier"] = plan::name(forecast.machine.tiers[forecast.result.short_tier].kind);
    json["needed_bytes"] = forecast.result.needed;
    json["available_bytes"] = forecast.result.available;
    return json;
  }
  add_plan(json, forecast);
  json["budgets"] = Json::array();
  for (const BudgetRow& row : forecast.budgets) {
    json["budgets"].push_back({{"label", row.label},
                               {"budget_bytes", row.budget},
                               {"step_seconds", row.step_seconds},
                               {"tokens_per_second", static_cast<double>(forecast.tokens_per_step) / row.step_seconds},
                               {"disk_read_bytes", row.disk_read},
                               {"disk_write_bytes", row.disk_written}});
  }
  return json;
}

}  // namespace sluice::train
