// list: every kind of thing that can be named, from the tables that make them.
#include <array>
#include <iostream>

#include "base/formatted.h"
#include "cli/verb.h"
#include "collective/library.h"
#include "data/catalog.h"
#include "data/task_catalog.h"
#include "format/presets.h"
#include "optim/rule.h"
#include "optim/schedule.h"
#include "recipe/deepspeed_keys.h"
#include "recipe/machine_file.h"
#include "tier/catalog.h"

namespace sluice::cli {
namespace {

void print_row(std::string_view name, std::string_view summary) {
  std::cout << formatted("%-22.*s", static_cast<int>(name.size()), name.data()) << " " << summary << "\n";
}

template <typename Make>
void print_rows(std::span<const CatalogRow<Make>> rows) {
  for (const auto& row : rows) print_row(row.name, row.summary);
}

/// What each row declares stands below it.
template <typename Make>
void print_rows_with_options(std::span<const CatalogRow<Make>> rows) {
  for (const auto& row : rows) {
    print_row(row.name, row.summary);
    if (!row.make.options.empty()) print_row("", "  options: " + optim::describe_options(row.make.options));
  }
}

/// Presets by name; every other model of their families is read from its config.json.
void list_models() {
  print_rows(format::model_presets());
  std::string families;
  for (const auto& row : format::model_presets()) {
    const std::string family = format::preset_config(row.name).architecture;
    if (families.find(family) == std::string::npos) families += (families.empty() ? "" : ", ") + family;
  }
  print_row("DIR, FILE.gguf", "any model of the families " + families);
}

void list_machines() {
  for (const auto& row : recipe::machine_catalog()) {
    print_row(row.name, row.summary);
    print_row("", "  " + recipe::describe_figures(row.make));
  }
}

void list_collectives() {
  for (const auto& row : collective::library_catalog()) {
    print_row(row.name, std::string(row.summary) + (row.make.is_installed() ? "" : " (not in this build)"));
  }
}

using Kind = CatalogRow<void (*)()>;
constexpr std::array<Kind, 11> kKinds = {{
    {"models", "presets and families", list_models},
    {"optimizers", "update rules", [] { print_rows_with_options(optim::rule_catalog()); }},
    {"schedules", "learning-rate schedules", [] { print_rows_with_options(optim::schedule_catalog()); }},
    {"tiers", "stores below memory", [] { print_rows(tier::store_catalog()); }},
    {"devices", "places for block math beside the CPU", [] { print_rows(tier::device_catalog()); }},
    {"collectives", "libraries between ranks", list_collectives},
    {"tokenizers", "kinds of tokenizer", [] { print_rows(data::tokenizer_rows()); }},
    {"datasets", "data formats", [] { print_rows(data::dataset_rows()); }},
    {"tasks", "published tasks for `sluice data convert`", [] { print_rows(data::task_rows()); }},
    {"deepspeed", "keys of a DeepSpeed file for `--deepspeed`", [] { std::cout << recipe::deepspeed_keys_table(); }},
    {"machines", "machines for `sluice plan --machine`", list_machines},
}};

}  // namespace

std::vector<FlagSpec> list_flags() { return {}; }

std::vector<PositionalSpec> list_positionals() {
  std::string kinds;
  for (const Kind& kind : kKinds) kinds += (kinds.empty() ? "" : ", ") + std::string(kind.name);
  return {{"KIND", kinds, false}};
}

int run_list(const Arguments& arguments) {
  const std::span<const Kind> kinds(kKinds);
  if (arguments.positionals.empty()) {
    print_rows(kinds);
  } else {
    find_row(kinds, "kind", arguments.positionals[0]).make();
  }
  return 0;
}

}  // namespace sluice::cli
