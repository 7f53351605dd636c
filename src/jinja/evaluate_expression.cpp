#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/error.h"
#include "jinja/evaluator.h"
#include "jinja/text.h"

namespace sluice::jinja {
namespace {

std::invalid_argument unsuitable(const std::string& mark, const Value& left, const Value& right) {
  return std::invalid_argument("'" + mark + "' does not take " + left.type_name() + " and " + right.type_name());
}

[[noreturn]] void too_large() { throw std::length_error("a number grows too large"); }

// Python's floor division and modulo: the remainder has the sign of the divisor.
Value integer_arithmetic(const std::string& mark, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (mark == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (mark == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (mark == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  if (mark == "//" || mark == "%") {
    if (b == 0) throw std::invalid_argument("division by zero");
    if (b == -1) {
      if (mark == "%") return std::int64_t{0};
      if (!__builtin_sub_overflow(std::int64_t{0}, a, &result)) return result;
      too_large();
    }
    const std::int64_t rest = a % b;
    const bool adjusted = rest != 0 && (rest < 0) != (b < 0);
    if (mark == "%") return adjusted ? rest + b : rest;
    return a / b - (adjusted ? 1 : 0);
  }
  if (mark == "**" && b >= 0) {
    result = 1;
    for (std::int64_t i = 0; i < b && result != 0; ++i) {
      if (__builtin_mul_overflow(result, a, &result)) too_large();
      if (a == 1 || (a == -1 && i > 1000)) break;
    }
    return a == -1 ? (b % 2 == 0 ? std::int64_t{1} : std::int64_t{-1}) : result;
  }
  if (mark == "**") return std::pow(static_cast<double>(a), static_cast<double>(b));
  too_large();
}

Value real_arithmetic(const std::string& mark, double a, double b) {
  if (mark == "+") return a + b;
  if (mark == "-") return a - b;
  if (mark == "*") return a * b;
  if (mark == "**") return std::pow(a, b);
  if (b == 0) throw std::invalid_argument("division by zero");
  if (mark == "/") return a / b;
  if (mark == "//") return std::floor(a / b);
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value repeated(const Value& value, std::int64_t count, const Bounds& bounds) {
  const std::size_t size = value.as_text() != nullptr ? value.as_text()->size() : value.as_list()->size();
  const std::size_t limit = value.as_text() != nullptr ? bounds.text_bytes : bounds.items;
  if (count > 0 && size > 0 && static_cast<std::size_t>(count) > limit / size)
    throw std::length_error("a repetition grows too long");
  std::string text;
  List list;
  for (std::int64_t i = 0; i < count && size > 0; ++i) {
    if (value.as_text() != nullptr) {
      text += *value.as_text();
    } else {
      list.insert(list.end(), value.as_list()->begin(), value.as_list()->end());
    }
  }
  return value.as_text() != nullptr ? Value(text) : Value(list);
}

// Places of a slice as Python counts them.
std::vector<std::size_t> slice_places(std::int64_t size, const Value& from, const Value& to, const Value& by) {
  const auto given = [](const Value& value) { return !value.is_none(); };
  const std::int64_t step = given(by) ? integer_of(by) : 1;
  if (step == 0) throw std::invalid_argument("the step of a slice is zero");
  const auto clamped = [&](const Value& value, std::int64_t absent) {
    if (!given(value)) return absent;
    std::int64_t at = integer_of(value);
    if (at < 0) at = std::max<std::int64_t>(at, -size - 1) + size;
    return std::clamp<std::int64_t>(at, step > 0 ? 0 : -1, step > 0 ? size : size - 1);
  };
  const std::int64_t first = clamped(from, step > 0 ? 0 : size - 1);
  const std::int64_t last = clamped(to, step > 0 ? size : -1);
  std::vector<std::size_t> places;
  for (__int128 at = first; step > 0 ? at < last : at > last; at += step)
    places.push_back(static_cast<std::size_t>(at));
  return places;
}

// Making a long value is work, too; naming one is none.
std::size_t work_of(const Expression& node, const Value& value) {
  if (node.kind == ExpressionKind::Name || node.kind == ExpressionKind::Constant) return 0;
  if (value.as_list() != nullptr) return value.as_list()->size() / 8;
  return value.as_text() != nullptr ? value.as_text()->size() / 64 : 0;
}

}  // namespace

Value Evaluator::evaluate(const Expression& node, const ScopePtr& scope) {
  const Visit visit(*this, node.line);
  try {
    Value value = evaluate_node(node, scope);
    steps_ += work_of(node, value);
    return value;
  } catch (const std::logic_error& misuse) {
    refuse(node.line, misuse.what());
  }
}

Value Evaluator::evaluate_node(const Expression& node, const ScopePtr& scope) {
  const auto child = [&](std::size_t i) { return evaluate(*node.children[i], scope); };
  switch (node.kind) {
    case ExpressionKind::Constant:
      return node.constant;
    case ExpressionKind::Name:
      return lookup(node.name, scope);
    case ExpressionKind::MakeList: {
      List list;
      for (std::size_t i = 0; i < node.children.size(); ++i) list.push_back(child(i));
      return list;
    }
    case ExpressionKind::MakeDict: {
      Dict dict;
      for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) set_member(dict, child(i).str(), child(i + 1));
      return dict;
    }
    case ExpressionKind::Attribute:
      return attribute(node, scope);
    case ExpressionKind::Item:
      return item(node, scope);
    case ExpressionKind::Slice:
      return slice(node, scope);
    case ExpressionKind::Call:
      return call(node, scope, {});
    case ExpressionKind::Filter: {
      const Value input = child(0);
      return apply_filter(node.name, input, arguments_of(node, scope), bounds_);
    }
    case ExpressionKind::Test:
      return test(node, scope);
    case ExpressionKind::Not:
      return !child(0).truthy();
    case ExpressionKind::Negative:
    case ExpressionKind::Positive: {
      const Value value = child(0);
      const std::int64_t sign = node.kind == ExpressionKind::Negative ? -1 : 1;
      if (value.as_float() != nullptr) return static_cast<double>(sign) * *value.as_float();
      return integer_arithmetic("*", sign, integer_of(value));
    }
    case ExpressionKind::And: {
      Value left = child(0);
      return left.truthy() ? child(1) : left;
    }
    case ExpressionKind::Or: {
      Value left = child(0);
      return left.truthy() ? left : child(1);
    }
    case ExpressionKind::Compare:
      return compare(node, scope);
    case ExpressionKind::Binary: {
      const Value left = child(0);
      return binary(node.name, left, child(1));
    }
    case ExpressionKind::Condition:
      if (child(1).truthy()) return child(0);
      return node.children[2] == nullptr ? Value(Undefined{"a condition without else"}) : child(2);
  }
  return {};
}

Value Evaluator::lookup(const std::string& name, const ScopePtr& scope) const {
  for (const Scope* at = scope.get(); at != nullptr; at = at->outer.get())
    if (const Value* found = find_member(at->variables, name)) return *found;
  return Undefined{name};
}

Value Evaluator::attribute(const Expression& node, const ScopePtr& scope) {
  const Value object = evaluate(*node.children[0], scope);
  if (object.is_undefined()) throw std::invalid_argument("'" + object.undefined_name() + "' is undefined");
  if (auto method = find_method(object, node.name, bounds_)) return *method;
  return find_item(object, Value(node.name)).value_or(Undefined{node.name});
}

Value Evaluator::item(const Expression& node, const ScopePtr& scope) {
  const Value object = evaluate(*node.children[0], scope);
  const Value key = evaluate(*node.children[1], scope);
  if (object.is_undefined()) throw std::invalid_argument("'" + object.undefined_name() + "' is undefined");
  if (auto found = find_item(object, key)) return *found;
  if (key.as_text() != nullptr)
    if (auto method = find_method(object, *key.as_text(), bounds_)) return *method;
  return Undefined{key.str()};
}

Value Evaluator::slice(const Expression& node, const ScopePtr& scope) {
  const Value object = evaluate(*node.children[0], scope);
  Value parts[3];
  for (std::size_t i = 0; i < 3; ++i)
    if (node.children[i + 1] != nullptr) parts[i] = evaluate(*node.children[i + 1], scope);
  if (object.as_list() == nullptr && object.as_text() == nullptr)
    throw std::invalid_argument(std::string(object.type_name()) + " cannot be sliced");
  const List items = items_of(object);
  List chosen;
  for (const std::size_t place : slice_places(length_of(object), parts[0], parts[1], parts[2]))
    chosen.push_back(items[place]);
  if (object.as_list() != nullptr) return chosen;
  std::string text;
  for (const Value& character : chosen) text += *character.as_text();
  return text;
}

Value Evaluator::compare(const Expression& node, const ScopePtr& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    const std::string& mark = node.operators[i];
    Value right = evaluate(*node.children[i + 1], scope);
    bool holds = false;
    if (mark == "==") holds = equal(left, right);
    if (mark == "!=") holds = !equal(left, right);
    if (mark == "<") holds = less(left, right);
    if (mark == ">") holds = less(right, left);
    if (mark == "<=") holds = less(left, right) || equal(left, right);
    if (mark == ">=") holds = less(right, left) || equal(left, right);
    if (mark == "in") holds = contains(right, left);
    if (mark == "not in") holds = !contains(right, left);
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::binary(const std::string& mark, const Value& left, const Value& right) const {
  if (mark == "~") {
    std::string text = left.str() + right.str();
    if (text.size() > bounds_.text_bytes) throw std::length_error("a text grows too long");
    return text;
  }
  for (const Value* value : {&left, &right})
    if (value->is_undefined()) throw std::invalid_argument("'" + value->undefined_name() + "' is undefined");
  double a = 0, b = 0;
  if (as_number(left, a) && as_number(right, b)) {
    const bool whole = left.as_float() == nullptr && right.as_float() == nullptr && mark != "/";
    return whole ? integer_arithmetic(mark, integer_of(left), integer_of(right)) : real_arithmetic(mark, a, b);
  }
  if (mark == "+" && left.as_text() != nullptr && right.as_text() != nullptr) {
    if (left.as_text()->size() + right.as_text()->size() > bounds_.text_bytes)
      throw std::length_error("a text grows too long");
    return *left.as_text() + *right.as_text();
  }
  if (mark == "+" && left.as_list() != nullptr && right.as_list() != nullptr) {
    List list = *left.as_list();
    if (list.size() + right.as_list()->size() > bounds_.items) throw std::length_error("a list grows too long");
    list.insert(list.end(), right.as_list()->begin(), right.as_list()->end());
    return list;
  }
  const auto sequence = [](const Value& value) { return value.as_text() != nullptr || value.as_list() != nullptr; };
  if (mark == "*" && sequence(left) && right.as_integer() != nullptr)
    return repeated(left, *right.as_integer(), bounds_);
  if (mark == "*" && sequence(right) && left.as_integer() != nullptr)
    return repeated(right, *left.as_integer(), bounds_);
  throw unsuitable(mark, left, right);
}

Arguments Evaluator::arguments_of(const Expression& node, const ScopePtr& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < node.children.size(); ++i)
    arguments.positional.push_back(evaluate(*node.children[i], scope));
  for (const auto& [name, value] : node.named) set_member(arguments.named, name, evaluate(*value, scope));
  return arguments;
}

Value Evaluator::call(const Expression& node, const ScopePtr& scope, const Dict& extra) {
  const Value callee = evaluate(*node.children[0], scope);
  if (callee.is_undefined()) throw std::invalid_argument("'" + callee.undefined_name() + "' is undefined");
  if (callee.as_function() == nullptr)
    throw std::invalid_argument(std::string(callee.type_name()) + " cannot be called");
  Arguments arguments = arguments_of(node, scope);
  for (const auto& [name, value] : extra) set_member(arguments.named, name, value);
  return (*callee.as_function())(arguments);
}

Value Evaluator::test(const Expression& node, const ScopePtr& scope) {
  const Value input = evaluate(*node.children[0], scope);
  return apply_test(node.name, input, arguments_of(node, scope));
}

}  // namespace sluice::jinja
