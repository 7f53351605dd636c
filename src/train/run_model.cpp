#include "train/run_model.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "format/peft_weights.h"
#include "format/tabled_weights.h"
#include "model/adapt.h"
#include "model/init.h"
#include "recipe/support.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

// Random values as a source.
class FreshWeights final : public format::TabledWeights {
 public:
  explicit FreshWeights(std::uint64_t seed) : seed_(seed) {}

  void add_tensor(const model::ParameterSpec& spec) {
    if (add({spec.name, "F32", spec.shape})) specs_.push_back(spec);
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    model::init_parameter(specs_.at(*index_of(name)), seed_, first_element, destination);
  }

 private:
  std::uint64_t seed_;
  std::vector<model::ParameterSpec> specs_;
};

// Parameters, with the parts of one tensor put together.
std::vector<model::ParameterSpec> whole_tensors(const model::Model& model) {
  std::vector<model::ParameterSpec> tensors;
  for (const model::ChunkSpec& chunk : model.chunks) {
    for (const model::ParameterSpec& spec : chunk.parameters) {
      const auto whole = std::ranges::find(tensors, spec.name, &model::ParameterSpec::name);
      if (whole == tensors.end()) {
        tensors.push_back(spec);
      } else {
        whole->shape[0] += spec.shape[0];
      }
    }
  }
  return tensors;
}

// The base of an adapter stands in a checkpoint where it was trained, too, and nowhere else.
void check_resumed(const RunModel& run, const format::WeightSource& weights) {
  const bool has_base = std::ranges::any_of(
      weights.tensors(), [](const auto& tensor) { return !tensor.name.starts_with(format::kPeftPrefix); });
  if (has_base == run.trains_base) return;
  throw ConfigError("resume", "the checkpoint is of another run",
                    std::string("expected the adapter ") + (run.trains_base ? "and its base" : "alone") + ", got " +
                        (has_base ? "both" : "the adapter alone"),
                    has_base ? "resume with the --base-optimizer it had" : "resume without --base-optimizer");
}

std::string absolute_path(const fs::path& path) { return fs::absolute(path).lexically_normal().string(); }

std::string base_name(const std::string& model) { return fs::exists(model) ? absolute_path(model) : model; }

recipe::DType stored_format(const std::string& model) {
  const auto source = format::open_weights(model);
  const auto all_matrices_are = [&](std::string_view dtype) {
    return std::ranges::all_of(source->tensors(), [&](const format::TensorInfo& tensor) {
      return tensor.shape.size() < 2 || tensor.dtype == dtype;
    });
  };
  if (all_matrices_are("BF16")) return recipe::DType::Bf16;
  return all_matrices_are("F16") ? recipe::DType::Fp16 : recipe::DType::Fp32;
}

// What an adapter names; where the adapter has moved together with the base in its folder, that.
std::string base_of(const fs::path& adapter) {
  const std::string named = format::read_adapter_config(adapter).base_model;
  const fs::path own = adapter / kBaseFolder;
  return !fs::exists(named) && fs::path(named).filename() == kBaseFolder && fs::exists(own) ? own.string() : named;
}

recipe::Settings resolve_base(recipe::Settings settings) {
  if (settings.model.empty() || !fs::exists(fs::path(settings.model) / format::kAdapterConfigName)) return settings;
  const bool alone = format::is_adapter_folder(settings.model);
  if (!settings.adapter_path.empty()) {
    if (!alone) return settings;
    throw ConfigError("adapter", "--model and --adapter-path both name an adapter",
                      "expected --model to hold a whole model, got '" + settings.model + "'");
  }
  const std::string base = alone ? base_of(settings.model) : settings.model;
  if (base.empty() || !fs::exists(base))
    throw ConfigError("adapter", "the base of " + settings.model + " is not there",
                      "expected a path in its base_model_name_or_path, got '" + base + "'",
                      "give --model BASE --adapter-path " + settings.model);
  settings.adapter_path = std::exchange(settings.model, base);
  return settings;
}

}  // namespace

