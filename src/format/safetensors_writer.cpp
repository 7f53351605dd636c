#include "format/safetensors_writer.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "format/quote.h"
#include "format/safetensors.h"

namespace sluice::format {
namespace {

constexpr Bytes kDataAlignment = 4096;  // direct reads need whole pages

std::string make_header(const std::vector<TensorInfo>& tensors, const Metadata& metadata, const std::string& origin) {
  nlohmann::ordered_json::object_t rows;
  rows.Container::emplace_back("__metadata__", metadata);
  Bytes end = 0;
  for (const TensorInfo& tensor : tensors) {
    const Bytes begin = end;
    end += stored_size(tensor, origin);
    rows.Container::emplace_back(
        tensor.name,
        nlohmann::ordered_json{{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}});
  }
  std::string text;
  try {
    text = nlohmann::ordered_json(std::move(rows)).dump();
  } catch (const nlohmann::json::type_error&) {
    throw FormatError("format.safetensors", "cannot write " + origin, "expected tensor names in UTF-8");
  }
  const Bytes padded = round_up(8 + static_cast<Bytes>(text.size()), kDataAlignment);
  text.resize(static_cast<std::size_t>(padded - 8), ' ');
  parse_safetensors_header(text, padded + end, origin);  // nothing is written that our own reader would refuse
  return text;
}

std::string shard_name(std::size_t index, std::size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                     const Metadata& metadata)
    : tensors_(std::move(tensors)), file_(path) {
  const std::string header = make_header(tensors_, metadata, path.string());
  const std::uint64_t length = header.size();
  file_.append(std::as_bytes(std::span(&length, 1)));
  file_.append(header);
  if (!tensors_.empty()) left_ = stored_size(tensors_[0], path.string());
  skip_complete();
}

void SafetensorsWriter::skip_complete() {
  while (current_ < tensors_.size() && left_ == 0) {
    ++current_;
    if (current_ < tensors_.size()) left_ = stored_size(tensors_[current_], {});
  }
}

void SafetensorsWriter::append(std::string_view name, std::span<const std::byte> piece) {
  if (piece.empty()) return;
  SLUICE_CHECK(current_ < tensors_.size() && tensors_[current_].name == name, "tensor ", name, " came out of turn");
  SLUICE_CHECK(static_cast<Bytes>(piece.size()) <= left_, "tensor ", name, " has ", left_, " bytes left, got ",
               piece.size());
  file_.append(piece);
  left_ -= static_cast<Bytes>(piece.size());
  skip_complete();
}

std::uint64_t SafetensorsWriter::publish() {
  SLUICE_CHECK(current_ == tensors_.size(), "tensor ", tensors_[current_].name, " lacks ", left_, " bytes");
  file_.publish();
  return file_.checksum();
}

std::string shard_index_text(const std::map<std::string, std::string, std::less<>>& weight_map, Bytes total_size) {
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total_size;
  nlohmann::ordered_json::object_t map;
  for (const auto& [name, file] : weight_map) map.Container::emplace_back(name, file);
  index["weight_map"] = std::move(map);
  return index.dump(2) + "\n";
}

ModelWeightsWriter::ModelWeightsWriter(std::filesystem::path folder, std::vector<TensorInfo> tensors, Bytes max_shard)
    : folder_(std::move(folder)) {
  std::vector<std::vector<TensorInfo>> groups(1);
  Bytes group_size = 0;
  for (TensorInfo& tensor : tensors) {
    const Bytes size = stored_size(tensor, folder_.string());
    if (group_size + size > max_shard && !groups.back().empty()) {
      groups.emplace_back();
      group_size = 0;
    }
    group_size += size;
    total_size_ += size;
    if (!shard_of_.emplace(tensor.name, groups.size() - 1).second)
      throw FormatError("format.safetensors", "cannot write " + folder_.string(),
                        "expected each tensor once, got " + quote(tensor.name) + " again");
    groups.back().push_back(std::move(tensor));
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    file_names_.push_back(groups.size() == 1 ? "model.safetensors" : shard_name(i, groups.size()));
    shards_.push_back(std::make_unique<SafetensorsWriter>(folder_ / file_names_.back(), std::move(groups[i])));
  }
}

void ModelWeightsWriter::append(std::string_view name, std::span<const std::byte> piece) {
  const auto found = shard_of_.find(name);
  SLUICE_CHECK(found != shard_of_.end(), "tensor ", name, " was not declared");
  shards_[found->second]->append(name, piece);
}

std::vector<WrittenFile> ModelWeightsWriter::publish() {
  std::vector<WrittenFile> written;
  for (std::size_t i = 0; i < shards_.size(); ++i) written.push_back({file_names_[i], shards_[i]->publish()});
  const std::filesystem::path index_path = folder_ / "model.safetensors.index.json";
  if (shards_.size() == 1) {
    std::filesystem::remove(index_path);
    return written;
  }
  std::map<std::string, std::string, std::less<>> weight_map;
  for (const auto& [name, shard] : shard_of_) weight_map.emplace(name, file_names_[shard]);
  const std::string text = shard_index_text(weight_map, total_size_);
  write_text(index_path, text);
  written.push_back({index_path.filename().string(), checksum(std::as_bytes(std::span(text.data(), text.size())))});
  std::filesystem::remove(folder_ / "model.safetensors");
  return written;
}

}  // namespace sluice::format
