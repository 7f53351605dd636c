#include "jinja/value.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace sluice::jinja {
namespace {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return nlohmann::json(value).dump();
}

std::string quoted(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c == '\r') {
      result += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      constexpr const char* kDigits = "0123456789abcdef";
      result += std::string("\\x") + kDigits[(c >> 4) & 15] + kDigits[c & 15];
    } else {
      result += c;
    }
  }
  return result + quote;
}

constexpr int kDeepest = 200;
constexpr std::size_t kMaxText = std::size_t{64} << 20;
constexpr std::int64_t kMaxComparisons = 10'000'000;

template <typename Sequence, typename Show>
std::string bracketed(char open, const Sequence& items, char close, const Show& show) {
  std::string text(1, open);
  for (const auto& item : items) {
    text += (text.size() > 1 ? ", " : "") + show(item);
    if (text.size() > kMaxText) throw std::length_error("a text grows too long");
  }
  return text + close;
}

bool equal_within(const Value& left, const Value& right, std::int64_t& budget) {
  if (--budget < 0) throw std::length_error("a comparison takes too long");
  double a = 0, b = 0;
  if (left.as_integer() != nullptr && right.as_integer() != nullptr) return *left.as_integer() == *right.as_integer();
  if (as_number(left, a) && as_number(right, b)) return a == b;
  if (left.is_undefined() || left.is_none())
    return left.is_undefined() == right.is_undefined() && left.is_none() == right.is_none();
  if (left.as_text() != nullptr && right.as_text() != nullptr) return *left.as_text() == *right.as_text();
  const auto same = [&](const Value& one, const Value& other) { return equal_within(one, other, budget); };
  if (left.as_list() != nullptr && right.as_list() != nullptr)
    return std::ranges::equal(*left.as_list(), *right.as_list(), same);
  if (left.as_dict() != nullptr && right.as_dict() != nullptr) {
    if (left.as_dict()->size() != right.as_dict()->size()) return false;
    return std::ranges::all_of(*left.as_dict(), [&](const auto& member) {
      const Value* other = find_member(*right.as_dict(), member.first);
      return other != nullptr && same(member.second, *other);
    });
  }
  return left.as_namespace() != nullptr && left.as_namespace() == right.as_namespace();
}

bool less_within(const Value& left, const Value& right, std::int64_t& budget) {
  if (--budget < 0) throw std::length_error("a comparison takes too long");
  double a = 0, b = 0;
  if (left.as_integer() != nullptr && right.as_integer() != nullptr) return *left.as_integer() < *right.as_integer();
  if (as_number(left, a) && as_number(right, b)) return a < b;
  if (left.as_text() != nullptr && right.as_text() != nullptr) return *left.as_text() < *right.as_text();
  if (left.as_list() != nullptr && right.as_list() != nullptr)
    return std::lexicographical_compare(
        left.as_list()->begin(), left.as_list()->end(), right.as_list()->begin(), right.as_list()->end(),
        [&](const Value& one, const Value& other) { return less_within(one, other, budget); });
  throw std::invalid_argument(std::string(left.type_name()) + " and " + right.type_name() + " have no order");
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value, int depth) {
    if (text.size() > kMaxText) throw std::length_error("a text grows too long");
    if (value.is_undefined() || value.as_function() != nullptr || value.as_namespace() != nullptr)
      throw std::invalid_argument(std::string(value.type_name()) + " cannot be written as JSON");
    if (value.is_none()) {
      text += "null";
    } else if (const bool* flag = value.as_bool()) {
      text += *flag ? "true" : "false";
    } else if (const std::string* string = value.as_text()) {
      text += json_text(*string);
    } else if (const List* list = value.as_list()) {
      write_items('[', list->size(), ']', depth, [&](std::size_t i) { write((*list)[i], depth + 1); });
    } else if (const Dict* dict = value.as_dict()) {
      write_dict(*dict, depth);
    } else if (const double* number = value.as_float()) {
      text += std::isnan(*number)   ? "NaN"
              : std::isinf(*number) ? (*number < 0 ? "-Infinity" : "Infinity")
                                    : value.str();
    } else {
      text += value.str();
    }
  }

  std::string text;

 private:
  void write_dict(const Dict& dict, int depth) {
    std::vector<const std::pair<std::string, Value>*> members;
    for (const auto& member : dict) members.push_back(&member);
    if (style_.sort_keys)
      std::stable_sort(members.begin(), members.end(), [](auto* a, auto* b) { return a->first < b->first; });
    write_items('{', members.size(), '}', depth, [&](std::size_t i) {
      text += json_text(members[i]->first) + style_.key_separator;
      write(members[i]->second, depth + 1);
    });
  }

  template <typename WriteItem>
  void write_items(char open, std::size_t count, char close, int depth, const WriteItem& write_item) {
    text += open;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) text += style_.item_separator;
      break_line(depth + 1);
      write_item(i);
    }
    if (count > 0) break_line(depth);
    text += close;
  }

  void break_line(int depth) {
    if (style_.indent >= 0) text += '\n' + std::string(static_cast<std::size_t>(style_.indent * depth), ' ');
  }

  const JsonStyle& style_;
};

}  // namespace

