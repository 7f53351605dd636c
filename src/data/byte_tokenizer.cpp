#include "data/byte_tokenizer.h"

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

}  // namespace sluice::data
