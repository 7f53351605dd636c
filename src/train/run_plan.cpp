// plan: the forecast of a run on this machine or on one that nobody here owns. Needs neither weights nor data.
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "exec/newton_schulz.h"
#include "model/model.h"
#include "model/tracer.h"
#include "optim/rule.h"
#include "recipe/device.h"
#include "recipe/machine_file.h"
#include "recipe/support.h"
#include "tier/limits.h"
#include "train/budget.h"
#include "train/plan_report.h"
#include "train/quick_machine.h"
#include "train/run_data.h"
#include "train/run_device.h"
#include "train/session.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

constexpr Bytes kPage = 4096;
constexpr std::array kStages = {0, 1, 2, 3};

// A machine without a disk gets one with cautious rates when spill folders are named.
void add_disk(plan::Machine& machine) {
  if (machine.tiers.back().kind == plan::TierKind::Disk) return;
  const plan::Machine cautious = recipe::default_cpu_machine();
  plan::Tier& last = machine.tiers.back();
  last.down = cautious.tiers[0].down;
  last.up = cautious.tiers[0].up;
  last.latency = cautious.tiers[0].latency;
  last.shared_link = cautious.tiers[0].shared_link;
  machine.tiers.push_back(cautious.tiers.back());
}

// What the budget leaves for the plan.
Bytes capacity_within(Bytes budget, Bytes own, const std::string& flag) {
  const Bytes capacity = (budget - own) / kPage * kPage;
  if (capacity >= MiB) return capacity;
  throw CapacityError("budget", "the program alone does not fit",
                      "it needs " + format_bytes(own) + " before the model, " + flag + " is " + format_bytes(budget),
                      "raise " + flag);
}

void set_budgets(plan::Machine& machine, const recipe::Settings& settings) {
  for (plan::Tier& tier : machine.tiers) {
    if (tier.kind == plan::TierKind::Device && settings.device_memory)
      tier.capacity = capacity_within(*settings.device_memory, tier.reserved, "--device-memory");
    if (tier.kind == plan::TierKind::Disk && settings.disk_memory) tier.capacity = *settings.disk_memory;
    if (tier.kind == plan::TierKind::Host && settings.host_memory)
      tier.capacity = capacity_within(*settings.host_memory, machine.process_overhead, "--host-memory");
  }
}

// Budgets are those of all ranks of a node; what a machine by name has by itself is one rank's (take_rank_share).
recipe::Settings settings_of_planned_rank(recipe::Settings settings) {
  const int per_node = settings.nproc.value_or(1), all = recipe::num_ranks(settings);
  if (settings.machine.empty()) {
    collective::Place place;
    place.world_size = all;
    place.local_size = per_node;
    return settings_of_rank(std::move(settings), place);
  }
  if (settings.host_memory) *settings.host_memory /= per_node;
  if (settings.disk_memory) *settings.disk_memory /= per_node;
  if (settings.threads) settings.threads = std::max(1, *settings.threads / per_node);
  settings.nproc = all;
  settings.nodes.reset();
  return settings;
}

plan::Machine base_machine(const recipe::Settings& settings, int ranks_per_node) {
  const bool here = settings.machine.empty();
  if (here) measure_unknown_machine(settings);
  plan::Machine machine =
      here ? known_machine(settings, ranks_per_node) : recipe::machine_by_name_or_file(settings.machine);
  if (!settings.spill_dir.empty()) add_disk(machine);
  if (!here) recipe::take_rank_share(machine, ranks_per_node);
  machine.num_threads = settings.threads.value_or(here ? tier::physical_cores() : machine.num_threads);
  return machine;
}

// On this machine the process is warmed as training will, so that its own memory is known and not guessed; unless even
// that would take much memory.
bool is_warmed(const plan::StepTrace& trace, const recipe::Settings& settings) {
  return settings.machine.empty() && warming_bytes(trace) < tier::available_host_memory() / 8;
}

