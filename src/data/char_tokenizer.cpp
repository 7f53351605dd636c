#include "data/char_tokenizer.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "data/components.h"
#include "data/hex.h"
#include "data/json_integer.h"
#include "data/unicode.h"
#include "format/strict_json.h"

namespace sluice::data {
namespace {

// Oniguruma and PCRE agree on this spelling of "any character, line breaks too".
constexpr const char* kAnyCharacter = "[\\s\\S]";
constexpr std::size_t kMaxCharacters = 0x110000;

std::string name_of(char32_t character) {
  char text[16];
  std::snprintf(text, sizeof text, "U+%04X", static_cast<unsigned>(character));
  return text;
}

class CharTokenizer final : public Tokenizer {
 public:
  CharTokenizer(const nlohmann::json& config, const TokenizerSource& source) {
    check_pipeline(config);
    const auto& model = config.at("model");
    const auto unknown = model.value("unk_token", std::string("<unk>"));
    const auto& vocabulary = model.at("vocab").get_ref<const nlohmann::json::object_t&>();
    if (vocabulary.size() > kMaxCharacters) throw FormatError("data.tokenizer", source.where + " has too many tokens");
    for (const auto& [text, value] : vocabulary) add(text, integer_of(value, "a token id"), unknown, source.where);
    if (!source.eos_token.empty()) eos_ = id_of(source.eos_token);
    fingerprint_ = to_hex(checksum(std::as_bytes(std::span(source.json))));
  }

  std::vector<std::int32_t> encode(std::string_view utf8, EncodeOptions) const override {
    require_utf8(utf8, "the text");
    std::vector<std::int32_t> ids;
    ids.reserve(utf8.size());
    for (std::size_t at = 0; at < utf8.size(); at += char_length(utf8, at)) {
      const char32_t character = char_at(utf8, at);
      const auto found = ids_.find(character);
      if (found == ids_.end() && !unknown_id_) {
        throw FormatError("data.tokenizer", "character " + name_of(character) + " is not in the vocabulary",
                          "expected one of the " + std::to_string(ids_.size()) + " characters of the training text",
                          "remove it, or build the tokenizer from a text that holds it");
      }
      ids.push_back(found == ids_.end() ? *unknown_id_ : found->second);
    }
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    std::string text;
    for (const std::int32_t id : ids)
      if (const auto found = texts_.find(id); found != texts_.end()) text += found->second;
    return text;
  }

  std::int64_t vocab_size() const override { return std::int64_t{max_id_} + 1; }
  std::optional<std::int32_t> id_of(std::string_view token) const override {
    for (const auto& [id, text] : texts_)
      if (text == token) return id;
    return std::nullopt;
  }
  std::optional<std::int32_t> eos_id() const override { return eos_; }
  std::string fingerprint() const override { return fingerprint_; }

 private:
  static void check_pipeline(const nlohmann::json& config) {
    for (const char* key : {"normalizer", "post_processor"})
      if (config.contains(key) && !config.at(key).is_null())
        refuse_component(std::string(key) + " beside WordLevel", config.at(key).value("type", std::string()));
    if (config.contains("added_tokens") && !config.at("added_tokens").empty())
      refuse_component("model with added tokens", "WordLevel");
    const auto& split = config.at("pre_tokenizer");
    const bool by_character = split.is_object() && split.value("type", std::string()) == "Split" &&
                              split.at("pattern").value("Regex", std::string()) == kAnyCharacter &&
                              split.value("behavior", std::string()) == "Isolated" && !split.value("invert", false);
    if (!by_character) refuse_component("model", "WordLevel over anything but single characters");
  }

  void add(const std::string& text, std::int64_t id, const std::string& unknown, const std::string& where) {
    if (id < 0 || id >= static_cast<std::int64_t>(kMaxCharacters) ||
        !texts_.emplace(static_cast<std::int32_t>(id), text).second)
      throw FormatError("data.tokenizer", where + ": id " + std::to_string(id) + " is out of range or stands twice");
    const auto narrow = static_cast<std::int32_t>(id);
    max_id_ = std::max(max_id_, narrow);
    require_utf8(text, where);
    if (text == unknown) {
      unknown_id_ = narrow;
    } else if (!text.empty() && char_length(text, 0) == text.size()) {
      ids_.emplace(char_at(text, 0), narrow);
    } else {
      throw FormatError("data.tokenizer", where + ": '" + text + "' is not a single character");
    }
  }

  std::unordered_map<char32_t, std::int32_t> ids_;
  std::unordered_map<std::int32_t, std::string> texts_;
  std::optional<std::int32_t> unknown_id_, eos_;
  std::int32_t max_id_ = -1;
  std::string fingerprint_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_char_tokenizer(const TokenizerSource& source) {
  try {
    return std::make_unique<CharTokenizer>(
        format::parse_json_object(source.json, source.where, {.max_bytes = 64 * MiB}), source);
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("data.tokenizer", source.where + " is malformed", error.what());
  }
}

std::string build_char_tokenizer(std::u32string_view characters) {
  nlohmann::ordered_json vocabulary = nlohmann::ordered_json::object();
  for (std::size_t id = 0; id < characters.size(); ++id) {
    std::string text;
    append_utf8(text, characters[id]);
    vocabulary.get_ref<nlohmann::ordered_json::object_t&>().Container::emplace_back(text, id);
  }
  const nlohmann::ordered_json root = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", nlohmann::json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", kAnyCharacter}}}, {"behavior", "Isolated"}, {"invert", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "Fuse"}}},
      {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return root.dump(1) + "\n";
}

}  // namespace sluice::data
