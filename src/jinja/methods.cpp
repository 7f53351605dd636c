// Methods of str, dict and list, and access to what they hold.
#include <algorithm>
#include <stdexcept>

#include "jinja/builtins.h"
#include "jinja/text.h"

namespace sluice::jinja {
namespace {

List as_values(const std::vector<std::string>& texts) {
  List list;
  for (const std::string& text : texts) list.emplace_back(text);
  return list;
}

std::optional<std::string> optional_text(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr || value->is_none()) return std::nullopt;
  return text_argument(arguments, index, name, "");
}

// startswith and endswith take one text or a tuple of them.
template <typename Matches>
bool any_affix(const Arguments& arguments, const Matches& matches) {
  const Value& affix = required(arguments, 0, "prefix");
  if (affix.as_text() != nullptr) return matches(*affix.as_text());
  if (affix.as_list() == nullptr) throw std::invalid_argument("expected a text");
  return std::ranges::any_of(*affix.as_list(),
                             [&](const Value& item) { return item.as_text() != nullptr && matches(*item.as_text()); });
}

std::string joined(const std::string& separator, const List& parts, const Bounds& bounds) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].as_text() == nullptr)
      throw std::invalid_argument(std::string("expected texts to join, got ") + parts[i].type_name());
    text += (i > 0 ? separator : "") + *parts[i].as_text();
    if (text.size() > bounds.text_bytes) throw std::length_error("a text grows too long");
  }
  return text;
}

std::int64_t find_in(const std::string& text, const std::string& part) {
  const std::size_t at = text.find(part);
  if (at == std::string::npos) return -1;
  return static_cast<std::int64_t>(characters(std::string_view(text).substr(0, at)).size());
}