recipe::Settings resolve_model(recipe::Settings settings) {
  settings = resolve_base(std::move(settings));
  if (!settings.weights_dtype && !settings.init_random && format::has_weights(settings.model))
    settings.weights_dtype = stored_format(settings.model);
  return settings;
}

RunModel make_run_model(const recipe::Settings& settings, const format::ModelConfig& config) {
  const optim::RuleSet rules = recipe::update_rules(settings);
  const bool measures = std::ranges::any_of(rules, [](const auto& use) { return use.rule->measuring().passes > 0; });
  const auto tables = measures ? model::Tables::Whole : model::Tables::InPieces;
  RunModel run{.adapter = recipe::adapter_config(settings, config.model_type),
               .stores_in_out = config.model_type == "gpt2",
               .model = model::make_model(config, {.tables = tables, .compute = recipe::compute_format(settings)})};
  if (run.adapter) {
    run.trains_base = !settings.base_optimizer.empty();
    const bool saved = run.trains_base && !settings.output.empty();
    run.adapter->base_model =
        saved ? absolute_path(fs::path(settings.output) / kBaseFolder) : base_name(settings.model);
    run.adapted =
        model::add_adapters(run.model, *run.adapter, run.trains_base ? std::optional(recipe::kBaseRule) : std::nullopt);
    if (run.adapter->dropout > 0) log_warning("the adapter's config asks for dropout: it is not applied");
  }
  model::freeze(run.model, settings.freeze);
  for (int rule = 0; rule < static_cast<int>(rules.size()); ++rule) {
    if (rules[rule].rest) model::set_rule_of_ends(run.model, rule, *rules[rule].rest);
  }
  if (settings.base_dtype == recipe::BaseFormat::Nf4) {
    if (run.adapter->dora)
      throw ConfigError("adapter", "--base-dtype nf4 is not available for DoRA",
                        "expected LoRA, got " + settings.adapter_path, "use --base-dtype stored");
    model::store_in_nf4(run.model);
  }
  model::hold(run.model, [&](const model::ChunkSpec& chunk) {
    const recipe::DType frozen = recipe::stored_weights(settings);
    return recipe::held_weights(settings, chunk.trained ? rules[chunk.rule].precision.weights : frozen);
  });
  return run;
}

std::unique_ptr<format::WeightSource> open_run_weights(const recipe::Settings& settings, const RunModel& run,
                                                       std::unique_ptr<format::WeightSource> resumed) {
  if (!run.adapter) {
    if (resumed != nullptr || settings.init_random) return resumed;
    return format::open_weights(settings.model);
  }
  std::vector<std::unique_ptr<format::WeightSource>> sources;
  auto fresh = std::make_unique<FreshWeights>(settings.seed);
  const bool fresh_adapter = resumed == nullptr && settings.adapter_path.empty();
  for (const model::ParameterSpec& tensor : whole_tensors(run.model)) {
    const bool of_adapter = tensor.name.starts_with(format::kPeftPrefix);
    if (tensor.name.ends_with(format::kMagnitudeSuffix)) continue;  // it follows from the base
    if (of_adapter ? fresh_adapter : settings.init_random) fresh->add_tensor(tensor);
  }
  if (resumed != nullptr) {
    check_resumed(run, *resumed);
    sources.push_back(std::move(resumed));
  } else if (!settings.adapter_path.empty()) {
    sources.push_back(format::open_adapter_weights(settings.adapter_path, run.adapted));
  }
  if (!settings.init_random) sources.push_back(format::open_weights(settings.model));
  sources.push_back(std::move(fresh));
  return format::add_magnitudes(format::join_weights(std::move(sources)), run.adapted, run.stores_in_out);
}

std::vector<checkpoint::SideFile> run_side_files(const RunModel& run, std::vector<checkpoint::SideFile> of_model) {
  if (!run.adapter) return of_model;
  std::erase_if(of_model,
                [](const auto& file) { return file.first == "config.json" || file.first == "generation_config.json"; });
  of_model.emplace_back(format::kAdapterConfigName,
                        format::adapter_config_json(*run.adapter, run.adapted, run.stores_in_out));
  return of_model;
}

}  // namespace sluice::train
