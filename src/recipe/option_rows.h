// How the rows of the option table are made: one maker per type of field, and the row groups in their order.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "recipe/option_table.h"
#include "recipe/parse_value.h"

namespace sluice::recipe {

inline constexpr unsigned kTraining = kTrain | kPlan;
inline constexpr unsigned kComputing = kTrain | kPlan | kEval | kSample;
inline constexpr unsigned kEveryVerb = kComputing | kExport;

/// What a row says to people.
struct RowText {
  unsigned verbs = kTraining;
  std::string argument = {};
  std::string help = {};
  std::vector<std::string> aliases = {};
  std::string absent = {};
  bool hidden = false;
};

/// One spelling of an enumerator; the first spelling of a value is the one that is printed.
template <typename Enum>
struct Spelling {
  Enum value;
  const char* text;
};

OptionRow make_row(std::string name, RowText text, ValueKind kind);

namespace detail {
template <typename Field>
struct Inner {
  using Type = Field;
};
template <typename Field>
struct Inner<std::optional<Field>> {
  using Type = Field;
};
}  // namespace detail

/// A row around `field` (of type T or optional<T>): `parse` makes a T from text, `show` a text from a T.
template <typename Field, typename Parse, typename Show>
OptionRow field_row(OptionRow row, Field Settings::*field, Parse parse, Show show) {
  row.set = [field, parse](Settings& settings, std::string_view text) { settings.*field = parse(text); };
  row.print = [field, show](const Settings& settings) -> std::optional<std::string> {
    if constexpr (std::is_same_v<Field, typename detail::Inner<Field>::Type>) {
      return show(settings.*field);
    } else {
      return settings.*field ? std::optional<std::string>(show(*(settings.*field))) : std::nullopt;
    }
  };
  return row;
}

/// Empty text is "not given".
OptionRow text_row(std::string name, std::string Settings::*field, RowText text);

/// Names with commas between them; an empty list is "not given".
OptionRow list_row(std::string name, std::vector<std::string> Settings::*field, RowText text);

/// Further options of what another row names, as key=value.
OptionRow pairs_row(const char* name, std::map<std::string, std::string> Settings::*field, RowText text);

template <typename Field>
OptionRow integer_row(std::string name, Field Settings::*field, IntegerRange range, RowText text) {
  using Integer = typename detail::Inner<Field>::Type;
  return field_row(
      make_row(name, std::move(text), ValueKind::Number), field,
      [name, range](std::string_view typed) { return static_cast<Integer>(parse_integer(typed, name, range)); },
      [](Integer value) { return std::to_string(value); });
}

template <typename Field>
OptionRow real_row(std::string name, Field Settings::*field, RealRange range, RowText text) {
  return field_row(
      make_row(name, std::move(text), ValueKind::Number), field,
      [name, range](std::string_view typed) { return parse_real(typed, name, range); }, print_real);
}

/// A size above 0; printed as plain bytes.
OptionRow bytes_row(std::string name, std::optional<Bytes> Settings::*field, RowText text);

template <typename Field>
OptionRow switch_row(std::string name, Field Settings::*field, RowText text) {
  return field_row(
      make_row(name, std::move(text), ValueKind::Switch), field,
      [name](std::string_view typed) { return parse_switch(typed, name); },
      [](bool value) { return std::string(value ? "true" : "false"); });
}

template <typename Field, typename Enum>
OptionRow choice_row(std::string name, Field Settings::*field, std::span<const Spelling<Enum>> spellings,
                     RowText text) {
  return field_row(
      make_row(name, std::move(text), ValueKind::Text), field,
      [name, spellings](std::string_view typed) {
        const std::string folded = fold_name(typed);
        std::string known;
        for (std::size_t i = 0; i < spellings.size(); ++i) {
          if (folded == spellings[i].text) return spellings[i].value;
          if (i == 0 || spellings[i].value != spellings[i - 1].value) {
            known += std::string(known.empty() ? "" : ", ") + spellings[i].text;
          }
        }
        throw_bad_value(name, "one of " + known, typed);
      },
      [spellings](Enum value) {
        for (const auto& spelling : spellings) {
          if (spelling.value == value) return std::string(spelling.text);
        }
        return std::string();
      });
}

/// The groups of the table, in its order.
std::vector<OptionRow> file_rows();
std::vector<OptionRow> memory_rows();
std::vector<OptionRow> length_rows();
std::vector<OptionRow> update_rows();
std::vector<OptionRow> adapter_rows();
std::vector<OptionRow> base_update_rows();
std::vector<OptionRow> precision_rows();
std::vector<OptionRow> execution_rows();
std::vector<OptionRow> checkpoint_rows();
std::vector<OptionRow> generation_rows();

}  // namespace sluice::recipe
