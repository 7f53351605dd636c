// What may stand behind `|`.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "jinja/builtins.h"
#include "jinja/text.h"

namespace sluice::jinja {
namespace {

// `a.b.0` of an item, as the attribute arguments of filters write it; none such is undefined.
Value attribute_of(const Value& item, const std::string& path) {
  Value value = item;
  for (const std::string& part : split(path, ".", -1)) {
    const bool is_index =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    const Value key = is_index ? Value(static_cast<std::int64_t>(std::stoll(part))) : Value(part);
    value = find_item(value, key).value_or(Undefined{part});
  }
  return value;
}

// What sort, unique, min and max compare: text without its case, unless asked.
Value sort_key(const Value& item, const Arguments& arguments, std::size_t case_index, std::size_t attribute_index) {
  const Value* attribute = arguments.find(attribute_index, "attribute");
  Value key = attribute == nullptr || attribute->is_none() ? item : attribute_of(item, attribute->str());
  if (key.as_text() != nullptr && !flag_argument(arguments, case_index, "case_sensitive", false))
    key = lower(*key.as_text());
  return key;
}

Value sorted(const Value& input, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items_of(input)) keyed.emplace_back(sort_key(item, arguments, 1, 2), item);
  const bool reversed = flag_argument(arguments, 0, "reverse", false);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reversed ? less(b.first, a.first) : less(a.first, b.first);
  });
  List list;
  for (const auto& item : keyed) list.push_back(item.second);
  return list;
}

Value unique(const Value& input, const Arguments& arguments) {
  List list, keys;
  for (const Value& item : items_of(input)) {
    const Value key = sort_key(item, arguments, 0, 1);
    if (std::ranges::any_of(keys, [&](const Value& seen) { return equal(seen, key); })) continue;
    keys.push_back(key);
    list.push_back(item);
  }
  return list;
}

Value extreme(const Value& input, const Arguments& arguments, bool largest) {
  std::optional<Value> best, best_key;
  for (const Value& item : items_of(input)) {
    const Value key = sort_key(item, arguments, 0, 1);
    if (best && !(largest ? less(*best_key, key) : less(key, *best_key))) continue;
    best = item;
    best_key = key;
  }
  return best.value_or(Undefined{"an item of nothing"});
}

Value dict_sorted(const Value& input, const Arguments& arguments) {
  if (input.as_dict() == nullptr) throw std::invalid_argument("expected a dict");
  const bool by_value = text_argument(arguments, 1, "by", "key") == "value";
  List pairs;
  for (const auto& [key, value] : *input.as_dict()) pairs.emplace_back(List{Value(key), value});
  const Value place = static_cast<std::int64_t>(by_value ? 1 : 0);
  Arguments order;
  order.positional = {Value(flag_argument(arguments, 2, "reverse", false)),
                      Value(flag_argument(arguments, 0, "case_sensitive", false)), place};
  return sorted(pairs, order);
}

// select, reject, selectattr and rejectattr: items for which a test says `wanted`.
Value selected(const Value& input, const Arguments& arguments, bool by_attribute, bool wanted) {
  const std::size_t first = by_attribute ? 1 : 0;
  const std::string attribute = by_attribute ? text_argument(arguments, 0, "attribute", "") : "";
  const bool has_test = arguments.positional.size() > first;
  Arguments rest;
  for (std::size_t i = first + 1; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  List list;
  for (const Value& item : items_of(input)) {
    const Value value = by_attribute ? attribute_of(item, attribute) : item;
    const bool holds = has_test ? apply_test(arguments.positional[first].str(), value, rest) : value.truthy();
    if (holds == wanted) list.push_back(item);
  }
  return list;
}

Value mapped(const Value& input, const Arguments& arguments, const Bounds& bounds) {
  const Value* attribute = find_member(arguments.named, "attribute");
  const Value* absent = find_member(arguments.named, "default");
  Arguments rest;
  if (attribute == nullptr) {
    required(arguments, 0, "attribute");
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.named = arguments.named;
  }
  List list;
  for (const Value& item : items_of(input)) {
    if (attribute == nullptr) {
      list.push_back(apply_filter(arguments.positional[0].str(), item, rest, bounds));
    } else {
      const Value value = attribute_of(item, attribute->str());
      list.push_back(value.is_undefined() && absent != nullptr ? *absent : value);
    }
  }
  return list;
}

Value joined(const Value& input, const Arguments& arguments, const Bounds& bounds) {
  const std::string separator = text_argument(arguments, 0, "d", "");
  const Value* attribute = arguments.find(1, "attribute");
  std::string text;
  bool first = true;
  for (const Value& item : items_of(input)) {
    text += (first ? "" : separator) + (attribute == nullptr ? item : attribute_of(item, attribute->str())).str();
    if (text.size() > bounds.text_bytes) throw std::length_error("a text grows too long");
    first = false;
  }
  return text;
}

Value indented(const Value& input, const Arguments& arguments, const Bounds& bounds) {
  const Value* width = arguments.find(0, "width");
  const std::int64_t spaces = width == nullptr ? 4 : width->as_text() != nullptr ? 0 : integer_of(*width);
  if (spaces > 10'000) throw std::length_error("the indentation is too wide");
  const std::string margin = width != nullptr && width->as_text() != nullptr
                                 ? *width->as_text()
                                 : std::string(static_cast<std::size_t>(std::max<std::int64_t>(spaces, 0)), ' ');
  const bool blank = flag_argument(arguments, 2, "blank", false);
  std::string text = flag_argument(arguments, 1, "first", false) ? margin : "";
  const auto lines = split_lines(input.str() + "\n");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) text += "\n" + (blank || !lines[i].empty() ? margin : "");
    text += lines[i];
    if (text.size() > bounds.text_bytes) throw std::length_error("a text grows too long");
  }
  return text;
}

