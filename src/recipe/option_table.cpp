#include "recipe/option_table.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/nearest.h"
#include "recipe/option_rows.h"

namespace sluice::recipe {
namespace {

std::vector<OptionRow> make_table() {
  std::vector<OptionRow> table;
  const auto add = [&table](const char* group, std::vector<OptionRow> rows) {
    for (OptionRow& row : rows) {
      row.group = group;
      table.push_back(std::move(row));
    }
  };
  add("Files", file_rows());
  add("Memory and device", memory_rows());
  add("Shape and length", length_rows());
  add("Update", update_rows());
  add("What is trained", adapter_rows());
  add("What is trained", base_update_rows());
  add("Precision", precision_rows());
  add("Execution", execution_rows());
  add("Checkpoints and evaluation", checkpoint_rows());
  add("Generation", generation_rows());
  return table;
}

}  // namespace

OptionRow make_row(std::string name, RowText text, ValueKind kind) {
  OptionRow row;
  row.name = std::move(name);
  row.aliases = std::move(text.aliases);
  row.verbs = text.verbs;
  row.argument = std::move(text.argument);
  row.help = std::move(text.help);
  row.absent = std::move(text.absent);
  row.hidden = text.hidden;
  row.kind = kind;
  return row;
}

OptionRow text_row(std::string name, std::string Settings::*field, RowText text) {
  OptionRow row = make_row(std::move(name), std::move(text), ValueKind::Text);
  row.set = [field](Settings& settings, std::string_view typed) { settings.*field = typed; };
  row.print = [field](const Settings& settings) -> std::optional<std::string> {
    return (settings.*field).empty() ? std::nullopt : std::optional<std::string>(settings.*field);
  };
  return row;
}

OptionRow pairs_row(const char* name, std::map<std::string, std::string> Settings::*field, RowText text) {
  text.argument = "KEY=VALUE";
  text.absent = "none";
  OptionRow row = make_row(name, std::move(text), ValueKind::TextList);
  row.set = [name, field](Settings& settings, std::string_view typed) {
    (settings.*field).clear();
    std::string* last = nullptr;
    for (const std::string& part : split_list(typed)) {
      const std::size_t equals = part.find('=');
      if (equals == std::string::npos && last != nullptr) {  // a value that is a list
        *last += "," + part;
        continue;
      }
      if (equals == 0 || equals == std::string::npos) throw_bad_value(name, "key=value", part);
      last = &(settings.*field)[part.substr(0, equals)];
      *last = part.substr(equals + 1);
    }
  };
  row.print = [field](const Settings& settings) -> std::optional<std::string> {
    std::vector<std::string> parts;
    for (const auto& [key, value] : settings.*field) parts.push_back(key + "=" + value);
    return parts.empty() ? std::nullopt : std::optional(join_list(parts));
  };
  return row;
}

OptionRow list_row(std::string name, std::vector<std::string> Settings::*field, RowText text) {
  OptionRow row = make_row(std::move(name), std::move(text), ValueKind::TextList);
  row.set = [field](Settings& settings, std::string_view typed) { settings.*field = split_list(typed); };
  row.print = [field](const Settings& settings) -> std::optional<std::string> {
    return (settings.*field).empty() ? std::nullopt : std::optional(join_list(settings.*field));
  };
  return row;
}

OptionRow bytes_row(std::string name, std::optional<Bytes> Settings::*field, RowText text) {
  return field_row(
      make_row(name, std::move(text), ValueKind::Number), field,
      [name](std::string_view typed) {
        const Bytes bytes = parse_bytes(typed, name);
        if (bytes <= 0) throw_bad_value(name, "a size above 0", typed, "write for example 512MiB or 3GiB");
        return bytes;
      },
      [](Bytes bytes) { return std::to_string(bytes); });
}

std::span<const OptionRow> option_table() {
  static const std::vector<OptionRow> table = make_table();
  return table;
}

const OptionRow* find_option(std::string_view name) {
  static const std::unordered_map<std::string, const OptionRow*> by_name = [] {
    std::unordered_map<std::string, const OptionRow*> map;
    for (const OptionRow& row : option_table()) {
      map.emplace(fold_name(row.name), &row);
      for (const std::string& alias : row.aliases) map.emplace(fold_name(alias), &row);
    }
    return map;
  }();
  const auto found = by_name.find(fold_name(name));
  return found == by_name.end() ? nullptr : found->second;
}

std::vector<std::string> all_option_names() {
  std::vector<std::string> names;
  for (const OptionRow& row : option_table()) {
    names.push_back(row.name);
    for (const std::string& alias : row.aliases) names.push_back(fold_name(alias));
  }
  return names;
}

std::vector<std::pair<const OptionRow*, std::string>> merged_options(std::span<const NamedValue> options) {
  std::vector<std::pair<const OptionRow*, std::string>> merged;
  for (const NamedValue& option : options) {
    const OptionRow* row = find_option(option.name);
    if (row == nullptr) throw_unknown_option("flag", option.name, all_option_names());
    const auto earlier = std::ranges::find(merged, row, &std::pair<const OptionRow*, std::string>::first);
    if (earlier == merged.end()) {
      merged.emplace_back(row, option.value);
    } else if (row->kind == ValueKind::TextList) {
      earlier->second += "," + option.value;
    } else {
      earlier->second = option.value;
    }
  }
  return merged;
}

void throw_unknown_option(std::string_view what, std::string_view name, std::span<const std::string> known) {
  const std::string nearest = nearest_name(name, known);
  const char* dashes = what == "flag" ? "--" : "";
  throw ConfigError("config", "unknown " + std::string(what) + " '" + dashes + std::string(name.substr(0, 80)) + "'",
                    "expected an option that `sluice VERB --help` lists",
                    nearest.empty() ? std::string() : "did you mean '" + (dashes + nearest) + "'?");
}

}  // namespace sluice::recipe
