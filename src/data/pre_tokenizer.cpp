#include "base/error.h"
#include "data/byte_level.h"
#include "data/components.h"
#include "data/regex.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

// Where a text is cut: matches and what stands between them, in order.
struct Part {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

Behavior parse_behavior(const std::string& name) {
  if (name == "Removed") return Behavior::Removed;
  if (name == "Isolated") return Behavior::Isolated;
  if (name == "MergedWithPrevious") return Behavior::MergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::MergedWithNext;
  if (name == "Contiguous") return Behavior::Contiguous;
  refuse_component("split behavior", name);
}

// Parts arrive from left to right; at most one is held back, so no list of all parts is ever made.
class PartJoiner {
 public:
  PartJoiner(std::string_view text, Behavior behavior, const PieceSink& sink)
      : text_(text), behavior_(behavior), sink_(sink) {}

  void add(const Part& part) {
    switch (behavior_) {
      case Behavior::Isolated:
        emit(part);
        break;
      case Behavior::Removed:
        if (!part.is_match) emit(part);
        break;
      case Behavior::Contiguous:
        join_if(held_ && pending_.is_match == part.is_match, part);
        break;
      case Behavior::MergedWithPrevious:
        join_if(held_ && part.is_match && !pending_.is_match, part);
        break;
      case Behavior::MergedWithNext:
        join_if(held_ && !part.is_match && pending_.is_match, part);
        break;
    }
  }

  void finish() {
    if (held_) emit(pending_);
    held_ = false;
  }

 private:
  // A joined part keeps the kind of its newest member: two matches in a row never merge into one.
  void join_if(bool join, const Part& part) {
    if (join) {
      pending_.end = part.end;
      pending_.is_match = part.is_match;
      return;
    }
    finish();
    pending_ = part;
    held_ = true;
  }

  void emit(const Part& part) {
    if (part.end > part.begin) sink_(text_.substr(part.begin, part.end - part.begin));
  }

  std::string_view text_;
  Behavior behavior_;
  const PieceSink& sink_;
  Part pending_{};
  bool held_ = false;
};

void split_by_regex(const Regex& regex, std::string_view piece, bool invert, PartJoiner& joiner) {
  std::size_t last = 0;
  regex.for_each_match(piece, [&](Match match) {
    if (match.begin > last) joiner.add({last, match.begin, invert});
    joiner.add({match.begin, match.end, !invert});
    last = match.end;
  });
  if (last < piece.size()) joiner.add({last, piece.size(), invert});
  joiner.finish();
}

class Split final : public PreTokenizer {
 public:
  explicit Split(const nlohmann::json& config)
      : regex_(pattern_of(config.at("pattern"))),
        behavior_(parse_behavior(config.at("behavior").get<std::string>())),
        invert_(config.value("invert", false)) {}

  void split(std::string_view piece, const PieceSink& sink) const override {
    PartJoiner joiner(piece, behavior_, sink);
    split_by_regex(regex_, piece, invert_, joiner);
  }

 private:
  static std::string pattern_of(const nlohmann::json& pattern) {
    if (pattern.contains("Regex")) return pattern.at("Regex").get<std::string>();
    return quote_pattern(pattern.at("String").get<std::string>());
  }

  Regex regex_;
  Behavior behavior_;
  bool invert_;
};

class Digits final : public PreTokenizer {
 public:
  explicit Digits(const nlohmann::json& config) : individual_(config.value("individual_digits", false)) {}

  void split(std::string_view piece, const PieceSink& sink) const override {
    PartJoiner joiner(piece, individual_ ? Behavior::Isolated : Behavior::Contiguous, sink);
    std::size_t last = 0;
    for (std::size_t at = 0; at < piece.size();) {
      const std::size_t next = at + char_length(piece, at);
      if (is_numeric(char_at(piece, at))) {
        if (at > last) joiner.add({last, at, false});
        joiner.add({at, next, true});
        last = next;
      }
      at = next;
    }
    if (last < piece.size()) joiner.add({last, piece.size(), false});
    joiner.finish();
  }

 private:
  bool individual_;
};

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(const nlohmann::json& config)
      : add_prefix_space_(config.value("add_prefix_space", true)), use_regex_(config.value("use_regex", true)) {}

  void split(std::string_view piece, const PieceSink& sink) const override {
    if (add_prefix_space_ && !piece.starts_with(' ')) {
      split_words(' ' + std::string(piece), sink);
    } else {
      split_words(piece, sink);
    }
  }

 private:
  void split_words(std::string_view piece, const PieceSink& sink) const {
    const PieceSink map = [&](std::string_view word) { sink(to_byte_alphabet(word)); };
    if (!use_regex_) {
      if (!piece.empty()) map(piece);
      return;
    }
    PartJoiner joiner(piece, Behavior::Isolated, map);
    split_by_regex(words_, piece, false, joiner);
  }

  bool add_prefix_space_;
  bool use_regex_;
  Regex words_{R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"};  // radford/gpt-2
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const nlohmann::json& config) {
    for (const auto& part : config.at("pretokenizers"))
      if (auto pre_tokenizer = make_pre_tokenizer(part)) parts_.push_back(std::move(pre_tokenizer));
  }

  void split(std::string_view piece, const PieceSink& sink) const override { split_from(0, piece, sink); }

 private:
  void split_from(std::size_t index, std::string_view piece, const PieceSink& sink) const {
    if (index == parts_.size()) {
      sink(piece);
    } else if (index + 1 == parts_.size()) {
      parts_[index]->split(piece, sink);
    } else {
      parts_[index]->split(piece, [&](std::string_view part) { split_from(index + 1, part, sink); });
    }
  }

  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const nlohmann::json& config) {
  if (config.is_null()) return nullptr;
  const auto type = config.at("type").get<std::string>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(config);
  if (type == "Digits") return std::make_unique<Digits>(config);
  if (type == "Split") return std::make_unique<Split>(config);
  if (type == "Sequence") return std::make_unique<PreTokenizerSequence>(config);
  refuse_component("pre-tokenizer", type);
}

}  // namespace sluice::data
