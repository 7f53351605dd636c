// A verb of the command line: its row, its flags as data, and what it does. One file per verb; verbs.cpp holds the
// rows.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/catalog.h"
#include "recipe/settings.h"

namespace sluice::cli {

struct FlagSpec {
  std::string name;  ///< without dashes
  std::vector<std::string> aliases = {};
  std::string argument = {};  ///< empty: a switch
  std::string help = {};
  std::string default_text = {};
  std::string group = "Options";
  bool hidden = false;
};

struct PositionalSpec {
  std::string name;
  std::string help;
  bool required = true;
};

/// What stood on the command line; flags have the names of their FlagSpec and come in the order of the specs.
struct Arguments {
  std::vector<recipe::NamedValue> flags;
  std::vector<std::string> positionals;

  [[nodiscard]] std::optional<std::string> value(std::string_view flag) const;
  [[nodiscard]] bool has(std::string_view flag) const;  ///< a switch that is on
};

struct Verb {
  std::vector<FlagSpec> (*flags)();
  std::vector<PositionalSpec> (*positionals)();
  int (*run)(const Arguments& arguments);  ///< returns the exit code; failures are exceptions of base/error.h
};

using VerbRow = CatalogRow<Verb>;

/// All verbs in the order of --help.
std::span<const VerbRow> verb_rows();

std::vector<FlagSpec> train_flags();
std::vector<FlagSpec> plan_flags();
std::vector<FlagSpec> eval_flags();
std::vector<FlagSpec> sample_flags();
std::vector<FlagSpec> export_flags();
std::vector<FlagSpec> inspect_flags();
std::vector<FlagSpec> data_flags();
std::vector<FlagSpec> doctor_flags();
std::vector<FlagSpec> list_flags();

std::vector<PositionalSpec> no_positionals();
std::vector<PositionalSpec> inspect_positionals();
std::vector<PositionalSpec> data_positionals();
std::vector<PositionalSpec> list_positionals();

int run_train(const Arguments& arguments);
int run_plan(const Arguments& arguments);
int run_eval(const Arguments& arguments);
int run_sample(const Arguments& arguments);
int run_export(const Arguments& arguments);
int run_inspect(const Arguments& arguments);
int run_data(const Arguments& arguments);
int run_doctor(const Arguments& arguments);
int run_list(const Arguments& arguments);

}  // namespace sluice::cli
