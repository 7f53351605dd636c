// A small random model with everything that plays its plans, and the loop that drives it: the run whose bits no budget,
// store or schedule may change.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "exec/executor.h"
#include "exec/newton_schulz.h"
#include "exec/state.h"
#include "exec/state_layout.h"
#include "model/adapt.h"
#include "model/cpu_allocator.h"
#include "model/init.h"
#include "model/small_models.h"
#include "model/tracer.h"
#include "optim/clip.h"
#include "optim/norm.h"
#include "optim/rule.h"
#include "optim/weight_precision.h"
#include "plan/planner.h"
#include "tier/arena.h"
#include "tier/catalog.h"

namespace sluice::exec {

inline constexpr std::int64_t kRows = 2, kLength = 24;
inline constexpr Bytes kPlenty = GiB;

/// What decides the bits of a run, and (below) what must not.
struct Workload {
  std::string family = "llama";
  bool tied = true;
  int num_layers = 2;
  std::int64_t vocab_size = 301;
  int accumulation = 1;
  plan::UpdateWhen update = plan::UpdateWhen::NextForward;
  double max_norm = 1.0;
  optim::ClipKind clip = optim::ClipKind::Total;
  std::string rule = "adamw";
  optim::RuleOptions options = {};
  std::vector<optim::ParamGroup> groups = {};
  float loss_scale = 1;
  std::vector<std::string> freeze = {};
  bool adapter = false;  ///< of all linear maps
  bool dora = false;
  std::string base_rule = {};  ///< trains what is not of the adapter
  NumberFormat compute = NumberFormat::Fp32;
  optim::WeightPrecision weights = {};  ///< of all chunks
  bool holds = true;                    ///< them like that in memory
};

inline const char* name(plan::UpdateWhen update) {
  switch (update) {
    case plan::UpdateWhen::Backward:
      return "backward";
    case plan::UpdateWhen::NextForward:
      return "next forward";
    case plan::UpdateWhen::SecondPass:
      return "second pass";
    case plan::UpdateWhen::Sweep:
      return "sweep";
  }
  return "?";
}

/// "llama, tied, 2 layers, 1 micro-batches, update in the next forward": how GoogleTest names it.
inline void PrintTo(const Workload& work, std::ostream* out) {
  if (work.adapter) *out << (work.dora ? "DoRA-adapted " : "adapted ");
  if (!work.base_rule.empty()) *out << "with a base by " << work.base_rule << " ";
  if (!work.freeze.empty()) *out << "partly frozen ";
  if (work.compute != NumberFormat::Fp32) *out << sluice::name(work.compute) << "-multiplying ";
  if (work.weights.weights != NumberFormat::Fp32) *out << sluice::name(work.weights.weights) << "-weighted ";
  *out << work.family << (work.tied ? ", tied, " : ", untied, ") << work.num_layers << " layers, " << work.accumulation
       << " micro-batches, " << work.rule << ", update in the " << name(work.update);
}

/// `capacity` is of the tier where block math runs; with `host` > 0 that is an emulated device above a host arena of so
/// many bytes. `store`: a row of the catalog of stores, or empty for none.
struct Place {
  Bytes capacity = kPlenty;
  std::string store = {};
  plan::Activations activations = plan::Activations::Auto;
  int group_size = 0, boundary_stride = 0;  ///< 0: the planner chooses
  Bytes host = 0;
  int update_tier = 1;             ///< with a device
  tier::Device* device = nullptr;  ///< with `host`; nullptr: an emulated one
  std::optional<plan::SavingPattern> saving = {};
  plan::Sharding sharding = {};
  NumberFormat reduce = NumberFormat::Fp32;
  std::int64_t warmup_steps = 0;  ///< before OneBit begins
};

inline constexpr BytesPerSecond kLink = 4e9;

inline format::ModelConfig training_config(const Workload& work) {
  format::ModelConfig config = work.family == "gpt2" ? model::small_gpt2_config() : model::small_config();
  config.vocab_size = work.vocab_size;
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.num_layers = work.num_layers;
  config.head_dim = 16;
  config.tie_word_embeddings = work.tied;
  return config;
}

inline plan::Machine machine_for(const Place& place) {
  plan::Machine machine;
  machine.name = "test";
  if (place.host > 0) {
    machine.tiers = {{.kind = plan::TierKind::Device, .capacity = place.capacity, .down = kLink, .up = kLink}};
    machine.update_tier = place.update_tier;
  }
  machine.tiers.push_back({.kind = plan::TierKind::Host,
                           .capacity = place.host > 0 ? place.host : place.capacity,
                           .down = 1e9,
                           .up = 2e9,
                           .latency = 1e-5,
                           .shared_link = true});
  if (!place.store.empty()) machine.tiers.push_back({.kind = plan::TierKind::Disk, .capacity = GiB});
  machine.compute = {.matmul = 2e10, .attention = 1e10, .memory = 5e9, .launch = 2e-6};
  machine.update_memory = 5e9;
  return machine;
}

inline plan::PlanRequest request_for(const Workload& work, const Place& place) {
  plan::PlanRequest request;
  request.recipe.num_micro_batches = work.accumulation;
  request.recipe.update = work.update;
  request.recipe.clamps = work.clip == optim::ClipKind::Value;
  request.activations = place.activations;
  request.group_size = place.group_size;
  request.saving = place.saving;
  request.boundary_stride = place.boundary_stride;
  request.recipe.sharding = place.sharding;
  request.recipe.reduce = place.reduce;
  request.with_evaluate = true;
  return request;
}

/// One micro-batch's tokens in memory of its own; what they are depends on `number` alone.
class Tokens {
 public:
  explicit Tokens(std::uint64_t number, std::int64_t vocab_size) : ids_(kRows * kLength), labels_(ids_.size()) {
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      ids_[i] = static_cast<std::int64_t>(mix(number, i) % static_cast<std::uint64_t>(vocab_size));
      labels_[i] = mix(number + 77, i) % 7 == 0 ? -100 : ids_[i];
      if (i % kLength != 0 && labels_[i] >= 0) ++num_targets_;
    }
  }
  [[nodiscard]] model::MicroBatch batch() {
    return {at::from_blob(ids_.data(), {kRows, kLength}, at::kLong),
            at::from_blob(labels_.data(), {kRows, kLength}, at::kLong)};
  }
  [[nodiscard]] std::int64_t num_targets() const { return num_targets_; }

