#include "data/bpe.h"

#include <algorithm>
#include <array>
#include <queue>

#include "base/error.h"
#include "data/json_integer.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

constexpr std::int64_t kMaxId = (std::int64_t{1} << 24) - 1;  // a table by id must not be blown up by one large number
constexpr std::size_t kCachedPiece = 256;                     // bytes
constexpr std::size_t kCachedPieces = 32768;

[[noreturn]] void malformed(const std::string& what, const std::string& expected_got = {}) {
  throw FormatError("data.tokenizer", what, expected_got);
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

struct Candidate {
  std::uint32_t rank;
  std::int32_t at;  // index of the left symbol
  std::int32_t id;
  bool operator<(const Candidate& other) const {  // the top of a std::priority_queue is its largest
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

bool not_null(const nlohmann::json& config, const char* key) {
  return config.contains(key) && !config.at(key).is_null();
}

bool flag(const nlohmann::json& config, const char* key) { return not_null(config, key) && config.at(key).get<bool>(); }

}  // namespace

struct Bpe::Symbol {
  std::int32_t id;
  std::int32_t previous;
  std::int32_t next;
  bool alive = true;
};

Bpe::Bpe(const nlohmann::json& config) {
  if (not_null(config, "dropout") && config.at("dropout").get<double>() != 0.0)
    malformed("BPE dropout is not supported", "expected null, got " + config.at("dropout").dump());
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (not_null(config, key) && !config.at(key).get<std::string>().empty())
      malformed(std::string("BPE '") + key + "' is not supported", "expected null, got " + config.at(key).dump());
  fuse_unknown_ = flag(config, "fuse_unk");
  byte_fallback_ = flag(config, "byte_fallback");
  ignore_merges_ = flag(config, "ignore_merges");
  read_vocabulary(config.at("vocab"));
  read_merges(config.at("merges"));
  if (not_null(config, "unk_token")) {
    unknown_token_ = config.at("unk_token").get<std::string>();
    unknown_ = id_of(unknown_token_);
  }
}

void Bpe::read_vocabulary(const nlohmann::json& vocabulary) {
  if (!vocabulary.is_object()) malformed("vocabulary is not an object");
  ids_.reserve(vocabulary.size());
  for (const auto& [token, value] : vocabulary.items()) {
    const auto id = integer_of(value, "a token id");
    if (id < 0 || id > kMaxId)
      malformed("token id is out of range", "expected 0 to " + std::to_string(kMaxId) + ", got " + std::to_string(id));
    const auto entry = ids_.emplace(token, static_cast<std::int32_t>(id)).first;
    if (static_cast<std::size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<std::size_t>(id) + 1, nullptr);
    if (tokens_[static_cast<std::size_t>(id)] != nullptr)
      malformed("two tokens have one id",
                "'" + token + "' and '" + *tokens_[static_cast<std::size_t>(id)] + "' are both " + std::to_string(id));
    tokens_[static_cast<std::size_t>(id)] = &entry->first;
  }
}

void Bpe::read_merges(const nlohmann::json& merges) {
  if (!merges.is_array()) malformed("merges are not a list");
  merges_.reserve(merges.size());
  std::uint32_t rank = 0;
  for (const auto& merge : merges) {
    std::string left, right;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const auto space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        malformed("merge " + std::to_string(rank) + " is not a pair", "expected two tokens, got '" + text + "'");
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      if (!merge.is_array() || merge.size() != 2) malformed("merge " + std::to_string(rank) + " is not a pair");
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    const auto left_id = id_of(left), right_id = id_of(right), joined_id = id_of(left + right);
    if (!left_id || !right_id || !joined_id)
      malformed("merge " + std::to_string(rank) + " names a token outside the vocabulary",
                "'" + left + "' + '" + right + "'");
    merges_.insert_or_assign(pair_key(*left_id, *right_id), Merge{rank++, *joined_id});
  }
}

std::optional<std::int32_t> Bpe::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string& Bpe::token_of(std::int32_t id) const {
  static const std::string none;
  if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size()) return none;
  const std::string* token = tokens_[static_cast<std::size_t>(id)];
  return token != nullptr ? *token : none;
}

const Bpe::Merge* Bpe::find_merge(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

bool Bpe::append_bytes(std::string_view character, std::vector<Symbol>& symbols) const {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::array<std::int32_t, 4> ids{};
  for (std::size_t i = 0; i < character.size(); ++i) {
    const auto byte = static_cast<unsigned char>(character[i]);
    const char name[] = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    const auto id = id_of(std::string_view(name, sizeof name));
    if (!id) return false;
    ids[i] = *id;
  }
  for (std::size_t i = 0; i < character.size(); ++i) symbols.push_back({ids[i], -1, -1});
  return true;
}

// An unknown character waits until a known one (or the end) comes, so that runs can be fused; byte fallback overtakes
// it, as in the reference.
std::vector<Bpe::Symbol> Bpe::characters(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  bool waiting = false;
  const auto flush = [&] {
    if (waiting) symbols.push_back({*unknown_, -1, -1});
    waiting = false;
  };
  for (std::size_t at = 0; at < piece.size();) {
    const std::string_view character = piece.substr(at, char_length(piece, at));
    at += character.size();
    if (const auto id = id_of(character)) {
      flush();
      symbols.push_back({*id, -1, -1});
    } else if (byte_fallback_ && append_bytes(character, symbols)) {
      continue;
    } else if (unknown_) {
      if (!fuse_unknown_) flush();
      waiting = true;
    } else if (!unknown_token_.empty()) {
      malformed("'" + std::string(character) + "' has no token, nor has the unknown token '" + unknown_token_ + "'");
    }
  }
  flush();
  const auto count = static_cast<std::int32_t>(symbols.size());
  for (std::int32_t i = 0; i < count; ++i) {
    symbols[static_cast<std::size_t>(i)].previous = i - 1;
    symbols[static_cast<std::size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  return symbols;
}

void Bpe::join(std::vector<Symbol>& symbols) const {
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate> queue({}, std::move(storage));
  const auto offer = [&](std::int32_t at) {
    if (at < 0) return;
    const Symbol& left = symbols[static_cast<std::size_t>(at)];
    if (left.next < 0) return;
    if (const Merge* merge = find_merge(left.id, symbols[static_cast<std::size_t>(left.next)].id))
      queue.push({merge->rank, at, merge->id});
  };
  for (std::int32_t at = 0; at < static_cast<std::int32_t>(symbols.size()); ++at) offer(at);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(best.at)];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;  // the pair has changed since it was offered
    left.id = best.id;
    left.next = right.next;
    right.alive = false;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = best.at;
    offer(left.previous);
    offer(best.at);
  }
}

void Bpe::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = id_of(piece)) {
      ids.push_back(*whole);
      return;
    }
  }
  auto symbols = characters(piece);
  join(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.alive) ids.push_back(symbol.id);
}

const std::vector<std::int32_t>* Bpe::Cache::find(std::string_view piece) const {
  const auto found = entries_.find(piece);
  return found == entries_.end() ? nullptr : &found->second;
}

void Bpe::Cache::insert(std::string_view piece, const std::vector<std::int32_t>& ids) {
  if (piece.size() > kCachedPiece) return;
  if (entries_.size() >= kCachedPieces) entries_.clear();
  entries_.emplace(piece, ids);
}

}  // namespace sluice::data
