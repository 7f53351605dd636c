// Filters, tests, methods and functions that templates may use: the ones of jinja2 and Python that chat templates
// need. Misuse throws std::invalid_argument, excess std::length_error; the evaluator adds the line.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

/// What bounds a built-in.
struct Bounds {
  std::size_t text_bytes = 0;
  std::size_t items = 1'000'000;
};

Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments, const Bounds& bounds);
bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);

/// The method of Python's str, dict or list, bound to `object`; absent when there is none of that name.
std::optional<Value> find_method(const Value& object, const std::string& name, const Bounds& bounds);

/// object[key] for lists, texts and dicts; absent when there is no such place.
std::optional<Value> find_item(const Value& object, const Value& key);

/// What a loop or filter walks over. Throws std::invalid_argument for what has no items.
List items_of(const Value& value);
std::int64_t length_of(const Value& value);
bool contains(const Value& container, const Value& item);

/// range(), dict().
Value make_range(const Arguments& arguments);

/// Arguments by place or name, converted; `what` names them in messages.
const Value& required(const Arguments& arguments, std::size_t index, const char* name);
std::string text_argument(const Arguments& arguments, std::size_t index, const char* name, std::string_view absent);
std::int64_t integer_argument(const Arguments& arguments, std::size_t index, const char* name, std::int64_t absent);
bool flag_argument(const Arguments& arguments, std::size_t index, const char* name, bool absent);
std::int64_t integer_of(const Value& value);

}  // namespace sluice::jinja
