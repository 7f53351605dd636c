// Options that a row of a catalog declares for itself: name, default, range. Rules and schedules read theirs through
// one class, so that a new option is one line beside the arithmetic that uses it.
#pragma once
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::optim {

/// Options as typed: name to text.
using GivenOptions = std::map<std::string, std::string>;

inline constexpr double kNotGiven = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kUnlimited = std::numeric_limits<double>::infinity();
/// Choices of a switch; its value is 0 or 1.
inline constexpr std::string_view kSwitch = "false|true";

/// One declared option. Values are numbers; of an option with `choices` the position in "first|second|...", and
/// of one with `numbers` several, any.
struct OptionSpec {
  std::string_view name;
  double fallback = 0;  ///< the default; kNotGiven: none
  double lowest = 0;    ///< a number x is taken when lowest <= x < limit
  double limit = kUnlimited;
  std::string_view choices = {};
  std::string_view numbers = {};  ///< the default of an option that is so many numbers: "1,2.5,-3"
};

/// The options of one row: what was given, defaults for the rest.
class OptionValues {
 public:
  /// Throws ConfigError naming `kind` ("optimizer") and `row` for an unknown option (with the nearest one), a text that
  /// is not a value, or a value out of range. `specs` outlive the object.
  OptionValues(std::string_view kind, std::string_view row, std::span<const OptionSpec> specs,
               const GivenOptions& given);

  /// The value of a declared option.
  [[nodiscard]] double operator[](std::string_view name) const;
  [[nodiscard]] bool given(std::string_view name) const;  ///< false: kNotGiven
  [[nodiscard]] std::string_view choice(std::string_view name) const;
  /// Of an option with `numbers`: as many as its default has.
  [[nodiscard]] std::vector<double> numbers(std::string_view name) const;

 private:
  [[nodiscard]] std::size_t index_of(std::string_view name) const;

  std::span<const OptionSpec> specs_;
  std::vector<double> values_;
  std::map<std::string_view, std::vector<double>> numbers_;
};

/// "lr_decay=0, eps=1e-10, nesterov=false": what a row declares, with defaults.
[[nodiscard]] std::string describe_options(std::span<const OptionSpec> specs);

}  // namespace sluice::optim
