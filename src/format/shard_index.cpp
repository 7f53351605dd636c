// model.safetensors.index.json and the shards that it names.
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "format/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

constexpr std::size_t kMaxShards = 100'000;

[[noreturn]] void refuse(std::string_view origin, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.index", "bad shard index " + std::string(origin) + ": " + what, expected_got,
                    "the model folder is incomplete or damaged: copy or download it again");
}

void check_file_name(std::string_view file, std::string_view origin) {
  if (!is_clean_name(file, 255) || file.find_first_of("/\\") != std::string_view::npos || file == "." || file == "..")
    refuse(origin, "file name " + quote(file), "expected one path component");
}

}  // namespace

ShardIndex parse_shard_index(std::string_view json_text, std::string_view origin) {
  const nlohmann::json root = parse_json_object(json_text, origin, {.max_bytes = 64 * MiB, .max_depth = 8});
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object() || map->empty())
    refuse(origin, "weight_map", "expected an object with tensor names");
  ShardIndex index;
  std::set<std::string> files;
  for (const auto& [name, file] : map->items()) {
    if (!is_clean_name(name, 4096)) refuse(origin, "tensor name " + quote(name), "expected 1 to 4096 printable bytes");
    if (!file.is_string()) refuse(origin, "file of tensor " + quote(name), "expected a string");
    check_file_name(file.get_ref<const std::string&>(), origin);
    files.insert(file.get<std::string>());
    index.weight_map.emplace(name, file.get<std::string>());
  }
  if (files.size() > kMaxShards)
    refuse(origin, "number of shards", "expected at most 100000, got " + std::to_string(files.size()));
  index.files.assign(files.begin(), files.end());
  const auto metadata = root.find("metadata");
  if (metadata != root.end() && metadata->is_object() && metadata->contains("total_size")) {
    const auto& total = (*metadata)["total_size"];
    if (total.is_number_unsigned() && total.get<std::uint64_t>() < (std::uint64_t{1} << 62))
      index.total_size = total.get<std::int64_t>();
  }
  return index;
}

std::vector<std::unique_ptr<SafetensorsFile>> open_shards(const std::filesystem::path& folder,
                                                          const ShardIndex& index) {
  const std::string origin = folder.string();
  std::vector<std::unique_ptr<SafetensorsFile>> shards;
  std::size_t num_found = 0;
  for (const std::string& file : index.files) {
    shards.push_back(std::make_unique<SafetensorsFile>(open_file_in(folder, file)));
    for (const StoredTensor& tensor : shards.back()->tensors()) {
      const auto row = index.weight_map.find(tensor.name);
      if (row == index.weight_map.end() || row->second != file)
        refuse(origin, "tensor " + quote(tensor.name),
               "expected it " + (row == index.weight_map.end() ? std::string("nowhere") : "in " + quote(row->second)) +
                   ", got it in " + quote(file));
      ++num_found;
    }
  }
  if (num_found == index.weight_map.size()) return shards;
  for (const auto& [name, file] : index.weight_map) {
    bool found = false;
    for (const auto& shard : shards) found = found || shard->find(name) != nullptr;
    if (!found) refuse(origin, "tensor " + quote(name), "expected it in " + quote(file) + ", got nothing of that name");
  }
  return shards;
}

}  // namespace sluice::format
