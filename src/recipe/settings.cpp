// Settings from flags and files, and their written forms. All text passes through the rows of the option table.
#include "recipe/settings.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "format/strict_json.h"
#include "recipe/deepspeed.h"
#include "recipe/option_table.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

using Json = nlohmann::ordered_json;

constexpr Bytes kMaxConfigBytes = 4 * MiB;

/// Keys of one file in its order, by the names of their rows, each at most once.
class KeyReader {
 public:
  void add(const std::string& key, const std::optional<std::string>& text) {
    const OptionRow* row = find_option(key);
    if (row == nullptr) throw_unknown_option("key", key, all_option_names());
    for (const auto& [seen, spelled] : seen_) {
      if (seen == row) {
        throw ConfigError("config", "'" + row->name + "' stands twice in the file",
                          "expected one of its spellings, got '" + spelled + "' and '" + key + "'");
      }
    }
    seen_.emplace_back(row, key);
    if (text) values_.push_back({row->name, *text});
  }

  [[nodiscard]] std::vector<NamedValue> values() && { return std::move(values_); }

 private:
  std::vector<NamedValue> values_;
  std::vector<std::pair<const OptionRow*, std::string>> seen_;
};

[[noreturn]] void throw_bad_key(const std::string& key, const char* got) {
  throw ConfigError("config", "'" + key + "' cannot be read",
                    std::string("expected a single value or a list, got ") + got);
}

/// nullopt: null, which means "as if the key were not there".
std::optional<std::string> value_text(const std::string& key, const nlohmann::json& value, int depth = 0) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  if (depth > 0) throw_bad_key(key, "a list of lists");
  std::vector<std::string> parts;
  for (const auto& [name, item] : value.items()) {
    const std::string text = value_text(key, item, depth + 1).value_or("");
    parts.push_back(value.is_object() ? name + "=" + text : text);
  }
  return join_list(parts);
}

std::optional<std::string> value_text(const std::string& key, const YAML::Node& value, int depth = 0) {
  if (value.IsNull() || !value.IsDefined()) return std::nullopt;
  if (value.IsScalar()) return value.Scalar();
  if (depth > 0) throw_bad_key(key, "a list of lists");
  std::vector<std::string> parts;
  if (value.IsSequence()) {
    for (const YAML::Node& item : value) parts.push_back(value_text(key, item, depth + 1).value_or(""));
  } else {
    for (const auto& item : value) {
      parts.push_back(item.first.as<std::string>() + "=" + value_text(key, item.second, depth + 1).value_or(""));
    }
  }
  return join_list(parts);
}

std::vector<NamedValue> read_json(std::string_view text, const std::string& origin) {
  KeyReader reader;
  nlohmann::json object;
  try {
    object = format::parse_json_object(text, origin);
  } catch (const FormatError& error) {
    throw ConfigError("config", origin + " is not a JSON object", error.what());
  }
  for (const auto& [key, value] : object.items()) reader.add(key, value_text(key, value));
  return std::move(reader).values();
}

