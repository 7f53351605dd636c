#include "recipe/deepspeed_file.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "format/hjson.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

using Json = DeepSpeedFile::Json;

constexpr Bytes kMaxFile = 4 * MiB;

bool is_auto_text(const Json& value) { return value.is_string() && value.get_ref<const std::string&>() == "auto"; }

bool is_whole(const Json& value) {
  return value.is_number_integer() ||
         (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>() &&
          std::abs(value.get<double>()) < 9e18);
}

bool is_one_of(std::string_view choices, const std::string& text) {
  const std::string all = "|" + std::string(choices) + "|";
  return text.find('|') == std::string::npos && all.find("|" + text + "|") != std::string::npos;
}

bool has_type(const Json& value, std::string_view values) {
  if (values == "any") return true;
  if (values == "bool") return value.is_boolean();
  if (values == "int") return is_whole(value);
  if (values == "number") return value.is_number();
  if (values == "text") return value.is_string();
  if (values == "list") return value.is_array();
  if (values == "map") return value.is_object();
  return value.is_string() && is_one_of(values, value.get<std::string>());
}

std::string expected_text(std::string_view values) {
  if (values == "bool") return "true or false";
  if (values == "int") return "a whole number";
  if (values == "number") return "a number";
  if (values == "text") return "a text";
  if (values == "list") return "a list";
  if (values == "map") return "a section";
  std::string text(values);
  for (std::size_t bar; (bar = text.find('|')) != std::string::npos;) text.replace(bar, 1, ", ");
  return "one of " + text;
}

/// Names in one section, and of the sections in it.
std::vector<std::string> names_in(const std::string& prefix) {
  std::vector<std::string> names;
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    if (!row.key.starts_with(prefix)) continue;
    const std::string_view rest = row.key.substr(prefix.size());
    names.emplace_back(rest.substr(0, rest.find('.')));
  }
  return names;
}

[[noreturn]] void throw_unknown(const std::string& prefix, const std::string& name, const std::string& origin) {
  std::string advice;
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    const bool is_elsewhere = row.key == name || row.key.ends_with("." + name) || row.key.starts_with(name + ".");
    if (!is_elsewhere) continue;
    const std::string_view place = row.key.starts_with(name + ".") ? std::string_view(name) : row.key;
    advice = "it stands elsewhere: '" + std::string(place) + "'";
    break;
  }
  const std::vector<std::string> known = names_in(prefix);
  const std::string nearest = prefix + nearest_name(name, known);
  if (advice.empty() || edit_distance(name, nearest.substr(prefix.size())) <= 2)
    advice = "did you mean '" + nearest + "'?";
  throw ConfigError("deepspeed", "unknown key '" + prefix + name.substr(0, 80) + "' in " + origin,
                    "expected a key that `sluice list deepspeed` names", advice);
}

}  // namespace

std::string deepspeed_value_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float())
    return is_whole(value) ? std::to_string(std::llround(value.get<double>())) : print_real(value.get<double>());
  if (!value.is_array()) return value.dump();
  std::vector<std::string> parts;
  for (const Json& item : value) parts.push_back(deepspeed_value_text(item));
  return join_list(parts);
}

DeepSpeedFile::DeepSpeedFile(const std::filesystem::path& path) : origin_(path.string()) {
  try {
    root_ = format::parse_hjson_object(read_text(path, kMaxFile), origin_, {.max_bytes = kMaxFile});
  } catch (const FormatError& error) {
    throw ConfigError("deepspeed", origin_ + " cannot be read", error.what());
  }
  replace_old_forms();
  walk(root_, "");
}

// `"zero_optimization": true` was stage 1; bf16 was bfloat16.
void DeepSpeedFile::replace_old_forms() {
  if (root_.contains("zero_optimization") && root_["zero_optimization"].is_boolean())
    root_["zero_optimization"] = Json{{"stage", root_["zero_optimization"].get<bool>() ? 1 : 0}};
  if (!root_.contains("bfloat16")) return;
  if (root_.contains("bf16"))
    throw ConfigError("deepspeed", "bf16 and bfloat16 are one section", "expected one of them, got both");
  root_["bf16"] = root_["bfloat16"];
  root_.erase("bfloat16");
}

void DeepSpeedFile::walk(const Json& section, const std::string& prefix) {
  for (const auto& [name, value] : section.items()) {
    const std::string key = prefix + name;
    if (const DeepSpeedKey* row = find_deepspeed_key(key)) {
      if (!value.is_null() && !is_auto_text(value) && !has_type(value, row->values)) {
        throw ConfigError("deepspeed", "'" + key + "' in " + origin_ + " cannot be read",
                          "expected " + expected_text(row->values) + ", got " + value.dump().substr(0, 80));
      }
      entries_.push_back({row, value, {}});
    } else if (!is_deepspeed_section(key)) {
      throw_unknown(prefix, name, origin_);
    } else if (value.is_object()) {
      walk(value, key + ".");
    } else if (!value.is_null()) {
      throw ConfigError("deepspeed", "'" + key + "' in " + origin_ + " cannot be read",
                        "expected a section, got " + value.dump().substr(0, 80));
    }
  }
}

DeepSpeedFile::Entry* DeepSpeedFile::find(std::string_view key) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.row->key == key; });
  return found == entries_.end() || found->value.is_null() ? nullptr : &*found;
}

bool DeepSpeedFile::is_auto(std::string_view key) {
  const Entry* entry = find(key);
  return entry != nullptr && is_auto_text(entry->value);
}

const Json* DeepSpeedFile::value(std::string_view key) {
  const Entry* entry = find(key);
  return entry == nullptr || is_auto_text(entry->value) ? nullptr : &entry->value;
}

bool DeepSpeedFile::is_on(std::string_view key) {
  const Json* found = value(key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

void DeepSpeedFile::note(Entry& entry, const std::string& outcome) {
  entry.outcome += (entry.outcome.empty() ? "" : "; ") + outcome;
}

}  // namespace sluice::recipe
