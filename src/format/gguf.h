// Strict reader of GGUF files, versions 2 and 3, little-endian. Every count, length and offset is checked against the
// file before it is used; nothing is allocated that the file could not fill.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "format/byte_source.h"
#include "format/dequantize.h"
#include "format/tensor_info.h"

namespace sluice::format {

/// A metadata value; integers of all widths are one kind (an unsigned value above INT64_MAX is refused).
using GgufValue = std::variant<std::int64_t, double, bool, std::string, std::vector<std::int64_t>, std::vector<double>,
                               std::vector<std::string>>;

/// A tensor and its place; `shape` is in torch order (reversed from the file).
struct GgufTensor : TensorInfo {
  const BlockType* type = nullptr;
  Bytes offset = 0;  ///< from the start of the file
  Bytes size = 0;
};

/// An open file with valid tables. One thread at a time.
class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);
  explicit GgufFile(std::unique_ptr<ByteSource> source);

  [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
  [[nodiscard]] const std::map<std::string, GgufValue, std::less<>>& metadata() const noexcept { return metadata_; }
  [[nodiscard]] std::span<const GgufTensor> tensors() const noexcept { return tensors_; }
  /// nullptr when absent.
  [[nodiscard]] const GgufTensor* find(std::string_view name) const;
  [[nodiscard]] const ByteSource& source() const { return *source_; }
  [[nodiscard]] const std::string& name() const { return source_->name(); }

  /// Typed metadata: nullopt (or nullptr) when the key is absent; FormatError when it is of another kind.
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const;
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const;
  [[nodiscard]] const std::string* text(std::string_view key) const;
  [[nodiscard]] const std::vector<std::string>* texts(std::string_view key) const;
  [[nodiscard]] const std::vector<std::int64_t>* integers(std::string_view key) const;

 private:
  template <typename T>
  const T* value(std::string_view key, const char* kind) const;

  std::unique_ptr<ByteSource> source_;
  std::uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, const GgufTensor*> by_name_;
};

}  // namespace sluice::format