Value to_integer(const Value& input, const Arguments& arguments) {
  const Value* given = arguments.find(0, "default");
  const Value absent = given == nullptr ? Value(std::int64_t{0}) : *given;
  double number = 0;
  if (input.as_integer() != nullptr) return input;
  if (input.as_text() != nullptr) {
    const std::string text = strip(*input.as_text(), Side::Both);
    char* end = nullptr;
    number = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') return absent;
    if (text.find_first_not_of("+-0123456789") == std::string::npos && text.size() < 18)
      return static_cast<std::int64_t>(std::strtoll(text.c_str(), nullptr, 10));
  } else if (!as_number(input, number)) {
    return absent;
  }
  if (!(std::abs(number) < 9e18)) return absent;
  return static_cast<std::int64_t>(number);
}

Value to_float(const Value& input, const Arguments& arguments) {
  const Value* given = arguments.find(0, "default");
  const Value absent = given == nullptr ? Value(0.0) : *given;
  double number = 0;
  if (as_number(input, number)) return number;
  if (input.as_text() == nullptr) return absent;
  const std::string text = strip(*input.as_text(), Side::Both);
  char* end = nullptr;
  number = std::strtod(text.c_str(), &end);
  return text.empty() || *end != '\0' ? absent : Value(number);
}

Value rounded(const Value& input, const Arguments& arguments) {
  double number = 0;
  if (!as_number(input, number)) throw std::invalid_argument("expected a number");
  const std::int64_t places = std::clamp<std::int64_t>(integer_argument(arguments, 0, "precision", 0), -300, 300);
  const std::string method = text_argument(arguments, 1, "method", "common");
  const double scale = std::pow(10.0, static_cast<double>(places));
  if (method == "ceil") return std::ceil(number * scale) / scale;
  if (method == "floor") return std::floor(number * scale) / scale;
  return std::nearbyint(number * scale) / scale;
}

Value absolute(const Value& input) {
  if (input.as_float() != nullptr) return std::abs(*input.as_float());
  const std::int64_t value = integer_of(input);
  if (value == INT64_MIN) throw std::length_error("a number grows too large");
  return value < 0 ? -value : value;
}

Value summed(const Value& input, const Arguments& arguments) {
  const Value* attribute = arguments.find(0, "attribute");
  const Value* start = arguments.find(1, "start");
  std::int64_t whole = 0;
  double all = 0;
  bool is_whole = true;
  const auto add = [&](const Value& value) {
    double number = 0;
    if (!as_number(value, number)) throw std::invalid_argument("expected numbers to sum");
    all += number;
    is_whole = is_whole && value.as_float() == nullptr;
    if (is_whole && __builtin_add_overflow(whole, integer_of(value), &whole))
      throw std::length_error("a number grows too large");
  };
  if (start != nullptr) add(*start);
  for (const Value& item : items_of(input))
    add(attribute == nullptr || attribute->is_none() ? item : attribute_of(item, attribute->str()));
  return is_whole ? Value(whole) : Value(all);
}

Value reversed(const Value& input) {
  List list = items_of(input);
  std::ranges::reverse(list);
  if (input.as_text() == nullptr) return list;
  std::string text;
  for (const Value& character : list) text += *character.as_text();
  return text;
}

Value default_value(const Value& input, const Arguments& arguments) {
  const Value* given = arguments.find(0, "default_value");
  const bool falsy_too = flag_argument(arguments, 1, "boolean", false);
  const bool missing = input.is_undefined() || (falsy_too && !input.truthy());
  return !missing ? input : given == nullptr ? Value("") : *given;
}

