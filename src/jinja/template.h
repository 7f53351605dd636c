// Jinja templates as chat templates use them: the language of jinja2 3.1 in transformers' environment (trim_blocks,
// lstrip_blocks, loop controls, `{% generation %}`), without access to anything but the values given. Inheritance,
// inclusion and imports are refused by name.
#pragma once
#include <cstddef>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

/// Bounds on what a template from anywhere may cost; beyond them rendering ends with a FormatError.
struct Limits {
  std::size_t source_bytes = std::size_t{1} << 20;
  int nesting = 100;                               ///< of expressions, blocks and macro calls
  std::size_t steps = 20'000'000;                  ///< nodes evaluated
  std::size_t text_bytes = std::size_t{64} << 20;  ///< of the output and of any value
};

/// Bytes begin ... end-1 of the text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Rendered {
  std::string text;
  std::vector<Span> generated;  ///< what stood in `{% generation %}` blocks, in order
};

struct Program;

/// Immutable; may be rendered by several threads at once.
class Template {
 public:
  /// Throws FormatError naming `origin` and the line of what is not understood.
  Template(std::string_view source, std::string origin, const Limits& limits = {});
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// Renders with the members of `variables` (an object) as variables; `now` is what strftime_now() shows, in local
  /// time. Throws FormatError naming the line: a value used in a way that it cannot be, a limit, raise_exception().
  [[nodiscard]] Rendered render(const nlohmann::ordered_json& variables, std::time_t now) const;
  /// Whether the template marks what the assistant says by `{% generation %}`.
  [[nodiscard]] bool marks_generation() const;

 private:
  std::unique_ptr<const Program> program_;
};

}  // namespace sluice::jinja
