// Streams tensors into safetensors files: all are declared first, then their bytes come in order, in pieces of any
// length, so no tensor ever stands whole in memory. Nothing is visible before `publish`.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/units.h"
#include "format/tensor_info.h"

namespace sluice::format {

using Metadata = std::map<std::string, std::string>;

/// 5 GB, the shard limit of the published tools.
inline constexpr Bytes kDefaultMaxShard = 5'000'000'000;

/// One file. The data starts at a multiple of 4096, so that it can be read past the page cache.
class SafetensorsWriter {
 public:
  /// Writes the header. Throws FormatError for duplicate names, unknown dtypes and broken shapes, IoError from the
  /// file.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const Metadata& metadata = {{"format", "pt"}});

  /// The next bytes of tensor `name`; tensors come in the declared order, each complete before the next begins
  /// (InternalError otherwise).
  void append(std::string_view name, std::span<const std::byte> piece);

  /// Makes the file durable and visible; every tensor must be complete. Returns the XXH3-64 of the whole file.
  std::uint64_t publish();

  [[nodiscard]] std::span<const TensorInfo> tensors() const noexcept { return tensors_; }

 private:
  void skip_complete();

  std::vector<TensorInfo> tensors_;
  FileWriter file_;
  std::size_t current_ = 0;
  Bytes left_ = 0;  ///< bytes of tensors_[current_] still to come
};

/// A file of a written model and its checksum.
struct WrittenFile {
  std::string name;
  std::uint64_t checksum = 0;  ///< XXH3-64
};

/// The text of model.safetensors.index.json: which file holds which tensor, and the bytes of all.
std::string shard_index_text(const std::map<std::string, std::string, std::less<>>& weight_map, Bytes total_size);

/// The weights of a model folder: model.safetensors, or shards of at most `max_shard` bytes with their index.
class ModelWeightsWriter {
 public:
  ModelWeightsWriter(std::filesystem::path folder, std::vector<TensorInfo> tensors, Bytes max_shard = kDefaultMaxShard);

  /// As SafetensorsWriter::append, over all shards.
  void append(std::string_view name, std::span<const std::byte> piece);

  /// Publishes the shards, then the index, and removes files of an earlier, differently sharded save that would be read
  /// first.
  std::vector<WrittenFile> publish();

 private:
  std::filesystem::path folder_;
  std::vector<std::string> file_names_;
  std::vector<std::unique_ptr<SafetensorsWriter>> shards_;
  std::map<std::string, std::size_t, std::less<>> shard_of_;
  Bytes total_size_ = 0;
};

}  // namespace sluice::format