Value escaped(const Value& input, const Bounds& bounds) {
  std::string text = input.str();
  constexpr std::pair<const char*, const char*> kMarks[] = {
      {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
  for (const auto& [mark, name] : kMarks) text = replace(text, mark, name, -1, bounds.text_bytes);
  return text;
}

Value as_json(const Value& input, const Arguments& arguments) {
  JsonStyle style;
  const Value* indent = find_member(arguments.named, "indent");
  if (indent == nullptr && arguments.positional.size() > 1) indent = &arguments.positional[1];
  if (indent != nullptr && !indent->is_none()) {
    style.indent = static_cast<int>(std::clamp<std::int64_t>(integer_of(*indent), 0, 100));
    style.item_separator = ",";
  }
  if (const Value* separators = find_member(arguments.named, "separators");
      separators != nullptr && !separators->is_none()) {
    const List parts = items_of(*separators);
    if (parts.size() != 2) throw std::invalid_argument("expected two separators");
    style.item_separator = parts[0].str();
    style.key_separator = parts[1].str();
  }
  const Value* sort = find_member(arguments.named, "sort_keys");
  style.sort_keys = sort != nullptr && sort->truthy();
  return to_json(input, style);
}

using Filter = Value (*)(const Value& input, const Arguments& arguments, const Bounds& bounds);
struct Row {
  std::string_view name;
  Filter filter;
};

Value trimmed(const Value& input, const Arguments& arguments, const Bounds&) {
  const Value* set = arguments.find(0, "chars");
  if (set == nullptr || set->is_none()) return strip(input.str(), Side::Both);
  return strip(input.str(), Side::Both, set->str());
}

Value replaced(const Value& input, const Arguments& arguments, const Bounds& bounds) {
  return replace(input.str(), text_argument(arguments, 0, "old", ""), text_argument(arguments, 1, "new", ""),
                 integer_argument(arguments, 2, "count", -1), bounds.text_bytes);
}

Value first_of(const Value& input, bool last) {
  const List list = items_of(input);
  if (list.empty()) return Undefined{"an item of nothing"};
  return last ? list.back() : list.front();
}

Value pairs_of(const Value& input) {
  if (input.is_undefined()) return List();
  const auto method = find_method(input, "items", {});
  if (input.as_dict() == nullptr || !method) throw std::invalid_argument("expected a dict");
  return (*method->as_function())({});
}

constexpr Row kFilters[] = {
    {"trim", trimmed},
    {"tojson", [](auto& in, auto& a, auto&) { return as_json(in, a); }},
    {"length", [](auto& in, auto&, auto&) -> Value { return length_of(in); }},
    {"count", [](auto& in, auto&, auto&) -> Value { return length_of(in); }},
    {"join", joined},
    {"items", [](auto& in, auto&, auto&) { return pairs_of(in); }},
    {"select", [](auto& in, auto& a, auto&) { return selected(in, a, false, true); }},
    {"reject", [](auto& in, auto& a, auto&) { return selected(in, a, false, false); }},
    {"selectattr", [](auto& in, auto& a, auto&) { return selected(in, a, true, true); }},
    {"rejectattr", [](auto& in, auto& a, auto&) { return selected(in, a, true, false); }},
    {"map", mapped},
    {"first", [](auto& in, auto&, auto&) { return first_of(in, false); }},
    {"last", [](auto& in, auto&, auto&) { return first_of(in, true); }},
    {"list", [](auto& in, auto&, auto&) -> Value { return items_of(in); }},
    {"string", [](auto& in, auto&, auto&) -> Value { return in.str(); }},
    {"safe", [](auto& in, auto&, auto&) -> Value { return in.str(); }},
    {"int", [](auto& in, auto& a, auto&) { return to_integer(in, a); }},
    {"float", [](auto& in, auto& a, auto&) { return to_float(in, a); }},
    {"default", [](auto& in, auto& a, auto&) { return default_value(in, a); }},
    {"d", [](auto& in, auto& a, auto&) { return default_value(in, a); }},
    {"upper", [](auto& in, auto&, auto&) -> Value { return upper(in.str()); }},
    {"lower", [](auto& in, auto&, auto&) -> Value { return lower(in.str()); }},
    {"title", [](auto& in, auto&, auto&) -> Value { return title(in.str()); }},
    {"capitalize", [](auto& in, auto&, auto&) -> Value { return capitalize(in.str()); }},
    {"replace", replaced},
    {"indent", indented},
    {"escape", [](auto& in, auto&, auto& bounds) { return escaped(in, bounds); }},
    {"e", [](auto& in, auto&, auto& bounds) { return escaped(in, bounds); }},
    {"sort", [](auto& in, auto& a, auto&) { return sorted(in, a); }},
    {"dictsort", [](auto& in, auto& a, auto&) { return dict_sorted(in, a); }},
    {"unique", [](auto& in, auto& a, auto&) { return unique(in, a); }},
    {"min", [](auto& in, auto& a, auto&) { return extreme(in, a, false); }},
    {"max", [](auto& in, auto& a, auto&) { return extreme(in, a, true); }},
    {"sum", [](auto& in, auto& a, auto&) { return summed(in, a); }},
    {"reverse", [](auto& in, auto&, auto&) { return reversed(in); }},
    {"abs", [](auto& in, auto&, auto&) { return absolute(in); }},
    {"round", [](auto& in, auto& a, auto&) { return rounded(in, a); }},
};

}  // namespace

Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments, const Bounds& bounds) {
  for (const Row& row : kFilters)
    if (row.name == name) return row.filter(input, arguments, bounds);
  throw std::invalid_argument("the filter '" + name + "' is not supported");
}

bool is_filter(std::string_view name) {
  return std::ranges::any_of(kFilters, [&](const Row& row) { return row.name == name; });
}

}  // namespace sluice::jinja