plan::StepTrace traced(plan::Machine& machine, const model::Model& model, const recipe::Settings& settings) {
  const bool here = settings.machine.empty();
  if (here) prepare_process(settings);
  at::set_num_threads(machine.num_threads);
  plan::StepTrace trace = model::trace_model(model, {settings.micro_batch_size, settings.seq_len});
  exec::trace_updates(trace, recipe::update_rules(settings));
  if (!trace.updates.empty() && !here && machine.update_tier > 0)
    throw ConfigError(
        "config", "--optimizer " + settings.optimizer + " on " + settings.machine + " is not available in this version",
        "its matrix products would run on the host, whose rate for them no machine file tells",
        "use a machine without an accelerator, or another optimizer");
  if (is_warmed(trace, settings)) {
    warm_products(trace);
    machine.process_overhead = process_overhead(!settings.spill_dir.empty());
  }
  at::set_num_threads(1);  // the idle threads of a large machine would spin on this one
  return trace;
}

void set_capacities(plan::Machine& machine, const recipe::Settings& settings) {
  const bool here = settings.machine.empty();
  if (here) {
    const Bytes free = tier::available_host_memory() / 10 * 9 - recipe::emulated_bytes(settings);
    machine.tiers[0].capacity = (free - machine.process_overhead) / kPage * kPage;
    if (!settings.spill_dir.empty())
      machine.tiers.back().capacity = std::max<Bytes>(tier::free_spill_space(settings.spill_dir), 1);
  }
  set_budgets(machine, settings);
  if (here) add_run_device(machine, settings);
  recipe::place_updates(machine, settings);
}

// With the plan made, the process is known better than before it.
void settle(PlanForecast& forecast, const recipe::Settings& settings) {
  plan::Machine& machine = forecast.machine;
  const int host = machine.tier_index(plan::TierKind::Host);
  const bool stores = is_store(machine.tiers.back().kind) && forecast.result.plans->arena_peak.back() > 0;
  const Bytes settled = settled_overhead(stores) + narrow_staging(settings, stores);
  const Bytes less = std::max<Bytes>(machine.process_overhead - settled, 0);
  machine.process_overhead -= less;
  machine.tiers[host].capacity += less;
}

}  // namespace

int run_plan(const recipe::Settings& asked) {
  const recipe::Settings settings = settings_of_planned_rank(resolve_model(asked));
  const bool own_vocabulary = settings.init_random && !settings.tokenizer.empty();
  const format::ModelConfig config =
      own_vocabulary ? open_run_config(settings, open_tokenizer(settings)) : open_config(settings);
  plan::Machine machine = base_machine(settings, asked.nproc.value_or(1));
  const model::Model model = make_run_model(settings, config).model;
  const plan::StepTrace trace = traced(machine, model, settings);
  set_capacities(machine, settings);
  plan::PlanRequest request = plan_request(settings, recipe::update_rules(settings), trace);
  request.with_evaluate = recipe::has_held_out(settings);
  const bool all_stages = request.recipe.sharding.is_parallel() && !settings.zero_stage;
  PlanForecast forecast = make_forecast({.model = settings.model,
                                         .trace = trace,
                                         .machine = machine,
                                         .request = request,
                                         .may_drop_disk = settings.spill_dir.empty(),
                                         .beside_packed = packed_overhead(settings)},
                                        all_stages ? std::span<const int>(kStages) : std::span<const int>());
  if (forecast.result.plans && is_warmed(trace, settings)) settle(forecast, settings);
  std::fputs(to_text(forecast, settings).c_str(), stdout);
  std::fflush(stdout);
  if (!settings.json.empty()) write_text(settings.json, to_json(forecast, settings).dump() + "\n");
  if (!forecast.result.plans) throw_does_not_fit(forecast.result, forecast.machine);
  if (all_stages && forecast.sharding.stage != request.recipe.sharding.stage)
    log_warning("stage " + std::to_string(request.recipe.sharding.stage) + ", the default of train, does not fit: add" +
                " --zero-stage " + std::to_string(forecast.sharding.stage));
  return 0;
}

}  // namespace sluice::train
