#include "data/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "data/json_integer.h"
#include "data/regex.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

constexpr std::size_t kContentLimit = 4096;  // bytes; bounds the cost of WordFinder per character

std::size_t char_start_before(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_word_char(std::string_view text, std::size_t at) {
  static const Regex word(R"([\p{Alphabetic}\p{L}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])");  // \w of UTS 18
  bool found = false;
  word.for_each_match(text.substr(at, char_length(text, at)), [&](Match) { found = true; });
  return found;
}

bool touches_word(std::string_view text, const WordFinder::Found& found) {
  return (found.begin > 0 && is_word_char(text, char_start_before(text, found.begin))) ||
         (found.end < text.size() && is_word_char(text, found.end));
}

std::size_t skip_space_back(std::string_view text, std::size_t end, std::size_t limit) {
  while (end > limit) {
    const std::size_t before = char_start_before(text, end);
    if (!is_white_space(char_at(text, before))) break;
    end = before;
  }
  return std::max(end, limit);
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_white_space(char_at(text, at))) at += char_length(text, at);
  return at;
}

}  // namespace

std::vector<AddedToken> parse_added_tokens(const nlohmann::json& config) {
  std::vector<AddedToken> tokens;
  if (config.is_null()) return tokens;
  for (const auto& entry : config) {
    AddedToken token;
    const auto id = integer_of(entry.at("id"), "the id of an added token");
    token.content = entry.at("content").get<std::string>();
    if (id < 0 || id >= INT32_MAX || token.content.size() > kContentLimit)
      throw FormatError("data.tokenizer", "added token is out of bounds",
                        "expected an id below 2^31-1 and at most 4096 bytes, got id " + std::to_string(id) + " with " +
                            std::to_string(token.content.size()) + " bytes");
    token.id = static_cast<std::int32_t>(id);
    token.special = entry.value("special", false);
    token.single_word = entry.value("single_word", false);
    token.lstrip = entry.value("lstrip", false);
    token.rstrip = entry.value("rstrip", false);
    token.normalized = entry.value("normalized", !token.special);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

void WordFinder::add(std::string_view word, std::size_t value) {
  if (word.empty()) return;
  starts_[static_cast<unsigned char>(word[0])] = true;
  std::uint32_t node = 0;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    auto& next = nodes_[node].next;
    const auto found = std::find_if(next.begin(), next.end(), [&](const auto& edge) { return edge.first == byte; });
    if (found != next.end()) {
      node = found->second;
      continue;
    }
    const auto created = static_cast<std::uint32_t>(nodes_.size());
    next.emplace_back(byte, created);
    nodes_.emplace_back();
    node = created;
  }
  if (!nodes_[node].value) nodes_[node].value = value;
}

const WordFinder::Node* WordFinder::step(const Node& node, char byte) const {
  for (const auto& [edge, target] : node.next)
    if (edge == static_cast<unsigned char>(byte)) return &nodes_[target];
  return nullptr;
}

std::optional<WordFinder::Found> WordFinder::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Found> longest;
    const Node* node = nodes_.data();
    for (std::size_t at = begin; at < text.size(); ++at) {
      node = step(*node, text[at]);
      if (node == nullptr) break;
      if (node->value) longest = Found{begin, at + 1, *node->value};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto& token = tokens_[i];
    by_id_[token.id] = i;
    tokens_[i].decoded = token.content;
    if (!token.normalized) {
      raw_.add(token.content, i);
    } else {
      if (normalizer != nullptr) tokens_[i].decoded = normalizer->apply(token.content);
      normalized_.add(token.decoded, i);
    }
  }
}

void AddedTokens::split(std::string_view text, bool normalized, bool plain, const PartSink& sink) const {
  const WordFinder& finder = normalized ? normalized_ : raw_;
  std::size_t done = 0;
  std::size_t from = 0;
  while (const auto found = finder.find(text, from)) {
    from = found->end;
    const AddedToken& token = tokens_[found->value];
    if (plain && token.special) continue;
    if (token.single_word && touches_word(text, *found)) continue;
    const std::size_t begin =
        token.lstrip ? skip_space_back(text, found->begin, std::min(done, found->begin)) : found->begin;
    if (begin > done) sink(std::nullopt, text.substr(done, begin - done));
    sink(token.id, {});
    done = token.rstrip ? skip_space(text, found->end) : found->end;
  }
  if (done < text.size()) sink(std::nullopt, text.substr(done));
}

const AddedToken* AddedTokens::find_id(std::int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace sluice::data
