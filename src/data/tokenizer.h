// Text to token ids and back, with the ids of huggingface/tokenizers. What a tokenizer file may hold is decided here
// and refused by name when it is not known; a malformed file is a FormatError, never a crash.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::data {

struct EncodeOptions {
  bool add_special = true;  ///< the post-processor's tokens (BOS, EOS) around the text
  bool plain = false;       ///< special tokens in the text are ordinary text
};

/// Ids that the post-processor puts around one text.
struct SpecialFrame {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

/// Immutable after loading. Every function may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Ids of one text. Throws FormatError for text that is not UTF-8 (naming line and byte) and for more than 256 MiB.
  virtual std::vector<std::int32_t> encode(std::string_view utf8, EncodeOptions options = {}) const = 0;
  /// Text of the ids; bytes that do not form UTF-8 become U+FFFD, as in huggingface/tokenizers. Unknown ids are
  /// skipped.
  virtual std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const = 0;
  /// Largest id + 1: the number of rows that an embedding needs.
  virtual std::int64_t vocab_size() const = 0;
  virtual std::optional<std::int32_t> id_of(std::string_view token) const = 0;
  /// The token that ends a document or a turn; absent when the files name none.
  virtual std::optional<std::int32_t> eos_id() const = 0;
  /// Equal for two tokenizers only if they give the same ids (16 hexadecimal digits).
  virtual std::string fingerprint() const = 0;
  /// What `encode` adds around a text under `add_special`.
  virtual SpecialFrame special_frame() const { return {}; }
};

/// Opens a folder that holds tokenizer.json (its tokenizer_config.json names the end token), a tokenizer.json, a
/// FILE.gguf, or the name of a built-in tokenizer ("byte"). Throws IoError (missing) and FormatError (malformed,
/// unknown component).
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& model);

}  // namespace sluice::data
