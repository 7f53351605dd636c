#include "data/byte_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/byte_level.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view utf8, EncodeOptions) const override {
    require_utf8(utf8, "the text");
    std::vector<std::int32_t> ids;
    ids.reserve(utf8.size());
    for (const char byte : utf8) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    std::string bytes;
    for (const std::int32_t id : ids)
      if (id >= 0 && id < 256) bytes.push_back(static_cast<char>(id));
    return repair_utf8(bytes);
  }

  std::int64_t vocab_size() const override { return 256; }
  std::optional<std::int32_t> id_of(std::string_view token) const override {
    if (token.size() != 1) return std::nullopt;
    return static_cast<unsigned char>(token[0]);
  }
  std::optional<std::int32_t> eos_id() const override { return std::nullopt; }
  std::string fingerprint() const override { return "62797465732d7631"; }  // "bytes-v1"
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer(const TokenizerSource&) { return std::make_unique<ByteTokenizer>(); }

std::string build_byte_tokenizer(std::u32string_view) {
  nlohmann::ordered_json vocabulary = nlohmann::ordered_json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[to_byte_alphabet(std::string(1, static_cast<char>(byte)))] = byte;
  const nlohmann::ordered_json root = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", nlohmann::json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  return root.dump(1) + "\n";
}

}  // namespace sluice::data
