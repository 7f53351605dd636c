// A small state to save and compare, and a folder that deletes itself.
#pragma once
#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "checkpoint/writer.h"
#include "format/pieces.h"
#include "format/weight_source.h"

namespace sluice::checkpoint {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-checkpoint-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Any bit pattern, NaN and denormals included, different for every step, tensor and element.
inline float sample_value(std::int64_t step, const StateTensor& tensor, std::int64_t element) {
  std::uint64_t x = std::hash<std::string>()(tensor.file + tensor.name) + static_cast<std::uint64_t>(step) * 7919 +
                    static_cast<std::uint64_t>(element);
  x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15ULL;
  return std::bit_cast<float>(static_cast<std::uint32_t>(x >> 32));
}

inline ReadState sample_state(std::int64_t step) {
  return [step](const StateTensor& tensor, std::int64_t first, std::span<std::byte> destination) {
    for (std::size_t i = 0; i < destination.size() / sizeof(float); ++i) {
      const float value = sample_value(step, tensor, first + static_cast<std::int64_t>(i));
      std::memcpy(destination.data() + i * sizeof(float), &value, sizeof(float));
    }
  };
}

inline std::vector<StateTensor> sample_model() {
  return {{"model", "embed.weight", {9, 11}}, {"model", "norm.weight", {5}}, {"model", "scale", {}}};
}

inline CheckpointContents sample_contents(std::int64_t step) {
  CheckpointContents contents;
  contents.tensors = sample_model();
  for (const StateTensor& tensor : sample_model()) {
    for (const char* state : {"exp_avg/", "exp_avg_sq/"})
      contents.tensors.push_back({"optimizer", state + tensor.name, tensor.shape});
  }
  contents.trainer_state_json = "{\"step\": " + std::to_string(step) + "}";
  contents.side_files = {{"config.json", "{\"model_type\": \"llama\"}"}, {"tokenizer.json", std::string("a\0b", 3)}};
  return contents;
}

inline std::filesystem::path save_sample(const std::filesystem::path& output, std::int64_t step,
                                         std::size_t staging_size = 32) {
  std::vector<float> staging(staging_size);
  auto folder = output / ("checkpoint-" + std::to_string(step));
  write_checkpoint(folder, sample_contents(step), sample_state(step), staging);
  return folder;
}

/// The same state as `num_ranks` write it, each its own range of every tensor (of a scalar the last one).
inline std::filesystem::path save_shared_sample(const std::filesystem::path& output, std::int64_t step, int num_ranks) {
  std::vector<float> staging(7);
  auto folder = output / ("checkpoint-" + std::to_string(step));
  CheckpointContents contents = sample_contents(step);
  CheckpointDraft draft(folder, contents.tensors);
  std::vector<ManifestFile> files;
  for (const std::string kind : {"model", "optimizer"}) {
    std::vector<format::TensorInfo> infos;
    std::vector<std::string> names;
    for (int rank = 0; rank < num_ranks; ++rank) {
      Share share{.name = kind + "-rank-" + std::to_string(rank) + ".safetensors"};
      for (const StateTensor& tensor : contents.tensors) {
        if (tensor.file != kind) continue;
        const format::TensorInfo info{tensor.name, tensor.dtype, tensor.shape};
        if (rank == 0) infos.push_back(info);
        const std::int64_t each = info.num_elements() / num_ranks;
        const TensorPiece piece{tensor, rank * each, rank + 1 == num_ranks ? info.num_elements() : (rank + 1) * each};
        if (piece.first < piece.end) share.pieces.push_back(piece);
      }
      names.push_back(share.name);
      files.push_back(write_share(draft.path(), share, sample_state(step), staging));
    }
    contents.side_files.emplace_back(format::pieces_index_name(kind), format::pieces_index_text(infos, names));
  }
  draft.seal(std::move(files), contents);
  return folder;
}

inline std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void overwrite(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline void read_floats(const format::WeightSource& source, const StateTensor& tensor, std::int64_t first,
                        std::span<float> destination) {
  source.read(tensor.name, first, destination);
}
inline void read_floats(const format::PiecedTensors& file, const StateTensor& tensor, std::int64_t first,
                        std::span<float> destination) {
  file.read(*file.find(tensor.name), first * static_cast<Bytes>(sizeof(float)), std::as_writable_bytes(destination));
}

/// Whether `source` holds the sample's values of `step` for `tensor`, bit for bit.
template <typename Source>
bool holds_sample(const Source& source, const StateTensor& tensor, std::int64_t step) {
  const auto* info = source.find(tensor.name);
  if (info == nullptr || info->shape != tensor.shape) return false;
  std::vector<float> values(static_cast<std::size_t>(info->num_elements()));
  read_floats(source, tensor, 0, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(values[i]) !=
        std::bit_cast<std::uint32_t>(sample_value(step, tensor, static_cast<std::int64_t>(i))))
      return false;
  }
  return true;
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace sluice::checkpoint