std::vector<NamedValue> read_yaml(const std::string& text, const std::string& origin) {
  KeyReader reader;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty() || (documents.size() == 1 && documents[0].IsNull())) return {};
    if (documents.size() != 1 || !documents[0].IsMap()) {
      throw ConfigError("config", origin + " is not a configuration",
                        "expected one YAML map or JSON object of options, got something else");
    }
    for (const auto& item : documents[0]) {
      const auto key = item.first.as<std::string>();
      reader.add(key, value_text(key, item.second));
    }
  } catch (const YAML::Exception& error) {
    throw ConfigError("config", origin + " is not YAML",
                      "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  return std::move(reader).values();
}

std::vector<NamedValue> read_file(const std::filesystem::path& path) {
  const std::string text = read_text(path, kMaxConfigBytes);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool is_json = path.extension() == ".json" || (first != std::string::npos && text[first] == '{');
  return is_json ? read_json(text, path.string()) : read_yaml(text, path.string());
}

Settings applied(std::span<const NamedValue> values, Settings settings) {
  for (const auto& [row, text] : merged_options(values)) row->set(settings, text);
  return settings;
}

/// The keys of a file that no flag names, then the flags.
std::vector<NamedValue> with_flags(std::vector<NamedValue> values, std::span<const NamedValue> flags) {
  const auto merged = merged_options(flags);
  std::erase_if(values, [&](const NamedValue& value) {
    return std::ranges::any_of(merged, [&](const auto& flag) { return flag.first->name == value.name; });
  });
  for (const auto& [row, text] : merged) values.push_back({row->name, text});
  return values;
}

std::string key_of(const OptionRow& row) {
  std::string key = row.name;
  for (char& c : key) c = c == '-' ? '_' : c;
  return key;
}

/// One value with the type that its row has in files.
Json json_value(const OptionRow& row, const std::string& text) {
  Json list = Json::array();
  switch (row.kind) {
    case ValueKind::Text:
      return text;
    case ValueKind::Number:
      return Json::parse(text);
    case ValueKind::Switch:
      return text == "true";
    case ValueKind::NumberList:
      for (const std::string& part : split_list(text)) list.push_back(Json::parse(part));
      return list;
    case ValueKind::TextList:
      for (const std::string& part : split_list(text)) list.push_back(part);
      return list;
  }
  return nullptr;
}

/// "1e-05" as "1.0e-05": readers of YAML 1.1 take a number without a point for a text.
std::string yaml_number(std::string text) {
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) text.insert(exponent, ".0");
  return text;
}

void emit_yaml(YAML::Emitter& out, const OptionRow& row, const std::string& text) {
  const bool quoted = row.kind == ValueKind::Text || row.kind == ValueKind::TextList;
  const auto emit_scalar = [&](const std::string& scalar) {
    if (quoted) {
      out << YAML::DoubleQuoted << scalar;
    } else {
      out << (row.kind == ValueKind::Switch ? scalar : yaml_number(scalar));
    }
  };
  out << YAML::Key << key_of(row) << YAML::Value;
  if (row.kind == ValueKind::NumberList || row.kind == ValueKind::TextList) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const std::string& part : split_list(text)) emit_scalar(part);
    out << YAML::EndSeq;
  } else {
    emit_scalar(text);
  }
}

}  // namespace

Settings read_settings(std::span<const NamedValue> flags, const std::filesystem::path& config_file,
                       const DeepSpeedRequest& deepspeed) {
  const std::vector<NamedValue> of_file = config_file.empty() ? std::vector<NamedValue>() : read_file(config_file);
  const std::vector<NamedValue> given = with_flags(of_file, flags);
  const Settings settings = applied(given, {});
  if (settings.deepspeed.empty()) return settings;
  const DeepSpeedReading reading = read_deepspeed(
      settings.deepspeed, given, settings.nodes.value_or(1) * settings.nproc.value_or(deepspeed.launched_ranks));
  if (deepspeed.table != nullptr) *deepspeed.table = to_text(reading.uses);
  Settings all = applied(given, applied(reading.options, {}));
  all.deepspeed.clear();
  return all;
}

std::string to_json(const Settings& settings) {
  Json object = Json::object();
  for (const OptionRow& row : option_table()) {
    if (const auto text = row.print(settings)) object[key_of(row)] = json_value(row, *text);
  }
  try {
    return object.dump();
  } catch (const Json::exception&) {
    throw ConfigError("config", "a path or text among the options is not UTF-8");
  }
}

Settings from_json(std::string_view text) { return applied(read_json(text, "settings"), {}); }

std::string to_yaml(const Settings& settings) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  for (const OptionRow& row : option_table()) {
    if (const auto text = row.print(settings)) emit_yaml(out, row, *text);
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace sluice::recipe
