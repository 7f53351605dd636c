// Tokens that are cut out of a text before anything else looks at it: special ones and words added after training.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/components.h"

namespace sluice::data {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  std::string decoded;       ///< what decoding gives: the normalized content if it is looked for in normalized text
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< and after it
  bool normalized = true;    ///< looked for in the normalized text
  bool special = false;
};

/// Reads `added_tokens`. Throws FormatError for ids out of range, empty or overlong contents.
std::vector<AddedToken> parse_added_tokens(const nlohmann::json& config);

/// Finds the leftmost of many words, the longest if several begin there. Takes O(text * longest word) at worst.
class WordFinder {
 public:
  void add(std::string_view word, std::size_t value);
  struct Found {
    std::size_t begin;
    std::size_t end;
    std::size_t value;
  };
  [[nodiscard]] std::optional<Found> find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> next;
    std::optional<std::size_t> value;
  };
  [[nodiscard]] const Node* step(const Node& node, char byte) const;

  std::vector<Node> nodes_{1};
  bool starts_[256] = {};
};

/// Cuts texts at added tokens. Immutable after construction.
class AddedTokens {
 public:
  /// A part of a text: an id, or text without added tokens.
  using PartSink = std::function<void(std::optional<std::int32_t> id, std::string_view text)>;

  AddedTokens() = default;
  /// `normalizer` may be null; it is used here only.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer);

  /// Cuts `text` at the tokens that are (not) looked for in normalized text. `plain`: special ones stay text.
  void split(std::string_view text, bool normalized, bool plain, const PartSink& sink) const;
  [[nodiscard]] const AddedToken* find_id(std::int32_t id) const;
  [[nodiscard]] const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::int32_t, std::size_t> by_id_;
  WordFinder raw_;
  WordFinder normalized_;
};

}  // namespace sluice::data
