// What each fuzzer of src/data runs on one input. FormatError is a good answer; a crash, a leak, another exception or a
// text that does not come back is a bug.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "data/byte_bpe.h"
#include "data/byte_level.h"
#include "data/unicode.h"

namespace sluice::data {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A tokenizer.json from anywhere, used on a few texts if it is accepted.
inline void fuzz_tokenizer_json(std::string_view json) {
  try {
    const auto tokenizer = make_byte_bpe({std::string(json), "input", {}});
    for (const char* text :
         {"", "Hello  world 123\n\n", "\xc3\xa9<|end|> \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80's"}) {
      const auto ids = tokenizer->encode(text);
      for (const auto id : tokenizer->encode(text, {.add_special = false}))
        if (id < 0 || id >= tokenizer->vocab_size()) __builtin_trap();
      tokenizer->decode(ids, true);
    }
  } catch (const FormatError&) {
  }
}

/// A tokenizer with all bytes, a few merges, special tokens and the given words' pattern.
inline std::unique_ptr<Tokenizer> make_sample(const nlohmann::json& pre_tokenizer) {
  nlohmann::json vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary[to_byte_alphabet(std::string(1, static_cast<char>(byte)))] = byte;
  vocabulary["ab"] = 256;
  vocabulary["abab"] = 257;
  vocabulary["bab"] = 258;
  const nlohmann::json config = {
      {"added_tokens",
       {{{"id", 259}, {"content", "<s>"}, {"special", true}}, {{"id", 260}, {"content", "ab b"}, {"special", false}}}},
      {"pre_tokenizer", pre_tokenizer},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab ab", "b ab"}}}}};
  return make_byte_bpe({config.dump(), "sample", {}});
}

/// Any text; what is UTF-8 must come back from its ids.
inline void fuzz_encode(std::string_view text) {
  static const auto gpt2 = make_sample({{"type", "ByteLevel"}, {"add_prefix_space", false}});
  static const auto llama3 = make_sample(
      {{"type", "Sequence"},
       {"pretokenizers",
        {{{"type", "Digits"}, {"individual_digits", true}},
         {{"type", "Split"},
          {"pattern",
           {{"Regex",
             R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
          {"behavior", "Isolated"}},
         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}});
  const bool valid = !find_invalid_utf8(text);
  for (const auto* tokenizer : {gpt2.get(), llama3.get()}) {
    try {
      for (const bool plain : {false, true})
        if (tokenizer->decode(tokenizer->encode(text, {.plain = plain})) != text) __builtin_trap();
      if (!valid) __builtin_trap();
    } catch (const FormatError&) {
      if (valid) __builtin_trap();
    }
  }
  if (find_invalid_utf8(repair_utf8(text))) __builtin_trap();
}

}  // namespace sluice::data
