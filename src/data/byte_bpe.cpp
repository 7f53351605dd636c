#include "data/byte_bpe.h"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/components.h"
#include "data/hex.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

constexpr std::size_t kTextLimit = std::size_t{256} << 20;
constexpr int kDepthLimit = 64;  // of nested components; each level is a call

// Brackets outside of strings, counted before the parser and the recursive factories see them.
void check_depth(std::string_view json, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthLimit)
        throw FormatError("data.tokenizer", std::string(where) + " is nested too deeply", "expected at most 64 levels");
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

class ByteBpe final : public Tokenizer {
 public:
  ByteBpe(const nlohmann::json& config, const TokenizerSource& source)
      : model_(config.at("model")),
        normalizer_(make_normalizer(config.value("normalizer", nlohmann::json()))),
        pre_tokenizer_(make_pre_tokenizer(config.value("pre_tokenizer", nlohmann::json()))),
        decoder_(make_decoder(config.value("decoder", nlohmann::json()))),
        frame_(make_special_frame(config.value("post_processor", nlohmann::json()))),
        added_(checked_added(config), normalizer_.get()) {
    for (const auto& token : added_.tokens()) {
      added_ids_.emplace(token.content, token.id);
      max_id_ = std::max(max_id_, token.id);
    }
    max_id_ = std::max(max_id_, model_.max_id());
    if (max_id_ < 0) throw FormatError("data.tokenizer", "the vocabulary is empty");
    if (!source.eos_token.empty()) {
      eos_ = id_of(source.eos_token);
      if (!eos_)
        throw FormatError("data.tokenizer", "the end token '" + source.eos_token + "' is not in the vocabulary");
    }
    fingerprint_ = to_hex(checksum(std::as_bytes(std::span(source.json))));
  }

  std::vector<std::int32_t> encode(std::string_view utf8, EncodeOptions options) const override {
    if (utf8.size() > kTextLimit)
      throw FormatError("data.tokenizer", "text is too long",
                        "expected at most 256 MiB, got " + format_bytes(static_cast<Bytes>(utf8.size())),
                        "cut it into documents");
    require_utf8(utf8, "the text");
    std::unique_lock<std::mutex> cache_lock(cache_mutex_, std::try_to_lock);
    Bpe::Cache* cache = cache_lock.owns_lock() ? &cache_ : nullptr;
    std::vector<std::int32_t> ids;
    ids.reserve(utf8.size() / 4 + 8);
    if (options.add_special) ids = frame_.before;
    added_.split(utf8, false, options.plain, [&](std::optional<std::int32_t> id, std::string_view text) {
      if (id) {
        ids.push_back(*id);
      } else {
        encode_text(text, options, cache, ids);
      }
    });
    if (options.add_special) ids.insert(ids.end(), frame_.after.begin(), frame_.after.end());
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const std::int32_t id : ids) {
      const AddedToken* added = added_.find_id(id);
      const std::string& token = added != nullptr ? added->decoded : model_.token_of(id);
      if (token.empty() || (skip_special && added != nullptr && added->special)) continue;
      tokens.push_back(token);
    }
    std::string text;
    if (decoder_ != nullptr) {
      for (const auto& part : decoder_->apply(std::move(tokens))) text += part;
    } else {
      for (const auto& token : tokens) text += (text.empty() ? "" : " ") + token;
    }
    return text;
  }

  std::int64_t vocab_size() const override { return std::int64_t{max_id_} + 1; }
  std::optional<std::int32_t> id_of(std::string_view token) const override {
    if (const auto found = added_ids_.find(token); found != added_ids_.end()) return found->second;
    return model_.id_of(token);
  }
  std::optional<std::int32_t> eos_id() const override { return eos_; }
  std::string fingerprint() const override { return fingerprint_; }
  SpecialFrame special_frame() const override { return frame_; }

 private:
  std::vector<AddedToken> checked_added(const nlohmann::json& config) const {
    auto tokens = parse_added_tokens(config.value("added_tokens", nlohmann::json()));
    for (const auto& token : tokens) {
      const auto id = model_.id_of(token.content);
      if (id && *id != token.id)
        throw FormatError("data.tokenizer", "added token '" + token.content + "' contradicts the vocabulary",
                          "expected id " + std::to_string(*id) + ", got " + std::to_string(token.id));
    }
    return tokens;
  }

  void encode_text(std::string_view text, EncodeOptions options, Bpe::Cache* cache,
                   std::vector<std::int32_t>& ids) const {
    std::string normal;
    if (normalizer_ != nullptr) {
      normal = normalizer_->apply(text);
      text = normal;
    }
    const PieceSink encode_piece = [&](std::string_view piece) { append_piece(piece, cache, ids); };
    added_.split(text, true, options.plain, [&](std::optional<std::int32_t> id, std::string_view part) {
      if (id) {
        ids.push_back(*id);
      } else if (pre_tokenizer_ != nullptr) {
        pre_tokenizer_->split(part, encode_piece);
      } else {
        encode_piece(part);
      }
    });
  }

  void append_piece(std::string_view piece, Bpe::Cache* cache, std::vector<std::int32_t>& ids) const {
    if (cache == nullptr) {
      model_.encode(piece, ids);
      return;
    }
    if (const auto* known = cache->find(piece)) {
      ids.insert(ids.end(), known->begin(), known->end());
      return;
    }
    std::vector<std::int32_t> fresh;
    model_.encode(piece, fresh);
    ids.insert(ids.end(), fresh.begin(), fresh.end());
    cache->insert(piece, fresh);
  }

  Bpe model_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<Decoder> decoder_;
  SpecialFrame frame_;
  AddedTokens added_;
  TextMap<std::int32_t> added_ids_;
  std::optional<std::int32_t> eos_;
  std::int32_t max_id_ = -1;
  std::string fingerprint_;
  mutable std::mutex cache_mutex_;
  mutable Bpe::Cache cache_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_bpe(const TokenizerSource& source) {
  try {
    check_depth(source.json, source.where);
    const auto config = nlohmann::json::parse(source.json);
    const auto version = config.value("version", std::string("1.0"));
    if (version != "1.0")
      throw FormatError("data.tokenizer", source.where + " has an unknown version", "expected 1.0, got " + version);
    return std::make_unique<ByteBpe>(config, source);
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("data.tokenizer", source.where + " is malformed", error.what());
  }
}

}  // namespace sluice::data