 private:
  std::vector<std::int64_t> ids_, labels_;
  std::int64_t num_targets_ = 0;
};

/// A folder for the disk store, gone at the end.
class SpillFolder {
 public:
  SpillFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-exec-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~SpillFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  SpillFolder(const SpillFolder&) = delete;
  SpillFolder& operator=(const SpillFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline model::Model training_model(const Workload& work) {
  model::Model model = model::make_model(training_config(work), {.compute = work.compute});
  if (work.adapter)
    (void)model::add_adapters(model, {.rank = 4, .alpha = 8, .dora = work.dora, .targets = {"all-linear"}},
                              work.base_rule.empty() ? std::nullopt : std::optional(1));
  model::freeze(model, work.freeze);
  if (work.holds) model::hold(model, [&](const model::ChunkSpec&) { return work.weights.weights; });
  return model;
}

/// Model and trace of a workload; made once, played in many places.
struct TracedWork {
  Workload work;
  model::Model model;
  optim::RuleSet rules;
  plan::StepTrace trace;

  explicit TracedWork(const Workload& wanted) : work(wanted), model(training_model(wanted)) {
    rules.push_back(
        {.rule = optim::with_weight_precision(optim::make_rule(wanted.rule, wanted.options), wanted.weights),
         .precision = wanted.weights,
         .groups = wanted.groups});
    if (!wanted.base_rule.empty())
      rules.push_back({.rule = optim::make_rule(wanted.base_rule, {}), .lr_factor = 0.25, .weight_decay = 0.05});
    if (auto rest = optim::make_rest_rule(wanted.rule, wanted.options)) {
      model::set_rule_of_ends(model, 0, static_cast<int>(rules.size()));
      rules.push_back({.rule = std::move(rest), .groups = wanted.groups});
    }
    model::install_cpu_allocator();
    trace = model::trace_model(model, {kRows, kLength});
    trace_updates(trace, rules);
  }

  [[nodiscard]] plan::StepTrace padded(const Place& place) const {
    plan::StepTrace copy = trace;
    plan::pad_for_shards(copy, place.sharding);
    return copy;
  }
  [[nodiscard]] plan::PlanRequest request(const Place& place) const {
    plan::PlanRequest request = request_for(work, place);
    request.recipe.rules = rule_needs(trace, rules);
    request.recipe.frozen = work.weights.weights;
    return request;
  }
  [[nodiscard]] Bytes floor(const Place& place) const {
    return plan::smallest_arena(padded(place), machine_for(place), request(place));
  }
};

/// Everything that a run leaves behind.
struct Outcome {
  std::vector<double> losses, norms;
  std::vector<float> weights;
  std::vector<std::byte> moments;  ///< buffer by buffer, without what fills pages
  bool operator==(const Outcome&) const = default;
};

/// Memory, store and executor of one run (of one rank of it); it owns the process's tensor workspace while it lives.
class Training {
 public:
  Training(const TracedWork& work, const Place& place, const RankLinks& ranks = {})
      : work_(work),
        trace_(work.padded(place)),
        rank_(ranks.agreement != nullptr ? ranks.agreement->rank() : 0),
        num_ranks_(place.sharding.num_ranks),
        warmup_steps_(place.warmup_steps),
        machine_(machine_for(place)),
        plans_(plan::make_plan(trace_, machine_, work.request(place)).plans.value()) {
    plan::take_shard(plans_, rank_);
    const tier::ArenaBases arenas = reserve(place);
    if (!place.store.empty()) {
      tier::DiskOptions options{.folders = {spill_.path()}, .capacity = GiB};
      store_ = find_row(tier::store_catalog(), "store", place.store).make(options);
    }
    state_ = std::make_unique<State>(plans_, arenas, store_.get(), device_);
    executor_ = std::make_unique<Executor>(
        ExecutorOptions{
            .model = &work.model, .trace = &trace_, .rules = &work.rules, .device = device_, .ranks = ranks},
        *state_);
    if (device_ == nullptr || device_->is_addressable())
      model::use_workspace(arenas[0], plans_.workspace_peak());
    else
      device_->use_workspace(plans_.workspace_peak());
    load();
  }
  ~Training() {
    executor_.reset();
    model::use_workspace(nullptr, 0);
  }
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  StepResult step(bool apply_update = true) {
    std::vector<Tokens> tokens;
    std::int64_t num_targets = 0;
    for (int i = 0; i < num_ranks_ * work_.work.accumulation; ++i) {
      tokens.emplace_back(static_cast<std::uint64_t>(num_steps_ * 100 + i), work_.work.vocab_size);
      num_targets += tokens.back().num_targets();
    }
    std::vector<model::MicroBatch> batches;
    for (int i = 0; i < work_.work.accumulation; ++i) batches.push_back(tokens[i * num_ranks_ + rank_].batch());
    const Workload& work = work_.work;
    const float unscale = 1 / work.loss_scale;
    StepInputs inputs{.micro_batches = batches,
                      .gradient_scale = work.loss_scale / static_cast<float>(num_targets),
                      .compresses = num_steps_ >= warmup_steps_,
                      .update = {},
                      .clip = clip()};
    const bool next_forward = work.update == plan::UpdateWhen::NextForward;
    if (!next_forward) {
      inputs.update = update_args(unscale);
      inputs.apply_update = apply_update;
    } else {
      inputs.apply_update = apply_update && pending_.has_value();
      if (pending_) inputs.update = *pending_;
    }
    const StepResult result = executor_->run(plans_.train, inputs);
    outcome_.losses.push_back(result.loss_sum / static_cast<double>(num_targets));
    const double sum = result.sum_of_squares.value();
    outcome_.norms.push_back(std::sqrt(sum) / work.loss_scale);
    pending_.reset();
    const double bound = work.clip == optim::ClipKind::Total ? work.max_norm : 0;
    if (next_forward && std::isfinite(sum)) pending_ = update_args(optim::clipped_scale(sum, unscale, bound));
    ++num_steps_;
    return result;
  }

  void flush() {
    if (pending_ && !plans_.flush.actions.empty()) {
      executor_->drain();
      executor_->run(plans_.flush, {.micro_batches = {}, .update = *pending_, .clip = clip()});
    }
    pending_.reset();
    executor_->drain();
  }

  double evaluate() {
    Tokens tokens(12345, work_.work.vocab_size);
    const std::vector<model::MicroBatch> batches = {tokens.batch()};
    const double loss = executor_->run(*plans_.evaluate, {.micro_batches = batches, .update = {}}).loss_sum;
    executor_->drain();
    return loss;
  }

  /// Three steps, then everything applied and read.
  Outcome run() {
    for (int i = 0; i < 3; ++i) step();
    return finish();
  }
  Outcome finish() {
    flush();
    outcome_.weights = read_weights();
    outcome_.moments = read_moments();
    return outcome_;
  }

  [[nodiscard]] std::vector<float> read_weights() {
    std::vector<float> values;
    for (int chunk = 0; chunk < num_chunks(); ++chunk) {
      const std::vector<float> part = read_weights(chunk);
      values.insert(values.end(), part.begin(), part.end());
    }
    return values;
  }
  [[nodiscard]] std::vector<float> read_weights(int chunk) {
    std::vector<float> values(static_cast<std::size_t>(trace_.chunks[chunk].num_elements), 0.0F);
    for (const plan::Buffer& buffer : state_->buffers()) {
      if (buffer.kind != plan::BufferKind::Weight || buffer.chunk != chunk) continue;
      state_->read(plan::BufferKind::Weight, chunk, -1, buffer.first_element,
                   std::span(values).subspan(buffer.first_element, buffer.num_elements));
    }
    values.resize(static_cast<std::size_t>(work_.trace.chunks[chunk].num_elements));  // without a shard's padding
    return values;
  }
  [[nodiscard]] int num_chunks() const { return static_cast<int>(work_.trace.chunks.size()); }

  /// By state and tensor, so that slices make no difference.
  [[nodiscard]] std::vector<std::byte> read_moments() {
    std::vector<std::byte> values;
    const StateLayout layout(trace_, work_.rules);
    for (const StateArray& array : layout.arrays()) {
      for (const StateArray::Part& part : array.parts) read_part(layout, array, part, values);
    }
    return values;
  }

  [[nodiscard]] const plan::PlanSet& plans() const { return plans_; }
  [[nodiscard]] const plan::Machine& machine() const { return machine_; }
  [[nodiscard]] State& state() { return *state_; }
  [[nodiscard]] Executor& executor() { return *executor_; }
  [[nodiscard]] tier::Store* store() { return store_.get(); }

 private:
  tier::ArenaBases reserve(const Place& place) {
    tier::ArenaBases bases;
    const auto bytes = [&](std::size_t tier) { return round_up(std::max<Bytes>(plans_.arena_peak[tier], 1), 4096); };
    if (place.host > 0) {
      device_ = place.device;
      if (device_ == nullptr) device_ = (emulated_ = tier::make_emulated_device({.rate = kLink})).get();
      device_memory_ = device_->reserve(bytes(0));
      bases.push_back(device_memory_->data());
    }
    host_ = std::make_unique<tier::Arena>(bytes(bases.size()));
    bases.push_back(host_->data());
    return bases;
  }

  void read_part(const StateLayout& layout, const StateArray& array, const StateArray::Part& part,
                 std::vector<std::byte>& values) {
    const std::vector<plan::Buffer>& buffers = state_->buffers();
    for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
      if (buffers[id].chunk != part.chunk || buffers[id].moment != array.state) continue;
      for (const StateRun& run : layout.runs(buffers[id])) {
        if (run.parameter != part.parameter || run.scales != array.scales) continue;
        std::vector<std::byte> bytes(static_cast<std::size_t>(run.count * run.item));
        state_->read(id, run.offset, bytes);
        values.insert(values.end(), bytes.begin(), bytes.end());
      }
    }
  }

  void load() {
    const StateLayout layout(trace_, work_.rules);
    for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(state_->buffers().size()); ++id) {
      const plan::Buffer& buffer = state_->buffers()[id];
      if (!buffer.persistent) continue;
      const bool is_weight = buffer.kind == plan::BufferKind::Weight;
      const Bytes size = is_weight ? stored_bytes(NumberFormat::Fp32, buffer.num_elements) : buffer.bytes;
      const tier::Arena memory(round_up(size, 4096));
      std::fill_n(memory.data(), size, std::byte{0});
      if (is_weight) {
        const std::vector<float> whole = initial_weights(buffer.chunk);
        const std::span values(reinterpret_cast<float*>(memory.data()), static_cast<std::size_t>(buffer.num_elements));
        std::copy_n(whole.begin() + buffer.first_element, buffer.num_elements, values.begin());
        optim::WeightPrecision precision = work_.work.weights;
        precision.weights = trace_.chunks[buffer.chunk].stored.value_or(precision.weights);
        optim::round_loaded(precision, values);
      } else if (buffer.kind == plan::BufferKind::Moment &&
                 layout.spec(buffer.chunk, buffer.moment).start == optim::Start::Weight) {
        load_masters(layout, buffer, memory.data());
      }
      constexpr Bytes kPiece = 4 * tier::kStripeBytes;
      for (Bytes at = 0; at < size; at += kPiece)
        state_->write(id, at, {memory.data() + at, static_cast<std::size_t>(std::min(kPiece, size - at))});
    }
  }

