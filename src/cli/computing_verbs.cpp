// train, plan, eval, sample and export: settings from flags and file, checked here, then the engine.
#include <iostream>
#include <string_view>

#include "cli/engine_loader.h"
#include "cli/verb.h"
#include "launch/environment.h"
#include "launch/launcher.h"
#include "recipe/option_table.h"
#include "recipe/support.h"

namespace sluice::cli {
namespace {

/// The rows of the option table that a verb takes.
std::vector<FlagSpec> flags_of(unsigned verb) {
  std::vector<FlagSpec> flags = {{.name = "config",
                                  .argument = "FILE",
                                  .help = "YAML or JSON with the same keys as the flags; a flag wins",
                                  .group = "Files"}};
  const recipe::Settings defaults;
  for (const recipe::OptionRow& row : recipe::option_table()) {
    if ((row.verbs & verb) == 0) continue;
    const bool is_switch = row.kind == recipe::ValueKind::Switch;
    const std::string shown = row.print(defaults).value_or(row.absent);
    flags.push_back({.name = row.name,
                     .aliases = row.aliases,
                     .argument = is_switch              ? ""
                                 : row.argument.empty() ? "VALUE"
                                                        : row.argument,
                     .help = row.help,
                     .default_text = shown == "false"  ? ""
                                     : shown == "true" ? "on"
                                                       : shown,
                     .group = row.group,
                     .hidden = row.hidden});
  }
  return flags;
}

// One of the processes of a job: the one that people started, or under a launcher rank 0.
bool speaks_for_the_job(const launch::Environment& environment) {
  const bool started_by_us = launch::process_variable(launch::kListenerVariable).has_value();
  return !started_by_us && environment.place.rank == 0;
}

recipe::Settings checked_settings(const char* verb, const Arguments& arguments) {
  std::vector<recipe::NamedValue> flags;
  for (const recipe::NamedValue& flag : arguments.flags) {
    if (flag.name != "config") flags.push_back(flag);
  }
  const launch::Environment environment = launch::detect();
  std::string table;
  const recipe::Settings settings = recipe::read_settings(
      flags, arguments.value("config").value_or(""), {.launched_ranks = environment.place.world_size, .table = &table});
  const bool trains = std::string_view(verb) == "train" || std::string_view(verb) == "plan";
  if (trains && !table.empty() && speaks_for_the_job(environment))
    std::cerr << "sluice: keys of the DeepSpeed file\n" << table;
  recipe::check_required(settings, verb);
  recipe::check_supported(settings);
  return settings;
}

int run_verb(const char* verb, const Arguments& arguments) {
  return run_in_engine(verb, checked_settings(verb, arguments));
}

}  // namespace

std::vector<FlagSpec> train_flags() { return flags_of(recipe::kTrain); }
std::vector<FlagSpec> plan_flags() { return flags_of(recipe::kPlan); }
std::vector<FlagSpec> eval_flags() { return flags_of(recipe::kEval); }
std::vector<FlagSpec> sample_flags() { return flags_of(recipe::kSample); }
std::vector<FlagSpec> export_flags() { return flags_of(recipe::kExport); }

int run_train(const Arguments& arguments) {
  const recipe::Settings settings = checked_settings("train", arguments);
  const std::optional<int> code = launch::run_job_unless_launched(
      {.num_ranks = settings.nproc.value_or(1), .library = settings.collective, .restarts = settings.restarts});
  return code ? *code : run_in_engine("train", settings);
}
int run_plan(const Arguments& arguments) { return run_verb("plan", arguments); }
int run_eval(const Arguments& arguments) { return run_verb("eval", arguments); }
int run_sample(const Arguments& arguments) { return run_verb("sample", arguments); }
int run_export(const Arguments& arguments) { return run_verb("export", arguments); }

}  // namespace sluice::cli
