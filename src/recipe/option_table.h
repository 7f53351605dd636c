// Every option once: its name, its other spellings, its help, how text becomes a setting and back. Flags, config files,
// --help, run.yaml and the list that tests freeze all read this table.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recipe/settings.h"

namespace sluice::recipe {

/// What a value looks like in YAML and JSON; on the command line a Switch takes none.
enum class ValueKind { Text, Number, Switch, NumberList, TextList };

/// Verbs that take an option, as a set of bits.
enum VerbBit : unsigned { kTrain = 1, kPlan = 2, kEval = 4, kSample = 8, kExport = 16 };

struct OptionRow {
  std::string name;  ///< as the flag, without dashes in front
  std::vector<std::string> aliases;
  unsigned verbs = 0;
  std::string group;
  std::string argument;  ///< "SIZE", "N"; empty for a switch
  std::string help;
  std::string absent;  ///< shown as the default while `print` gives none
  ValueKind kind = ValueKind::Text;
  bool hidden = false;  ///< only for config files of other programs: not in --help
  /// Text to setting. Throws ConfigError when the text is not what the row expects.
  std::function<void(Settings&, std::string_view text)> set;
  /// Setting to the text that `set` reads back exactly; nullopt: not given.
  std::function<std::optional<std::string>(const Settings&)> print;
};

/// All rows in the order of --help.
std::span<const OptionRow> option_table();

/// The row called `name` or an alias of it, '-' and '_' the same; nullptr when there is none.
const OptionRow* find_option(std::string_view name);

/// Each option once with its row, in the order in which they first come; the values of a list that comes several times
/// one after the other, of others the last. Throws ConfigError for an unknown name.
std::vector<std::pair<const OptionRow*, std::string>> merged_options(std::span<const NamedValue> options);

/// Throws the ConfigError for an unknown `what` ("flag", "key"), naming the nearest of all known names.
[[noreturn]] void throw_unknown_option(std::string_view what, std::string_view name,
                                       std::span<const std::string> known);

/// Names and aliases of all rows.
std::vector<std::string> all_option_names();

}  // namespace sluice::recipe
