// What may stand behind `is`.
#include <cmath>
#include <stdexcept>

#include "jinja/builtins.h"
#include "jinja/text.h"

namespace sluice::jinja {
namespace {

bool is_number(const Value& value) {
  double unused = 0;
  return as_number(value, unused);
}

std::int64_t remainder(const Value& value, std::int64_t divisor) {
  if (divisor == 0) throw std::invalid_argument("division by zero");
  if (divisor == -1) return 0;
  const std::int64_t left = integer_of(value) % divisor;
  return left;
}

using Test = bool (*)(const Value& value, const Arguments& arguments);
struct Row {
  std::string_view name;
  Test test;
};

bool compare_equal(const Value& value, const Arguments& arguments) {
  return equal(value, required(arguments, 0, "other"));
}
bool compare_less(const Value& value, const Arguments& arguments) {
  return less(value, required(arguments, 0, "other"));
}
bool compare_more(const Value& value, const Arguments& arguments) {
  return less(required(arguments, 0, "other"), value);
}

constexpr Row kTests[] = {
    {"defined", [](auto& value, auto&) { return !value.is_undefined(); }},
    {"undefined", [](auto& value, auto&) { return value.is_undefined(); }},
    {"none", [](auto& value, auto&) { return value.is_none(); }},
    {"string", [](auto& value, auto&) { return value.as_text() != nullptr; }},
    {"mapping", [](auto& value, auto&) { return value.as_dict() != nullptr; }},
    {"sequence",
     [](auto& value, auto&) {
       return value.as_list() != nullptr || value.as_text() != nullptr || value.as_dict() != nullptr ||
              value.is_undefined();
     }},
    {"iterable",
     [](auto& value, auto&) {
       return value.as_list() != nullptr || value.as_text() != nullptr || value.as_dict() != nullptr ||
              value.is_undefined();
     }},
    {"number", [](auto& value, auto&) { return is_number(value); }},
    {"integer", [](auto& value, auto&) { return value.as_integer() != nullptr; }},
    {"float", [](auto& value, auto&) { return value.as_float() != nullptr; }},
    {"boolean", [](auto& value, auto&) { return value.as_bool() != nullptr; }},
    {"true", [](auto& value, auto&) { return value.as_bool() != nullptr && *value.as_bool(); }},
    {"false", [](auto& value, auto&) { return value.as_bool() != nullptr && !*value.as_bool(); }},
    {"callable", [](auto& value, auto&) { return value.as_function() != nullptr; }},
    {"odd", [](auto& value, auto&) { return remainder(value, 2) != 0; }},
    {"even", [](auto& value, auto&) { return remainder(value, 2) == 0; }},
    {"divisibleby", [](auto& value, auto& a) { return remainder(value, integer_of(required(a, 0, "num"))) == 0; }},
    {"lower",
     [](auto& value, auto&) { return value.str() == lower(value.str()) && value.str() != upper(value.str()); }},
    {"upper",
     [](auto& value, auto&) { return value.str() == upper(value.str()) && value.str() != lower(value.str()); }},
    {"in", [](auto& value, auto& a) { return contains(required(a, 0, "seq"), value); }},
    {"sameas", compare_equal},
    {"equalto", compare_equal},
    {"eq", compare_equal},
    {"==", compare_equal},
    {"ne", [](auto& value, auto& a) { return !compare_equal(value, a); }},
    {"!=", [](auto& value, auto& a) { return !compare_equal(value, a); }},
    {"lt", compare_less},
    {"lessthan", compare_less},
    {"<", compare_less},
    {"gt", compare_more},
    {"greaterthan", compare_more},
    {">", compare_more},
    {"ge", [](auto& value, auto& a) { return !compare_less(value, a); }},
    {">=", [](auto& value, auto& a) { return !compare_less(value, a); }},
    {"le", [](auto& value, auto& a) { return !compare_more(value, a); }},
    {"<=", [](auto& value, auto& a) { return !compare_more(value, a); }},
};

const Row* find_test(std::string_view name) {
  for (const Row& row : kTests)
    if (row.name == name) return &row;
  return nullptr;
}

}  // namespace

bool apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  const Row* row = find_test(name);
  if (row != nullptr) return row->test(input, arguments);
  if (name == "filter") return is_filter(input.str());
  if (name == "test") return is_test(input.str());
  throw std::invalid_argument("the test '" + name + "' is not supported");
}

bool is_test(std::string_view name) { return find_test(name) != nullptr; }

}  // namespace sluice::jinja
