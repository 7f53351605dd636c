#include "format/rope_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(std::string_view origin, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.config", std::string(origin) + ": " + what, expected_got, "correct config.json");
}

const json* member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

double positive(const json& object, const char* key, double fallback, std::string_view origin) {
  const json* value = member(object, key);
  if (value == nullptr) return fallback;
  const double number = value->is_number() ? value->get<double>() : 0;
  if (!(number > 0) || !std::isfinite(number) || number > 1e12)
    refuse(origin, std::string("rope ") + key, "expected a number in (0, 1e12]");
  return number;
}

std::string type_of(const json& rope, std::string_view origin) {
  const json* type = member(rope, "rope_type");
  if (type == nullptr) type = member(rope, "type");
  if (type == nullptr) return "default";
  if (!type->is_string()) refuse(origin, "rope_type", "expected a string");
  return type->get<std::string>();
}

RopeScaling parse_scaling(const json& rope, std::string_view origin, const ModelConfig& config) {
  if (!rope.is_object()) refuse(origin, "rope settings", "expected an object or null");
  for (const auto& [key, value] : rope.items())
    if (value.is_object())
      throw ConfigError("format.config", std::string(origin) + ": rope settings per layer type are not supported",
                        "expected one setting for all layers, got " + quote(key));
  RopeScaling scaling;
  scaling.type = type_of(rope, origin);
  if (positive(rope, "partial_rotary_factor", 1, origin) != 1)
    throw ConfigError("format.config", std::string(origin) + ": partial_rotary_factor is not supported", "expected 1");
  if (scaling.type == "default") return scaling;
  if (scaling.type != "linear" && scaling.type != "llama3")
    throw ConfigError("format.config", std::string(origin) + ": rope type " + quote(scaling.type) + " is not supported",
                      "expected default, linear or llama3");
  if (member(rope, "factor") == nullptr) refuse(origin, "rope factor", "expected a number, got nothing");
  scaling.factor = positive(rope, "factor", 1, origin);
  if (scaling.type == "linear") return scaling;
  scaling.low_freq_factor = positive(rope, "low_freq_factor", 1, origin);
  scaling.high_freq_factor = positive(rope, "high_freq_factor", 4, origin);
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    refuse(origin, "rope high_freq_factor", "expected it above low_freq_factor");
  scaling.original_max_position_embeddings = static_cast<std::int64_t>(
      positive(rope, "original_max_position_embeddings", static_cast<double>(config.max_position_embeddings), origin));
  return scaling;
}

bool same(const RopeScaling& a, const RopeScaling& b) {
  return a.type == b.type && a.factor == b.factor && a.low_freq_factor == b.low_freq_factor &&
         a.high_freq_factor == b.high_freq_factor &&
         a.original_max_position_embeddings == b.original_max_position_embeddings;
}

nlohmann::ordered_json scaling_json(const RopeScaling& scaling) {
  nlohmann::ordered_json rope{{"rope_type", scaling.type}};
  if (scaling.type != "default") rope["factor"] = scaling.factor;
  if (scaling.type == "llama3") {
    rope["low_freq_factor"] = scaling.low_freq_factor;
    rope["high_freq_factor"] = scaling.high_freq_factor;
    rope["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  return rope;
}

}  // namespace

void read_rope(const json& root, std::string_view origin, ModelConfig& config) {
  config.rope_theta = positive(root, "rope_theta", 10000, origin);
  const json* parameters = member(root, "rope_parameters");
  const json* scaling = member(root, "rope_scaling");
  if (scaling != nullptr) {
    config.rope_scaling = parse_scaling(*scaling, origin, config);
    config.rope_theta = positive(*scaling, "rope_theta", config.rope_theta, origin);
  }
  if (parameters == nullptr) return;
  const RopeScaling newer = parse_scaling(*parameters, origin, config);
  if (scaling != nullptr && !same(newer, config.rope_scaling))
    refuse(origin, "rope_parameters and rope_scaling contradict each other", "expected the same settings");
  config.rope_scaling = newer;
  const double theta = positive(*parameters, "rope_theta", config.rope_theta, origin);
  if (member(root, "rope_theta") != nullptr && theta != config.rope_theta)
    refuse(origin, "rope_theta and rope_parameters contradict each other", "expected the same rope_theta");
  config.rope_theta = theta;
}

void add_rope(nlohmann::ordered_json& root, const ModelConfig& config) {
  nlohmann::ordered_json scaling = scaling_json(config.rope_scaling);
  const auto absent = [&](const char* key) { return !root.contains(key) || root[key].is_null(); };
  if (absent("rope_theta")) root["rope_theta"] = config.rope_theta;
  if (absent("rope_scaling"))
    root["rope_scaling"] = config.rope_scaling.type == "default" ? nlohmann::ordered_json(nullptr) : scaling;
  scaling["rope_theta"] = config.rope_theta;
  if (absent("rope_parameters")) root["rope_parameters"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : scaling.items())
    if (!root["rope_parameters"].contains(key)) root["rope_parameters"][key] = value;
}

}  // namespace sluice::format
