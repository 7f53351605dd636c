// Reader of safetensors files, stricter than the reference one: duplicate keys, holes, overlaps, trailing bytes,
// unknown fields, ranks above 8 and products that overflow are refused before any allocation follows from them.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "format/byte_source.h"
#include "format/tensor_info.h"

namespace sluice::format {

/// A tensor and its place in a file.
struct StoredTensor : TensorInfo {
  Bytes offset = 0;  ///< from the start of the file
  Bytes size = 0;
};

/// What a header says, validated against the size of its file.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;            ///< ascending offset
  std::map<std::string, std::string> metadata;  ///< `__metadata__`
};

/// Bits per element of a safetensors dtype name; 0 when there is no such dtype.
int safetensors_dtype_bits(std::string_view dtype);

/// Bytes that `tensor` takes. Throws FormatError (naming `origin`) for an unknown dtype, 2^48 elements or more, or no
/// whole bytes.
Bytes stored_size(const TensorInfo& tensor, std::string_view origin);

/// Parses the JSON of a header (without the length field). `file_size` is that of the whole file, which must end with
/// the last tensor. Throws FormatError.
SafetensorsHeader parse_safetensors_header(std::string_view json_text, Bytes file_size, std::string_view origin);

/// An open file with a valid header. One thread at a time.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  explicit SafetensorsFile(std::unique_ptr<ByteSource> source);

  /// In the order of their bytes.
  [[nodiscard]] std::span<const StoredTensor> tensors() const noexcept { return header_.tensors; }
  /// nullptr when absent.
  [[nodiscard]] const StoredTensor* find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return header_.metadata; }
  [[nodiscard]] const std::string& name() const { return source_->name(); }
  [[nodiscard]] const ByteSource& source() const { return *source_; }

  /// Raw bytes of `tensor` from `first_byte` on, whatever the dtype. Throws FormatError when the range leaves the
  /// tensor.
  void read(const StoredTensor& tensor, Bytes first_byte, std::span<std::byte> destination) const;

 private:
  std::unique_ptr<ByteSource> source_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, const StoredTensor*> by_name_;
};

/// model.safetensors.index.json: which shard holds which tensor.
struct ShardIndex {
  std::map<std::string, std::string> weight_map;  ///< tensor name -> file name (one path component)
  std::vector<std::string> files;                 ///< each once, sorted
  Bytes total_size = 0;                           ///< what the file claims; 0 when it does not
};

/// Parses an index. Throws FormatError, also for file names that are more than one path component.
ShardIndex parse_shard_index(std::string_view json_text, std::string_view origin);

/// Opens all shards of `index` in `folder` and checks that names and headers agree and that no tensor is in two shards.
std::vector<std::unique_ptr<SafetensorsFile>> open_shards(const std::filesystem::path& folder, const ShardIndex& index);

}  // namespace sluice::format