std::int64_t count_in(const std::string& text, const std::string& part) {
  if (part.empty()) return static_cast<std::int64_t>(characters(text).size()) + 1;
  std::int64_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

bool all_characters(const std::string& text, bool (*test)(char)) {
  return !text.empty() && std::ranges::all_of(text, test);
}

using TextMethod = Value (*)(const std::string& text, const Arguments& arguments, const Bounds& bounds);
struct TextRow {
  std::string_view name;
  TextMethod call;
};

constexpr TextRow kTextMethods[] = {
    {"strip",
     [](auto& text, auto& a, auto&) -> Value { return strip(text, Side::Both, optional_text(a, 0, "chars")); }},
    {"lstrip",
     [](auto& text, auto& a, auto&) -> Value { return strip(text, Side::Left, optional_text(a, 0, "chars")); }},
    {"rstrip",
     [](auto& text, auto& a, auto&) -> Value { return strip(text, Side::Right, optional_text(a, 0, "chars")); }},
    {"split",
     [](auto& text, auto& a, auto&) -> Value {
       const auto separator = optional_text(a, 0, "sep");
       if (separator && separator->empty()) throw std::invalid_argument("expected a separator that is not empty");
       return as_values(split(text, separator, integer_argument(a, 1, "maxsplit", -1)));
     }},
    {"rsplit",
     [](auto& text, auto& a, auto&) -> Value {
       const std::string separator = text_argument(a, 0, "sep", "");
       if (separator.empty()) throw std::invalid_argument("rsplit() needs a separator");
       return as_values(split_right(text, separator, integer_argument(a, 1, "maxsplit", -1)));
     }},
    {"splitlines", [](auto& text, auto&, auto&) -> Value { return as_values(split_lines(text)); }},
    {"startswith",
     [](auto& text, auto& a, auto&) -> Value {
       return any_affix(a, [&](const std::string& affix) { return text.starts_with(affix); });
     }},
    {"endswith",
     [](auto& text, auto& a, auto&) -> Value {
       return any_affix(a, [&](const std::string& affix) { return text.ends_with(affix); });
     }},
    {"replace",
     [](auto& text, auto& a, auto& bounds) -> Value {
       return replace(text, text_argument(a, 0, "old", ""), text_argument(a, 1, "new", ""),
                      integer_argument(a, 2, "count", -1), bounds.text_bytes);
     }},
    {"join",
     [](auto& text, auto& a, auto& bounds) -> Value {
       return joined(text, items_of(required(a, 0, "iterable")), bounds);
     }},
    {"upper", [](auto& text, auto&, auto&) -> Value { return upper(text); }},
    {"lower", [](auto& text, auto&, auto&) -> Value { return lower(text); }},
    {"title", [](auto& text, auto&, auto&) -> Value { return title(text); }},
    {"capitalize", [](auto& text, auto&, auto&) -> Value { return capitalize(text); }},
    {"find", [](auto& text, auto& a, auto&) -> Value { return find_in(text, text_argument(a, 0, "sub", "")); }},
    {"count", [](auto& text, auto& a, auto&) -> Value { return count_in(text, text_argument(a, 0, "sub", "")); }},
    {"isdigit",
     [](auto& text, auto&, auto&) -> Value {
       return all_characters(text, [](char c) { return c >= '0' && c <= '9'; });
     }},
    {"isspace", [](auto& text, auto&, auto&) -> Value { return !text.empty() && strip(text, Side::Both).empty(); }},
    {"removeprefix",
     [](auto& text, auto& a, auto&) -> Value {
       const std::string affix = text_argument(a, 0, "prefix", "");
       return text.starts_with(affix) ? text.substr(affix.size()) : text;
     }},
    {"removesuffix",
     [](auto& text, auto& a, auto&) -> Value {
       const std::string affix = text_argument(a, 0, "suffix", "");
       return text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text;
     }},
};

std::optional<Value> dict_method(const Value& object, const std::string& name) {
  if (name == "get")
    return Function([object](const Arguments& arguments) -> Value {
      const Value& key = required(arguments, 0, "key");
      const Value* found = key.as_text() == nullptr ? nullptr : find_member(*object.as_dict(), *key.as_text());
      if (found != nullptr) return *found;
      const Value* absent = arguments.find(1, "default");
      return absent == nullptr ? Value() : *absent;
    });
  if (name != "items" && name != "keys" && name != "values") return std::nullopt;
  return Function([object, name](const Arguments&) -> Value {
    List list;
    for (const auto& [key, value] : *object.as_dict()) {
      if (name == "keys") list.emplace_back(key);
      if (name == "values") list.push_back(value);
      if (name == "items") list.emplace_back(List{Value(key), value});
    }
    return list;
  });
}

std::optional<Value> list_method(const Value& object, const std::string& name) {
  if (name == "append" || name == "extend" || name == "insert" || name == "pop" || name == "clear" || name == "remove")
    throw std::invalid_argument("lists cannot be changed: write list + [item]");
  if (name != "index" && name != "count") return std::nullopt;
  return Function([object, name](const Arguments& arguments) -> Value {
    const Value& item = required(arguments, 0, "value");
    const List& list = *object.as_list();
    if (name == "count")
      return static_cast<std::int64_t>(std::ranges::count_if(list, [&](const Value& one) { return equal(one, item); }));
    const auto found = std::ranges::find_if(list, [&](const Value& one) { return equal(one, item); });
    if (found == list.end()) throw std::invalid_argument(item.repr() + " is not in the list");
    return static_cast<std::int64_t>(found - list.begin());
  });
}

}  // namespace

std::optional<Value> find_method(const Value& object, const std::string& name, const Bounds& bounds) {
  if (object.as_dict() != nullptr) return dict_method(object, name);
  if (object.as_list() != nullptr) return list_method(object, name);
  if (object.as_text() == nullptr) return std::nullopt;
  for (const TextRow& row : kTextMethods)
    if (row.name == name)
      return Function([object, bounds, call = row.call](const Arguments& arguments) {
        return call(*object.as_text(), arguments, bounds);
      });
  return std::nullopt;
}