  [[nodiscard]] std::vector<float> initial_weights(int chunk) const {
    const auto& specs = work_.model.chunks[chunk].parameters;
    std::vector<float> whole(static_cast<std::size_t>(trace_.chunks[chunk].num_elements), 0.0F);
    for (std::size_t p = 0; p < specs.size(); ++p) {
      const plan::ParameterSlot& slot = trace_.chunks[chunk].parameters[p];
      model::init_parameter(specs[p], 1, specs[p].first_element(),
                            std::span(whole).subspan(slot.first_element, slot.num_elements));
    }
    return whole;
  }

  void load_masters(const StateLayout& layout, const plan::Buffer& buffer, std::byte* memory) const {
    const std::vector<float> whole = initial_weights(buffer.chunk);
    for (const StateRun& run : layout.runs(buffer)) {
      const plan::ParameterSlot& slot = trace_.chunks[buffer.chunk].parameters[run.parameter];
      std::memcpy(memory + run.offset, whole.data() + slot.first_element + run.first,
                  static_cast<std::size_t>(run.count) * sizeof(float));
    }
  }

  [[nodiscard]] optim::Clipping clip() const {
    if (work_.work.max_norm == 0) return {};
    return {work_.work.clip, work_.work.max_norm};
  }

  [[nodiscard]] optim::UpdateArgs update_args(float gradient_scale) const {
    return {.lr = 1e-2, .weight_decay = 0.1, .step = num_steps_ + 1, .gradient_scale = gradient_scale, .seed = 5};
  }

  const TracedWork& work_;
  const plan::StepTrace trace_;
  const int rank_, num_ranks_;
  const std::int64_t warmup_steps_;
  plan::Machine machine_;
  plan::PlanSet plans_;
  std::unique_ptr<tier::Device> emulated_;
  tier::Device* device_ = nullptr;
  std::unique_ptr<tier::DeviceMemory> device_memory_;
  std::unique_ptr<tier::Arena> host_;
  SpillFolder spill_;
  std::unique_ptr<tier::Store> store_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Executor> executor_;
  std::optional<optim::UpdateArgs> pending_;
  std::int64_t num_steps_ = 0;
  Outcome outcome_;
};

}  // namespace sluice::exec
