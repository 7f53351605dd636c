#include "recipe/param_groups.h"

#include <limits>

#include "base/error.h"
#include "base/nearest.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {
namespace {

constexpr const char* kWhat = "param-group";
constexpr const char* kForm = "PATTERN:KEY=X with the keys lr, lr_factor and weight_decay";

void set_key(ParamGroup& group, std::string_view part) {
  const std::size_t equals = part.find('=');
  if (equals == 0 || equals == std::string_view::npos) throw_bad_value(kWhat, kForm, part);
  std::string key(part.substr(0, equals));
  for (char& c : key) c = c == '-' ? '_' : c;
  const double value = parse_real(part.substr(equals + 1), std::string(kWhat) + " " + key,
                                  {0, std::numeric_limits<double>::infinity(), false, true});
  if (key == "lr") {
    group.lr = value;
  } else if (key == "lr_factor") {
    group.lr_factor = value;
  } else if (key == "weight_decay") {
    group.weight_decay = value;
  } else {
    const std::vector<std::string> known = {"lr", "lr_factor", "weight_decay"};
    throw ConfigError("config", "a --param-group has no key '" + key + "'", "known are lr, lr_factor, weight_decay",
                      "did you mean '" + nearest_name(key, known) + "'?");
  }
  if (group.lr && group.lr_factor)
    throw ConfigError("config", "--param-group '" + group.pattern + "' has two rates",
                      "expected one of lr and lr_factor, got both");
}

}  // namespace

std::vector<ParamGroup> parse_groups(std::string_view text) {
  std::vector<ParamGroup> groups;
  for (const std::string& part : split_list(text)) {
    std::string_view rest = part;
    const std::size_t colon = part.find(':');
    if (colon != std::string::npos) {
      if (colon == 0) throw_bad_value(kWhat, kForm, part);
      groups.push_back({part.substr(0, colon), {}, {}, {}});
      rest.remove_prefix(colon + 1);
    }
    if (groups.empty()) throw_bad_value(kWhat, kForm, part);
    set_key(groups.back(), rest);
  }
  return groups;
}

std::string print_groups(const std::vector<ParamGroup>& groups) {
  std::vector<std::string> parts;
  for (const ParamGroup& group : groups) {
    std::string start = group.pattern + ":";
    const auto add = [&](const char* key, const std::optional<double>& value) {
      if (!value) return;
      parts.push_back(start + key + "=" + print_real(*value));
      start.clear();
    };
    add("lr", group.lr);
    add("lr_factor", group.lr_factor);
    add("weight_decay", group.weight_decay);
  }
  return join_list(parts);
}

}  // namespace sluice::recipe