std::optional<Value> find_item(const Value& object, const Value& key) {
  if (object.as_dict() != nullptr && key.as_text() != nullptr) {
    const Value* found = find_member(*object.as_dict(), *key.as_text());
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  if (object.as_namespace() != nullptr && key.as_text() != nullptr) {
    const Value* found = find_member(object.as_namespace()->members, *key.as_text());
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  if (key.as_integer() == nullptr || (object.as_list() == nullptr && object.as_text() == nullptr)) return std::nullopt;
  std::int64_t index = *key.as_integer();
  const std::int64_t size = length_of(object);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  const auto place = static_cast<std::size_t>(index);
  if (object.as_list() != nullptr) return (*object.as_list())[place];
  return Value(characters(*object.as_text())[place]);
}

List items_of(const Value& value) {
  if (value.as_list() != nullptr) return *value.as_list();
  List list;
  if (value.as_dict() != nullptr) {
    for (const auto& member : *value.as_dict()) list.emplace_back(member.first);
  } else if (value.as_text() != nullptr) {
    for (const std::string_view character : characters(*value.as_text())) list.emplace_back(character);
  } else if (!value.is_undefined()) {
    throw std::invalid_argument(std::string(value.type_name()) + " has no items");
  }
  return list;
}

std::int64_t length_of(const Value& value) {
  if (value.as_list() != nullptr) return static_cast<std::int64_t>(value.as_list()->size());
  if (value.as_dict() != nullptr) return static_cast<std::int64_t>(value.as_dict()->size());
  if (value.as_text() != nullptr) return static_cast<std::int64_t>(characters(*value.as_text()).size());
  if (value.is_undefined()) return 0;
  throw std::invalid_argument(std::string(value.type_name()) + " has no length");
}

bool contains(const Value& container, const Value& item) {
  if (container.as_text() != nullptr) {
    if (item.as_text() == nullptr)
      throw std::invalid_argument(std::string("expected a text to look for, got ") + item.type_name());
    return container.as_text()->find(*item.as_text()) != std::string::npos;
  }
  if (container.as_dict() != nullptr)
    return item.as_text() != nullptr && find_member(*container.as_dict(), *item.as_text()) != nullptr;
  return std::ranges::any_of(items_of(container), [&](const Value& one) { return equal(one, item); });
}

Value make_range(const Arguments& arguments) {
  constexpr std::int64_t kMost = 100'000;  // as in jinja2's sandbox
  const std::int64_t first = integer_of(required(arguments, 0, "start"));
  const bool only_stop = arguments.positional.size() < 2;
  const std::int64_t start = only_stop ? 0 : first;
  const std::int64_t stop = only_stop ? first : integer_of(arguments.positional[1]);
  const std::int64_t step = arguments.positional.size() < 3 ? 1 : integer_of(arguments.positional[2]);
  if (step == 0) throw std::invalid_argument("range() needs a step");
  List list;
  for (__int128 at = start; step > 0 ? at < stop : at > stop; at += step) {
    if (static_cast<std::int64_t>(list.size()) == kMost) throw std::length_error("range() is too long");
    list.emplace_back(static_cast<std::int64_t>(at));
  }
  return list;
}

const Value& required(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr) throw std::invalid_argument(std::string("the argument '") + name + "' is missing");
  return *value;
}

std::string text_argument(const Arguments& arguments, std::size_t index, const char* name, std::string_view absent) {
  const Value* value = arguments.find(index, name);
  if (value == nullptr) return std::string(absent);
  if (value->as_text() == nullptr)
    throw std::invalid_argument(std::string("expected a text as '") + name + "', got " + value->type_name());
  return *value->as_text();
}

std::int64_t integer_of(const Value& value) {
  if (value.as_integer() != nullptr) return *value.as_integer();
  if (value.as_bool() != nullptr) return *value.as_bool() ? 1 : 0;
  throw std::invalid_argument(std::string("expected an integer, got ") + value.type_name());
}

std::int64_t integer_argument(const Arguments& arguments, std::size_t index, const char* name, std::int64_t absent) {
  const Value* value = arguments.find(index, name);
  return value == nullptr || value->is_none() ? absent : integer_of(*value);
}

bool flag_argument(const Arguments& arguments, std::size_t index, const char* name, bool absent) {
  const Value* value = arguments.find(index, name);
  return value == nullptr ? absent : value->truthy();
}

}  // namespace sluice::jinja
