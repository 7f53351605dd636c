// Settings from flags and files, and their written forms. All text passes through the rows of the option table.
#include "recipe/settings.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "format/strict_json.h"
#include "recipe/option_table.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

using Json = nlohmann::ordered_json;

constexpr Bytes kMaxConfigBytes = 4 * MiB;

/// Keys of one file: set in the order of the file, each row at most once.
class KeyReader {
 public:
  explicit KeyReader(Settings& settings) : settings_(settings) {}

  void set(const std::string& key, const std::optional<std::string>& text) {
    const OptionRow* row = find_option(key);
    if (row == nullptr) throw_unknown_option("key", key, all_option_names());
    for (const auto& [seen, spelled] : seen_) {
      if (seen == row) {
        throw ConfigError("config", "'" + row->name + "' stands twice in the file",
                          "expected one of its spellings, got '" + spelled + "' and '" + key + "'");
      }
    }
    seen_.emplace_back(row, key);
    if (text) row->set(settings_, *text);
  }

 private:
  Settings& settings_;
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

void read_json(Settings& settings, std::string_view text, const std::string& origin) {
  KeyReader reader(settings);
  nlohmann::json object;
  try {
    object = format::parse_json_object(text, origin);
  } catch (const FormatError& error) {
    throw ConfigError("config", origin + " is not a JSON object", error.what());
  }
  for (const auto& [key, value] : object.items()) reader.set(key, value_text(key, value));
}

void read_yaml(Settings& settings, const std::string& text, const std::string& origin) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty() || (documents.size() == 1 && documents[0].IsNull())) return;
    if (documents.size() != 1 || !documents[0].IsMap()) {
      throw ConfigError("config", origin + " is not a configuration",
                        "expected one YAML map or JSON object of options, got something else");
    }
    KeyReader reader(settings);
    for (const auto& item : documents[0]) {
      const auto key = item.first.as<std::string>();
      reader.set(key, value_text(key, item.second));
    }
  } catch (const YAML::Exception& error) {
    throw ConfigError("config", origin + " is not YAML",
                      "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
}

void read_file(Settings& settings, const std::filesystem::path& path) {
  const std::string text = read_text(path, kMaxConfigBytes);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool is_json = path.extension() == ".json" || (first != std::string::npos && text[first] == '{');
  if (is_json) {
    read_json(settings, text, path.string());
  } else {
    read_yaml(settings, text, path.string());
  }
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

Settings read_settings(std::span<const NamedValue> flags, const std::filesystem::path& config_file) {
  Settings settings;
  if (!config_file.empty()) read_file(settings, config_file);
  std::vector<std::pair<const OptionRow*, std::string>> given;
  for (const NamedValue& flag : flags) {
    const OptionRow* row = find_option(flag.name);
    if (row == nullptr) throw_unknown_option("flag", flag.name, all_option_names());
    const auto earlier = std::find_if(given.begin(), given.end(), [&](const auto& pair) { return pair.first == row; });
    if (row->kind == ValueKind::TextList && earlier != given.end()) {
      earlier->second += "," + flag.value;
    } else {
      given.emplace_back(row, flag.value);
    }
  }
  for (const auto& [row, text] : given) row->set(settings, text);
  return settings;
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

Settings from_json(std::string_view text) {
  Settings settings;
  read_json(settings, text, "settings");
  return settings;
}

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
