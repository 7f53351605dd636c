// Typed access to the keys of a config.json. A family may spell a key in its own way: code asks for Llama's spelling,
// messages name the family's.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::format {

/// A key under the name that code uses and the one that a family's files use.
struct KeySpelling {
  std::string_view key;
  std::string_view spelled;
};

/// What the family calls `key`.
[[nodiscard]] std::string_view spelled(std::span<const KeySpelling> spellings, std::string_view key);

/// One config.json. Keys that are null count as absent. Refers to what it is given.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& root, std::string_view origin, std::span<const KeySpelling> spellings = {})
      : root_(root), origin_(origin), spellings_(spellings) {}

  /// Throws FormatError: the file is damaged or contradicts itself.
  [[noreturn]] void refuse(std::string_view key, const std::string& expected_got) const;
  /// Throws ConfigError: the file is sound, but says what this program does not compute.
  [[noreturn]] void unsupported(const std::string& what, const std::string& expected_got) const;

  /// The value in the family's spelling or, where files of the family may have it, in the common one. Both, and
  /// different: FormatError.
  [[nodiscard]] const nlohmann::json* member(std::string_view key) const;
  [[nodiscard]] bool has(const char* key) const { return root_.contains(key); }
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const;
  [[nodiscard]] std::int64_t required(std::string_view key) const;
  [[nodiscard]] double number(std::string_view key, double fallback) const;
  [[nodiscard]] bool boolean(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string text(std::string_view key, const std::string& fallback) const;
  [[nodiscard]] std::int64_t to_integer(const nlohmann::json& value, std::string_view key) const;
  /// hidden_size / num_attention_heads, refused where it leaves a rest.
  [[nodiscard]] std::int64_t even_share(std::int64_t hidden_size, std::int64_t num_heads) const;

  [[nodiscard]] const nlohmann::json& root() const { return root_; }
  [[nodiscard]] std::string_view origin() const { return origin_; }

 private:
  const nlohmann::json& root_;
  std::string_view origin_;
  std::span<const KeySpelling> spellings_;
};

}  // namespace sluice::format
