// What a template computes with: Python's values as far as templates meet them.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::jinja {

class Value;
using List = std::vector<Value>;
/// In order of insertion, as Python's; keys are text.
using Dict = std::vector<std::pair<std::string, Value>>;

/// A name that stands for nothing: prints as nothing, is false, iterates over nothing.
struct Undefined {
  std::string name;
};
struct None {};
/// What `namespace()` makes: the one thing that can be changed.
struct Namespace {
  Dict members;
};

/// Arguments of a call, filter or test.
struct Arguments {
  List positional;
  Dict named;

  /// By place or name; nullptr when absent.
  [[nodiscard]] const Value* find(std::size_t index, std::string_view name) const;
};

using Function = std::function<Value(const Arguments&)>;

class Value {
 public:
  Value() : data_(None{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  /// Throw std::length_error when they would be nested too deeply to be walked.
  Value(List list);
  Value(Dict dict);
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)), holds_namespace_(true) {}
  Value(Function function) : data_(std::make_shared<const Function>(std::move(function))) {}

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<None>(data_); }
  [[nodiscard]] const bool* as_bool() const { return std::get_if<bool>(&data_); }
  [[nodiscard]] const std::int64_t* as_integer() const { return std::get_if<std::int64_t>(&data_); }
  [[nodiscard]] const double* as_float() const { return std::get_if<double>(&data_); }
  [[nodiscard]] const std::string* as_text() const { return pointee<std::string>(); }
  [[nodiscard]] const List* as_list() const { return pointee<List>(); }
  [[nodiscard]] const Dict* as_dict() const { return pointee<Dict>(); }
  [[nodiscard]] const Function* as_function() const { return pointee<Function>(); }
  [[nodiscard]] Namespace* as_namespace() const {
    const auto* space = std::get_if<std::shared_ptr<Namespace>>(&data_);
    return space == nullptr ? nullptr : space->get();
  }
  /// Itself or anywhere inside: what a namespace must not hold, or it would hold itself.
  [[nodiscard]] bool holds_namespace() const { return holds_namespace_; }
  [[nodiscard]] const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }

  /// Python's bool(), type name, str() and repr(). The last two throw std::length_error for more than 64 MiB.
  [[nodiscard]] bool truthy() const;
  [[nodiscard]] const char* type_name() const;
  [[nodiscard]] std::string str() const;
  [[nodiscard]] std::string repr() const;

 private:
  void enclose(const Value& inner);

  template <typename Type>
  [[nodiscard]] const Type* pointee() const {
    const auto* held = std::get_if<std::shared_ptr<const Type>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }

  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Function>>
      data_;
  int depth_ = 0;
  bool holds_namespace_ = false;
};

/// Numbers (bool included) as a double; nullopt-like: false when it is none.
bool as_number(const Value& value, double& number);

/// Python's == and <. Both throw std::length_error for what takes too long; `less` throws std::invalid_argument for
/// types without an order.
bool equal(const Value& left, const Value& right);
bool less(const Value& left, const Value& right);

const Value* find_member(const Dict& dict, std::string_view key);
void set_member(Dict& dict, std::string key, Value value);

/// Throws std::length_error for what is nested too deeply.
Value from_json(const nlohmann::ordered_json& json, int depth = 0);

/// json.dumps with ensure_ascii=False.
struct JsonStyle {
  int indent = -1;  ///< below 0: one line
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// Throws std::invalid_argument for a value that JSON cannot hold.
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace sluice::jinja
