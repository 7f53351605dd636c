// What the fuzzer of src/jinja runs on one input. FormatError is a good answer; a crash, a hang, a leak or another
// exception is a bug.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "jinja/template.h"

namespace sluice::jinja {

/// A template from anywhere, rendered with a conversation under small limits.
inline void fuzz_template(std::string_view source) {
  static const auto variables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi\n"},
                 {"role": "assistant", "content": "Hello", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.5}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "x": 3, "none_value": null})");
  try {
    const Template parsed(source, "input", {.steps = 20'000, .text_bytes = 1 << 16});
    const Rendered rendered = parsed.render(variables, 0);
    for (const Span& span : rendered.generated)
      if (span.begin > span.end || span.end > rendered.text.size()) __builtin_trap();
  } catch (const FormatError&) {
  }
}

}  // namespace sluice::jinja
