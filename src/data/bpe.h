// Byte-pair encoding of one piece of text (Sennrich et al., 2016): starting from characters, the pair with the lowest
// rank is joined until none is left, the leftmost first among equals. Same ids as the BPE model of
// huggingface/tokenizers.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::data {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

class Bpe {
 public:
  /// `config` is the `model` of a tokenizer.json. Throws FormatError: merges that name unknown tokens, ids out of range
  /// or used twice, dropout, prefixes or suffixes of words.
  explicit Bpe(const nlohmann::json& config);

  /// Appends the ids of `piece` (well-formed UTF-8). Takes O(n log n) for n characters.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const;
  /// Empty for an id that is not in use.
  [[nodiscard]] const std::string& token_of(std::int32_t id) const;
  [[nodiscard]] std::int32_t max_id() const { return static_cast<std::int32_t>(tokens_.size()) - 1; }

  /// Ids of pieces seen before, for one caller at a time; forgets everything when it is full.
  class Cache {
   public:
    const std::vector<std::int32_t>* find(std::string_view piece) const;
    void insert(std::string_view piece, const std::vector<std::int32_t>& ids);

   private:
    TextMap<std::vector<std::int32_t>> entries_;
  };

 private:
  struct Merge {
    std::uint32_t rank;
    std::int32_t id;
  };
  struct Symbol;

  void read_vocabulary(const nlohmann::json& vocabulary);
  void read_merges(const nlohmann::json& merges);
  [[nodiscard]] const Merge* find_merge(std::int32_t left, std::int32_t right) const;
  [[nodiscard]] std::vector<Symbol> characters(std::string_view piece) const;
  bool append_bytes(std::string_view character, std::vector<Symbol>& symbols) const;
  void join(std::vector<Symbol>& symbols) const;

  TextMap<std::int32_t> ids_;
  std::vector<const std::string*> tokens_;  ///< keys of ids_, by id
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::string unknown_token_;
  std::optional<std::int32_t> unknown_;  ///< absent: characters without a token are dropped (no name) or refused
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace sluice::data
