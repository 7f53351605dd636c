#include "train/session.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/check.h"
#include "base/log.h"
#include "exec/newton_schulz.h"
#include "exec/state_layout.h"
#include "format/presets.h"
#include "model/cpu_allocator.h"
#include "model/tracer.h"
#include "plan/checker.h"
#include "plan/packed_ram.h"
#include "recipe/clipping.h"
#include "recipe/device.h"
#include "recipe/machine_file.h"
#include "recipe/support.h"
#include "tier/disk_store.h"
#include "tier/limits.h"
#include "tier/null_store.h"
#include "train/make_folders.h"
#include "train/quick_machine.h"
#include "train/run_device.h"

namespace sluice::train {

format::ModelConfig open_config(const recipe::Settings& settings) {
  if (std::filesystem::exists(settings.model)) return format::read_model_config(settings.model);
  for (const auto& preset : format::model_presets()) {
    if (preset.name == settings.model) return format::preset_config(settings.model);
  }
  throw IoError("model", "no such model", "'" + settings.model + "' is neither a file or folder nor a preset",
                "check the path, or see 'sluice list models'");
}

plan::PlanRequest plan_request(const recipe::Settings& settings, const optim::RuleSet& rules,
                               const plan::StepTrace& trace) {
  plan::PlanRequest request;
  request.recipe.num_micro_batches = static_cast<int>(settings.grad_accumulation);
  request.recipe.rules = exec::rule_needs(trace, rules);
  request.recipe.update = recipe::update_when(settings);
  request.recipe.sharding = recipe::sharding(settings);
  request.recipe.reduce = recipe::sent_gradients(settings);
  request.recipe.frozen = recipe::stored_weights(settings);
  request.recipe.clamps = recipe::clipping(settings).kind == optim::ClipKind::Value;
  request.activations = recipe::plan_activations(settings);
  request.disk_write_limit = settings.disk_write_limit.value_or(0);
  request.group_size = settings.schedule == recipe::ScheduleOrder::Horizontal ? 1 : 0;
  return request;
}

plan::Machine local_machine(const recipe::Settings& settings, const Budget& budget, int ranks_per_node) {
  plan::Machine machine = known_machine(settings, ranks_per_node);
  machine.process_overhead = budget.overhead;
  machine.tiers[0].capacity = budget.arena() / 4096 * 4096;
  if (settings.spill_dir.empty()) {
    machine.tiers.resize(1);
  } else {
    // 0 would mean unlimited to the planner.
    machine.tiers.back().capacity =
        std::max<Bytes>(settings.disk_memory ? *settings.disk_memory : tier::free_spill_space(settings.spill_dir), 1);
  }
  add_run_device(machine, settings);
  recipe::place_updates(machine, settings);
  return machine;
}

void throw_does_not_fit(const plan::PlanResult& result, const plan::Machine& machine) {
  if (result.least_written_per_day) {
    throw CapacityError("plan", "every plan writes more to the disk than --disk-write-limit",
                        "the least possible is " + format_bytes(*result.least_written_per_day) + " a day (" +
                            std::to_string(*result.least_written_per_day) + " bytes)",
                        "raise --disk-write-limit or --host-memory");
  }
  const plan::TierKind kind = machine.tiers[result.short_tier].kind;
  const std::string missing = format_bytes(result.needed - result.available) + " are missing";
  if (kind == plan::TierKind::Disk) {
    throw CapacityError("plan", "the disk tier is too small",
                        "the state needs " + format_bytes(result.needed) + ", there is room for " +
                            format_bytes(result.available) + ", " + missing,
                        "raise --disk-memory, free space, or add a --spill-dir");
  }
  if (kind == plan::TierKind::Device) {
    const Bytes reserved = machine.tiers[result.short_tier].reserved;
    throw CapacityError("plan", "does not fit into --device-memory",
                        "needs at least " + format_bytes(reserved + result.needed) + " (" +
                            std::to_string(reserved + result.needed) + " bytes), got " +
                            format_bytes(reserved + result.available) + ", " + missing,
                        "raise --device-memory, or lower --micro-batch-size or --seq-len");
  }
  // The process itself differs by some 200 KiB from start to start: what is named here works the next time, too.
  const Bytes overhead = machine.process_overhead;
  const Bytes total = round_up(overhead + result.needed + 256 * KiB, 64 * KiB);
  const bool has_disk = machine.tiers.back().kind == plan::TierKind::Disk;
  throw CapacityError("plan", "does not fit into --host-memory",
                      "needs at least " + format_bytes(total) + " (" + std::to_string(total) + " bytes, " +
                          format_bytes(overhead) + " of it the program), got " +
                          format_bytes(overhead + result.available) + ", " + missing,
                      has_disk ? "raise --host-memory, or lower --micro-batch-size or --seq-len"
                               : "raise --host-memory, or give a --spill-dir so that states may wait on disk");
}

namespace {

plan::StepTrace traced(const recipe::Settings& settings, const model::Model& model, bool forward_only) {
  plan::StepTrace trace = model::trace_model(model, {settings.micro_batch_size, settings.seq_len});
  for (plan::Chunk& chunk : trace.chunks) chunk.trained = chunk.trained && !forward_only;
  return trace;
}

plan::StepTrace with_updates(plan::StepTrace trace, const optim::RuleSet& rules) {
  exec::trace_updates(trace, rules);
  return trace;
}

// The planner is not trusted: what runs has been proven from the rules alone.
void prove(const plan::PlanSet& plans, const plan::Machine& machine) {
  std::vector<const plan::Plan*> all = {&plans.train, &plans.flush};
  if (plans.evaluate) all.push_back(&*plans.evaluate);
  for (const plan::Plan& plan : plans.generate) all.push_back(&plan);
  for (const plan::Plan* plan : all) {
    if (plan->actions.empty()) continue;
    const bool alone = plan == &plans.train || plans.train.actions.empty();
    const std::vector<std::string> violations = plan::check_plan(*plan, machine, alone ? nullptr : &plans.train);
    SLUICE_CHECK(violations.empty(), "the ", plan::name(plan->variant), " plan is wrong: ", violations.front());
  }
}

void check_groups(const optim::RuleSet& rules, const plan::StepTrace& trace) {
  std::vector<std::string> names;
  for (const plan::Chunk& chunk : trace.chunks) {
    for (const plan::ParameterSlot& parameter : chunk.parameters) names.push_back(parameter.name);
  }
  optim::check_groups(rules.front().groups, names);
}

// Every rank plans for itself, from the same figures: rank 0's rates, and what the poorest of them has.
void agree_on_machine(plan::Machine& machine, const Ranks& ranks) {
  if (!ranks.are_many()) return;
  const plan::Machine own = machine;
  machine = recipe::machine_from_json(ranks.share(recipe::machine_to_json(machine)), "rank 0's machine");
  machine.process_overhead = ranks.max(own.process_overhead);
  for (std::size_t tier = 0; tier < machine.tiers.size(); ++tier)
    machine.tiers[tier].capacity = ranks.min(tier < own.tiers.size() ? own.tiers[tier].capacity : 0);
  machine.network.ranks_per_node = static_cast<int>(ranks.min(ranks.per_node()));
}

void agree_on_plans(const plan::PlanSet& plans, const Ranks& ranks) {
  const auto digest = static_cast<std::int64_t>(plan::digest(plans) >> 1);
  if (ranks.min(digest) == ranks.max(digest)) return;
  throw CommError("plan", "ranks have made different plans", "expected one list on all ranks",
                  "start all ranks with the same program, model and settings");
}

}  // namespace

struct Session::Purpose {
  bool forward_only = false, with_evaluate = false;
  std::function<plan::StepTrace(const model::Model&)> trace;
  int num_evaluated = 1;
  std::shared_ptr<const Ranks> ranks = std::make_shared<const Ranks>();
};

Session::Session(const recipe::Settings& run, format::ModelConfig model_config, bool forward_only, bool with_evaluate)
    : Session(run, std::move(model_config),
              Purpose{forward_only, with_evaluate || forward_only,
                      [&](const model::Model& made) { return traced(run, made, forward_only); }}) {}

Session::Session(const recipe::Settings& run, format::ModelConfig model_config, bool with_evaluate,
                 std::shared_ptr<const Ranks> of_run)
    : Session(run, std::move(model_config),
              Purpose{false, with_evaluate, [&](const model::Model& made) { return traced(run, made, false); }, 1,
                      std::move(of_run)}) {}

Session::Session(const recipe::Settings& run, format::ModelConfig model_config, const EvaluationShape& shape)
    : Session(run, std::move(model_config),
              Purpose{true, true, [&](const model::Model& made) { return traced(run, made, true); },
                      shape.num_micro_batches}) {}

Session::Session(const recipe::Settings& run, format::ModelConfig model_config, const model::GenerationShape& shape)
    : Session(run, std::move(model_config),
              Purpose{true, false, [&](const model::Model& made) { return model::trace_generation(made, shape); }}) {}

Session::Session(const recipe::Settings& run, format::ModelConfig model_config, const Purpose& purpose)
    : settings(run),
      ranks(purpose.ranks),
      config(std::move(model_config)),
      run_model(make_run_model(settings, config)),
      rules(recipe::update_rules(run)),
      trace(with_updates(purpose.trace(model), rules)),
      budget((warm_products(trace), measure_budget(run))),
      machine(local_machine(run, budget, ranks->per_node())),
      request(plan_request(run, rules, trace)) {
  request.forward_only = purpose.forward_only;
  request.with_evaluate = purpose.with_evaluate;
  if (purpose.forward_only) {
    request.recipe = {.num_micro_batches = purpose.num_evaluated,
                      .num_evaluated = purpose.num_evaluated,
                      .frozen = recipe::has_adapter(run) ? recipe::DType::Fp32 : request.recipe.frozen,
                      .rules = std::vector<plan::RuleNeeds>(rules.size())};
  } else {
    check_groups(rules, trace);
  }
  plan::pad_for_shards(trace, request.recipe.sharding);
  agree_on_machine(machine, *ranks);
  plan::PlanResult result = plan::make_plan_in_ram(trace, machine, request, packed_overhead(run));
  if (!result.plans) throw_does_not_fit(result, machine);
  plans = std::move(*result.plans);
  prove(plans, machine);
  agree_on_plans(plans, *ranks);
  plan::take_shard(plans, ranks->rank());
  const bool stores = is_store(machine.tiers.back().kind) && plans.arena_peak.back() > 0;
  machine.process_overhead = std::min(machine.process_overhead, settled_overhead(stores) + narrow_staging(run, stores));
}

plan::ElementRange Session::weights_here(int chunk) const {
  const std::int64_t elements = trace.chunks[chunk].num_elements;
  return request.recipe.sharding.weights() ? plan::own_range(plans.train, elements) : plan::ElementRange{0, elements};
}

Bytes Session::planned(plan::TierKind kind) const {
  const int tier = machine.tier_index(kind);
  return tier < 0 ? 0 : plans.arena_peak[tier];
}

tier::ArenaBases Session::reserve_arenas() {
  tier::ArenaBases bases;
  device = run_device(settings);
  for (std::size_t tier = 0; tier < machine.tiers.size(); ++tier) {
    const Bytes bytes = round_up(std::max<Bytes>(plans.arena_peak[tier], 1), 4096);
    if (machine.tiers[tier].kind == plan::TierKind::Device) {
      device_memory = device->reserve(bytes);
      bases.push_back(device_memory->data());
    } else if (machine.tiers[tier].kind == plan::TierKind::Host) {
      arenas.push_back(std::make_unique<tier::Arena>(bytes));
      arenas.back()->touch(arenas.back()->capacity());
      bases.push_back(arenas.back()->data());
      if (device != nullptr) page_lock = device->lock_pages(arenas.back()->data(), arenas.back()->capacity());
    }
  }
  return bases;
}

void Session::reserve() {
  const tier::ArenaBases memory = reserve_arenas();
  if (!settings.spill_dir.empty()) {
    tier::DiskOptions disk;
    for (const std::string& folder : settings.spill_dir) {
      make_folders(folder);
      disk.folders.emplace_back(folder);
    }
    disk.capacity = settings.disk_memory.value_or(0);
    store = tier::make_disk_store(disk);
  }
  if (const int packed = machine.tier_index(plan::TierKind::Packed); packed >= 0)
    store = tier::make_null_store(plans.arena_peak[packed]);
  state = std::make_unique<exec::State>(plans, memory, store.get(), device);
  executor = std::make_unique<exec::Executor>(
      exec::ExecutorOptions{.model = &model,
                            .trace = &trace,
                            .rules = &rules,
                            .decay = settings.decay == recipe::Decay::All ? exec::Decay::All : exec::Decay::Matrices,
                            .device = device,
                            .ranks = ranks->links()},
      *state);
  const bool foreign = device != nullptr && !device->is_addressable();
  if (foreign) device->use_workspace(plans.workspace_peak());
  model::use_workspace(foreign ? nullptr : memory[0], foreign ? 0 : plans.workspace_peak());
}

}  // namespace sluice::train
