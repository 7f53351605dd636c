#include "train/run_records.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/formatted.h"
#include "base/log.h"
#include "plan/describe.h"
#include "plan/exposed.h"
#include "plan/memory_parts.h"
#include "plan/refine.h"
#include "plan/trace_json.h"
#include "tier/limits.h"
#include "train/plan_report.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "0.1.0"
#endif

namespace sluice::train {
namespace {

using Json = nlohmann::ordered_json;
using plan::TierKind;

template <typename Value>
Value median(std::vector<Value> values) {
  if (values.empty()) return {};
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// The first step pays for first touches of files and kernels, and may have nothing to update.
template <typename Value>
Value steady(const std::vector<Value>& values) {
  return values.size() < 2 ? median(values) : median(std::vector<Value>(values.begin() + 1, values.end()));
}

StepFigures figures(const char* name, const plan::Timeline& timeline) {
  return {name, timeline.total, timeline.compute, timeline.stall, timeline.disk_read, timeline.disk_written};
}

Json exchanges_json(const plan::Plan& plan, const plan::Timeline& timeline) {
  const plan::Exchanges exchanges = plan::exchanges_of(plan, timeline);
  Json json = {{"ranks", plan.sharding.num_ranks},
               {"zero_stage", plan.sharding.stage},
               {"sent_bytes", exchanges.sent},
               {"communication_seconds", exchanges.busy},
               {"exposed_communication_seconds", exchanges.exposed},
               {"agreement_seconds", exchanges.agreeing}};
  if (!plan.sharding.is_grouped()) return json;
  json["zero_shard_size"] = plan.sharding.group_size;
  json["sent_across_groups_bytes"] = plan::bytes_sent(plan, plan::Among::Replicas);
  return json;
}

Json plan_json(const Session& session) {
  const plan::PlanSet& plans = session.plans;
  Json json = {{"device_peak_bytes", session.planned(TierKind::Device)},
               {"host_peak_bytes", session.planned(TierKind::Host)},
               {"packed_peak_bytes", session.planned(TierKind::Packed)},
               {"rss_bytes", session.planned_process()},
               {"disk_peak_bytes", session.planned(TierKind::Disk)},
               {"step_seconds", plans.predicted.total},
               {"lower_bound_seconds", plans.bound},
               {"disk_read_bytes", plans.predicted.disk_read},
               {"disk_write_bytes", plans.predicted.disk_written},
               {"disk_write_bytes_per_day", plans.predicted.written_per_day()},
               {"activations", activations_json(plan::summarize_activations(plans.train, session.trace))},
               {"micro_batch_group", plans.train.group_size},
               {"boundary_stride", plans.train.boundary_stride},
               {"loss_in_segments", plans.train.loss_in_segments},
               {"actions", plans.train.actions.size()}};
  if (session.ranks->are_many()) json["exchanges"] = exchanges_json(plans.train, plans.predicted);
  return json;
}

Json forecasts_json(const std::vector<StepFigures>& rows) {
  Json json = Json::array();
  for (const StepFigures& row : rows) {
    json.push_back({{"name", row.name},
                    {"step_seconds", row.total},
                    {"compute_seconds", row.compute},
                    {"stall_seconds", row.stall},
                    {"disk_read_bytes", row.disk_read},
                    {"disk_write_bytes", row.disk_written}});
  }
  return json;
}

}  // namespace

std::string plan_summary(const Session& session) {
  const plan::PlanSet& plans = session.plans;
  const std::int64_t all = session.trace.num_parameters(), trained = session.trace.num_trained();
  std::string text = "plan: " + std::to_string(all) + " parameters" +
                     (trained < all ? ", " + std::to_string(trained) + " of them trained" : "") + "; process " +
                     format_bytes(session.planned_process()) + " of " + format_bytes(session.budget.all()) +
                     " (arena " + format_bytes(session.planned(TierKind::Host));
  if (session.budget.device > 0) text += ", emulated device " + format_bytes(session.planned(TierKind::Device));
  if (session.machine.tier_index(TierKind::Packed) >= 0)
    text += ", packed " + format_bytes(session.planned(TierKind::Packed));
  text += ")";
  if (session.machine.tier_index(TierKind::Disk) >= 0) {
    text += "; disk " + format_bytes(session.planned(TierKind::Disk)) + ", " + format_bytes(plans.predicted.disk_read) +
            " read and " + format_bytes(plans.predicted.disk_written) + " written a step (" +
            format_bytes(plans.predicted.written_per_day()) + " a day)";
  }
  text += "; activations: " + plan::describe_activations(plan::summarize_activations(plans.train, session.trace),
                                                         session.machine.tiers[0].kind);
  text += "; " + plan::describe_order(plans.train);
  if (session.ranks->are_many()) {
    const plan::Sharding& sharding = plans.train.sharding;
    text += "; one of " + std::to_string(sharding.num_ranks) + " ranks, ZeRO stage " + std::to_string(sharding.stage) +
            ", each sends " + format_bytes(plan::bytes_sent(plans.train)) + " a step";
    if (sharding.is_grouped()) {
      text += ", " + format_bytes(plan::bytes_sent(plans.train, plan::Among::Replicas)) +
              " of it out of its group of " + std::to_string(sharding.group_size);
    }
  }
  return text + "; step " + format_seconds(plans.predicted.total) + " (bound " + format_seconds(plans.bound) + ")";
}

RunRecords::RunRecords(Session& session, MetricsFile& metrics) : session_(session), metrics_(metrics) {}

Seconds RunRecords::steady_step_seconds() const { return steady(step_seconds_); }

void RunRecords::start(std::int64_t first_step, std::int64_t max_steps) {
  metrics_.write({{"event", "start"},
                  {"version", SLUICE_VERSION},
                  {"model", session_.settings.model},
                  {"parameters", session_.trace.num_parameters()},
                  {"trained_parameters", session_.trace.num_trained()},
                  {"machine", session_.machine.name},
                  {"threads", session_.machine.num_threads},
                  {"first_step", first_step},
                  {"max_steps", max_steps},
                  {"config", Json::parse(recipe::to_json(session_.settings))},
                  {"plan", plan_json(session_)}});
}

Bytes RunRecords::arena_peak(TierKind kind) const {
  const int tier = session_.machine.tier_index(kind);
  return tier < 0 ? 0 : session_.executor->arena_peak(tier);
}

void RunRecords::step(std::int64_t step, std::int64_t max_steps, const StepOutcome& outcome) {
  const tier::ProcessMemory process = tier::read_process_memory();
  const Bytes read = has_disk() ? session_.store->bytes_read() : 0;
  const Bytes written = has_disk() ? session_.store->bytes_written() : 0;
  const double tokens_per_second = static_cast<double>(outcome.tokens) / outcome.seconds;
  Json line = {{"event", "step"},
               {"step", step},
               {"loss", outcome.loss},
               {"grad_norm", outcome.grad_norm},
               {"lr", outcome.lr},
               {"tokens", outcome.tokens},
               {"target_tokens", outcome.target_tokens},
               {"step_seconds", outcome.seconds},
               {"tokens_per_second", tokens_per_second},
               {"host_peak_bytes", arena_peak(TierKind::Host)},
               {"device_peak_bytes", arena_peak(TierKind::Device)},
               {"rss_bytes", process.peak_resident},
               {"disk_read_bytes", read - disk_read_},
               {"disk_write_bytes", written - disk_written_},
               {"compute_seconds", outcome.compute},
               {"stall_seconds", outcome.stall},
               {"cpu_seconds", outcome.cpu},
               {"minor_faults", outcome.minor_faults},
               {"skipped", outcome.skipped}};
  measured_ = session_.executor->timeline();
  if (!has_disk()) measured_.disk_read = measured_.disk_written = 0;
  if (session_.ranks->are_many()) {
    line.update(exchanges_json(session_.plans.train, measured_));
    line["sent_bytes"] = outcome.sent;
    if (line.contains("sent_across_groups_bytes")) line["sent_across_groups_bytes"] = outcome.sent_across_groups;
    line["rank_wait_seconds"] = outcome.rank_waits;
    rank_waits_.push_back(outcome.rank_waits);
  }
  if (session_.settings.loss_scale) line["loss_scale"] = outcome.loss_scale;
  if (outcome.skipped) line["not_finite"] = outcome.not_finite;
  metrics_.write(line);
  steps_.push_back(step);
  losses_.push_back(outcome.loss);
  step_seconds_.push_back(outcome.seconds);
  compute_seconds_.push_back(outcome.compute);
  stall_seconds_.push_back(outcome.stall);
  step_read_.push_back(read - disk_read_);
  step_written_.push_back(written - disk_written_);
  total_ += outcome.seconds;
  tokens_ += outcome.tokens;
  progress_.step({.step = step,
                  .max_steps = max_steps,
                  .loss = outcome.loss,
                  .grad_norm = outcome.grad_norm,
                  .lr = outcome.lr,
                  .tokens_per_second = tokens_per_second,
                  .resident = process.resident,
                  .arena = arena_peak(TierKind::Host),
                  .disk_read = read - disk_read_,
                  .disk_written = written - disk_written_,
                  .step_seconds = outcome.seconds,
                  .left = steady_step_seconds() * static_cast<double>(max_steps - step),
                  .skipped = outcome.skipped});
  if (outcome.skipped) {
    std::string text = "step " + std::to_string(step) + " skipped: its " + outcome.not_finite + " is not finite";
    if (session_.settings.loss_scale) text += formatted(", with a loss scale of %.10g", outcome.loss_scale);
    note(text);
  }
  disk_read_ = read;
  disk_written_ = written;
  learn(static_cast<std::int64_t>(steps_.size()), max_steps);
}

// From the second step (the first is of its own kind) or from the only one.
void RunRecords::learn(std::int64_t steps_here, std::int64_t max_steps) {
  if (steps_here > 2) return;
  refined_ = plan::refine(session_.plans.train, session_.machine, measured_);
  if (steps_here < 2) return;
  const std::int64_t left = max_steps - steps_.back();
  note("forecast of a step: " + format_seconds(session_.plans.predicted.total) + ", now " +
       format_seconds(refined_.total) +
       (left > 0 ? "; " + format_seconds(refined_.total * static_cast<double>(left)) + " left" : ""));
}

std::vector<StepFigures> RunRecords::forecasts() const {
  std::vector<StepFigures> rows = {figures("machine file", session_.plans.predicted)};
  if (!steps_.empty()) {
    rows.push_back(figures("after the first steps", refined_));
    rows.push_back({"measured", steady(step_seconds_), steady(compute_seconds_), steady(stall_seconds_),
                    steady(step_read_), steady(step_written_)});
  }
  return rows;
}

std::vector<Seconds> RunRecords::steady_rank_waits() const {
  std::vector<Seconds> waits;
  for (std::size_t rank = 0; !rank_waits_.empty() && rank < rank_waits_.front().size(); ++rank) {
    std::vector<Seconds> of_rank;
    for (const std::vector<Seconds>& step : rank_waits_) of_rank.push_back(step[rank]);
    waits.push_back(steady(of_rank));
  }
  return waits;
}

RunReport RunRecords::report() const {
  const plan::PlanSet& plans = session_.plans;
  const tier::ProcessMemory process = tier::read_process_memory();
  RunReport report;
  report.model = session_.settings.model;
  report.machine = session_.machine.name;
  report.version = SLUICE_VERSION;
  report.num_parameters = session_.trace.num_parameters();
  report.num_tokens = tokens_;
  report.total_seconds = total_;
  report.steps = steps_;
  report.losses = losses_;
  report.step_seconds = step_seconds_;
  report.held_out = held_out_;
  if (const int device = session_.machine.tier_index(TierKind::Device); device >= 0)
    report.memory.push_back({"device arena", plans.arena_peak[device], arena_peak(TierKind::Device),
                             session_.machine.tiers[device].capacity});
  report.memory.push_back(
      {"host arena", session_.planned(TierKind::Host), arena_peak(TierKind::Host), session_.budget.arena()});
  report.memory.push_back({"process RAM", session_.planned_process(), process.peak_resident, session_.budget.all()});
  report.at_peak = plan::parts_at_peak(plans.train, 0);
  if (session_.store)
    report.memory.push_back({has_disk() ? "disk" : "packed weights", plans.arena_peak.back(),
                             session_.store->info().used, session_.store->info().capacity});
  report.lower_bound = plans.bound;
  report.forecasts = forecasts();
  report.rank_waits = steady_rank_waits();
  report.disk_read = disk_read_;
  report.disk_written = disk_written_;
  report.plan = &plans.train;
  report.predicted = plans.predicted;
  report.measured = measured_;
  report.settings_json = recipe::to_json(session_.settings);
  return report;
}

void RunRecords::evaluation(std::int64_t step, const Evaluation& evaluation, bool best) {
  held_out_.emplace_back(step, evaluation.loss);
  metrics_.write({{"event", "eval"},
                  {"step", step},
                  {"loss", evaluation.loss},
                  {"perplexity", std::exp(evaluation.loss)},
                  {"target_tokens", evaluation.target_tokens},
                  {"best", best}});
  note("held-out loss " + std::to_string(evaluation.loss) + ", perplexity " +
       std::to_string(std::exp(evaluation.loss)) + " after step " + std::to_string(step));
}

void RunRecords::saved(std::int64_t step) {
  metrics_.write({{"event", "save"}, {"step", step}});
  note("saved checkpoint-" + std::to_string(step));
}

void RunRecords::stopped(std::int64_t step, StopReason reason) {
  const bool time = reason == StopReason::OutOfTime;
  metrics_.write({{"event", "stop"}, {"step", step}, {"reason", time ? "max-time" : "signal"}});
  note(std::string(time ? "--max-time is up" : "stopped") + " after step " + std::to_string(step) +
       ", saved: start the same command again to go on");
}

void RunRecords::end(const std::filesystem::path& output, std::int64_t steps) {
  const tier::ProcessMemory process = tier::read_process_memory();
  const plan::PlanSet& plans = session_.plans;
  const Seconds measured = steady_step_seconds();
  metrics_.write({{"event", "end"},
                  {"steps", steps},
                  {"tokens", tokens_},
                  {"seconds", total_},
                  {"predicted_device_peak_bytes", session_.planned(TierKind::Device)},
                  {"device_peak_bytes", arena_peak(TierKind::Device)},
                  {"predicted_host_peak_bytes", session_.planned(TierKind::Host)},
                  {"host_peak_bytes", arena_peak(TierKind::Host)},
                  {"at_peak_bytes", parts_json(plan::parts_at_peak(plans.train, 0))},
                  {"state_bytes", state_json(plans.train)},
                  {"predicted_rss_bytes", session_.planned_process()},
                  {"rss_bytes", process.peak_resident},
                  {"predicted_disk_peak_bytes", session_.planned(TierKind::Disk)},
                  {"disk_peak_bytes", has_disk() ? session_.store->info().used : 0},
                  {"predicted_packed_peak_bytes", session_.planned(TierKind::Packed)},
                  {"packed_peak_bytes", session_.store && !has_disk() ? session_.store->info().used : 0},
                  {"predicted_step_seconds", plans.predicted.total},
                  {"refined_step_seconds", refined_.total},
                  {"forecasts", forecasts_json(forecasts())},
                  {"step_seconds", measured},
                  {"disk_read_bytes", has_disk() ? session_.store->bytes_read() : 0},
                  {"disk_write_bytes", has_disk() ? session_.store->bytes_written() : 0}});
  const std::vector<plan::NamedTimeline> timelines = {{"predicted", plans.predicted}, {"measured", measured_}};
  write_text(output / "trace.json", plan::chrome_trace(plans.train, timelines, &session_.trace));
  write_text(output / "report.html", html_report(report()));
  note("predicted / measured: arena " + format_bytes(session_.planned(TierKind::Host)) + " / " +
       format_bytes(arena_peak(TierKind::Host)) + ", process " + format_bytes(session_.planned_process()) + " / " +
       format_bytes(process.peak_resident) + ", step " + format_seconds(plans.predicted.total) + " / " +
       format_seconds(measured));
}

}  // namespace sluice::train
