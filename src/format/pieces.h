// Tensors that lie in several files, a range of elements here and a range there, as the ranks of a run hold them. Each
// file is a safetensors file of flat tensors NAME[FIRST:END]; KIND.pieces.json says what whole tensors they make:
//   {"tensors": {NAME: {"dtype": "F32", "shape": [576, 1536]}}, "files": ["model-rank-00001-of-00002.safetensors"]}
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"
#include "format/weight_source.h"

namespace sluice::format {

/// "model.pieces.json" of kind "model".
std::string pieces_index_name(std::string_view kind);

/// The flat tensor with elements `first` up to, not including, `end` of tensor `name`.
std::string piece_name(std::string_view name, std::int64_t first, std::int64_t end);

/// The text of an index.
std::string pieces_index_text(std::span<const TensorInfo> tensors, std::span<const std::string> files);

/// Tensors in pieces, or whole in one file, by name; raw bytes. One thread at a time.
class PiecedTensors {
 public:
  explicit PiecedTensors(std::unique_ptr<SafetensorsFile> whole);
  /// The files that FOLDER/KIND.pieces.json names. Throws FormatError where their pieces do not make its tensors, each
  /// element once.
  PiecedTensors(const std::filesystem::path& folder, std::string_view kind);

  [[nodiscard]] std::span<const TensorInfo> tensors() const noexcept { return infos_; }
  /// nullptr when absent.
  [[nodiscard]] const TensorInfo* find(std::string_view name) const;

  /// A tensor's bytes from `first_byte` on. Throws FormatError when the range leaves the tensor.
  void read(const TensorInfo& tensor, Bytes first_byte, std::span<std::byte> destination) const;
  /// Elements widened to fp32, otherwise the same.
  void read_wide(const TensorInfo& tensor, std::int64_t first_element, std::span<float> destination) const;

 private:
  struct Piece {
    const SafetensorsFile* file;
    const StoredTensor* stored;
    std::int64_t first, end;  // elements of the whole
  };
  void add(const TensorInfo& tensor);
  void add_piece(const SafetensorsFile& file, const StoredTensor& stored);
  void check_complete() const;
  const std::vector<Piece>& pieces_of(const TensorInfo& tensor) const;
  /// Visits (piece, its element, count, element of the range) in ascending order.
  template <typename Visit>
  void for_each_part(const TensorInfo& tensor, std::int64_t first, std::int64_t count, Visit visit) const;

  std::string origin_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<Piece>> pieces_;  // per tensor, ascending
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

/// Such a folder's tensors as weights.
std::unique_ptr<WeightSource> open_pieced_weights(const std::filesystem::path& folder, std::string_view kind);

}  // namespace sluice::format
