#include "optim/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/formatted.h"
#include "base/nearest.h"

namespace sluice::optim {
namespace {

std::vector<std::string> split(std::string_view text, char between) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(between), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::vector<std::string> split_choices(std::string_view choices) { return split(choices, '|'); }

std::string expected_value(const OptionSpec& spec) {
  if (!spec.choices.empty()) return "one of " + std::string(spec.choices);
  if (!spec.numbers.empty()) return "numbers as in " + std::string(spec.numbers);
  const std::string name(spec.name);
  const bool bounded_below = spec.lowest != -kUnlimited;
  std::string text = bounded_below ? formatted("%g <= ", spec.lowest) + name : name;
  if (spec.limit != kUnlimited) return text + formatted(" < %g", spec.limit);
  return bounded_below ? text : "a number";
}

[[noreturn]] void throw_bad_option(std::string_view kind, std::string_view row, const OptionSpec& spec,
                                   std::string_view text) {
  throw ConfigError("optim", std::string(kind) + " " + std::string(row) + " cannot take " + std::string(spec.name),
                    "expected " + expected_value(spec) + ", got '" + std::string(text) + "'");
}

/// NaN: not a value.
double choice_value(const OptionSpec& spec, std::string_view text) {
  if (spec.choices == kSwitch) {
    if (text == "yes" || text == "on" || text == "1" || text == "True") return 1;
    if (text == "no" || text == "off" || text == "0" || text == "False") return 0;
  }
  const std::vector<std::string> choices = split_choices(spec.choices);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] == text) return static_cast<double>(i);
  }
  return kNotGiven;
}

double number_value(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : kNotGiven;
}

/// None: not as many numbers as the option has.
std::vector<double> list_value(const OptionSpec& spec, std::string_view text) {
  std::vector<double> values;
  for (const std::string& part : split(text, ',')) {
    values.push_back(number_value(part));
    if (!std::isfinite(values.back())) return {};
  }
  return values.size() == split(spec.numbers, ',').size() ? values : std::vector<double>();
}

}  // namespace

OptionValues::OptionValues(std::string_view kind, std::string_view row, std::span<const OptionSpec> specs,
                           const GivenOptions& given)
    : specs_(specs) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : specs) {
    values_.push_back(spec.fallback);
    if (!spec.numbers.empty()) numbers_[spec.name] = list_value(spec, spec.numbers);
    names.emplace_back(spec.name);
  }
  for (const auto& [name, text] : given) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      throw ConfigError("optim", std::string(kind) + " " + std::string(row) + " has no option '" + name + "'",
                        specs.empty() ? "it has no options" : "known are " + describe_options(specs),
                        specs.empty() ? "" : "did you mean '" + nearest_name(name, names) + "'?");
    }
    const auto index = static_cast<std::size_t>(found - names.begin());
    const OptionSpec& spec = specs[index];
    if (!spec.numbers.empty()) {
      numbers_[spec.name] = list_value(spec, text);
      if (numbers_[spec.name].empty()) throw_bad_option(kind, row, spec, text);
      continue;
    }
    if (std::isnan(spec.fallback) && (text == "none" || text == "None" || text == "null")) continue;
    const double value = spec.choices.empty() ? number_value(text) : choice_value(spec, text);
    if (spec.choices.empty() ? !(value >= spec.lowest && value < spec.limit) : std::isnan(value))
      throw_bad_option(kind, row, spec, text);
    values_[index] = value;
  }
}

std::size_t OptionValues::index_of(std::string_view name) const {
  std::size_t index = 0;
  while (index < specs_.size() && specs_[index].name != name) ++index;
  SLUICE_CHECK(index < specs_.size());
  return index;
}

double OptionValues::operator[](std::string_view name) const { return values_[index_of(name)]; }

bool OptionValues::given(std::string_view name) const { return !std::isnan((*this)[name]); }

std::string_view OptionValues::choice(std::string_view name) const {
  const std::size_t index = index_of(name);
  std::string_view rest = specs_[index].choices;
  for (auto skip = static_cast<int>(values_[index]); skip > 0; --skip) rest.remove_prefix(rest.find('|') + 1);
  return rest.substr(0, rest.find('|'));
}

std::vector<double> OptionValues::numbers(std::string_view name) const {
  const auto found = numbers_.find(name);
  SLUICE_CHECK(found != numbers_.end());
  return found->second;
}

std::string describe_options(std::span<const OptionSpec> specs) {
  std::string text;
  for (const OptionSpec& spec : specs) {
    text += (text.empty() ? "" : ", ") + std::string(spec.name) + "=";
    if (!spec.numbers.empty()) {
      text += spec.numbers;
    } else if (std::isnan(spec.fallback)) {
      text += "none";
    } else if (spec.choices.empty()) {
      text += formatted("%g", spec.fallback);
    } else {
      text += split_choices(spec.choices)[static_cast<std::size_t>(spec.fallback)];
    }
  }
  return text;
}

}  // namespace sluice::optim