const Value* Arguments::find(std::size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  return find_member(named, name);
}

Value::Value(List list) {
  for (const Value& item : list) enclose(item);
  data_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) {
  for (const auto& member : dict) enclose(member.second);
  data_ = std::make_shared<const Dict>(std::move(dict));
}

void Value::enclose(const Value& inner) {
  depth_ = std::max(depth_, inner.depth_ + 1);
  holds_namespace_ = holds_namespace_ || inner.holds_namespace_;
  if (depth_ > kDeepest) throw std::length_error("values are nested too deeply");
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const bool* flag = as_bool()) return *flag;
  if (const std::int64_t* integer = as_integer()) return *integer != 0;
  if (const double* number = as_float()) return *number != 0;
  if (const std::string* text = as_text()) return !text->empty();
  if (const List* list = as_list()) return !list->empty();
  if (const Dict* dict = as_dict()) return !dict->empty();
  return true;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"Undefined", "None", "bool", "int",       "float",
                                    "str",       "list", "dict", "namespace", "function"};
  return kNames[data_.index()];
}

std::string Value::str() const {
  if (is_undefined()) return "";
  if (const std::string* text = as_text()) return *text;
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (const bool* flag = as_bool()) return *flag ? "True" : "False";
  if (const std::int64_t* integer = as_integer()) return std::to_string(*integer);
  if (const double* number = as_float()) return float_text(*number);
  if (const std::string* text = as_text()) return quoted(*text);
  if (const List* list = as_list()) return bracketed('[', *list, ']', [](const Value& item) { return item.repr(); });
  if (const Dict* dict = as_dict())
    return bracketed('{', *dict, '}', [](const auto& item) { return quoted(item.first) + ": " + item.second.repr(); });
  return std::string("<") + type_name() + ">";
}

bool as_number(const Value& value, double& number) {
  if (const bool* flag = value.as_bool())
    number = *flag ? 1 : 0;
  else if (const std::int64_t* integer = value.as_integer())
    number = static_cast<double>(*integer);
  else if (const double* real = value.as_float())
    number = *real;
  else
    return false;
  return true;
}

bool equal(const Value& left, const Value& right) {
  std::int64_t budget = kMaxComparisons;
  return equal_within(left, right, budget);
}

bool less(const Value& left, const Value& right) {
  std::int64_t budget = kMaxComparisons;
  return less_within(left, right, budget);
}

const Value* find_member(const Dict& dict, std::string_view key) {
  for (const auto& [name, value] : dict)
    if (name == key) return &value;
  return nullptr;
}

void set_member(Dict& dict, std::string key, Value value) {
  for (auto& [name, held] : dict) {
    if (name != key) continue;
    held = std::move(value);
    return;
  }
  dict.emplace_back(std::move(key), std::move(value));
}

Value from_json(const nlohmann::ordered_json& json, int depth) {
  if (depth > kDeepest) throw std::length_error("values are nested too deeply");
  using Kind = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Kind::boolean:
      return json.get<bool>();
    case Kind::number_integer:
      return json.get<std::int64_t>();
    case Kind::number_unsigned:
      if (json.get<std::uint64_t>() > INT64_MAX) return json.get<double>();
      return json.get<std::int64_t>();
    case Kind::number_float:
      return json.get<double>();
    case Kind::string:
      return json.get<std::string>();
    case Kind::array: {
      List list;
      for (const auto& item : json) list.push_back(from_json(item, depth + 1));
      return list;
    }
    case Kind::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.emplace_back(key, from_json(item, depth + 1));
      return dict;
    }
    default:
      return {};
  }
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.text);
}

}  // namespace sluice::jinja
