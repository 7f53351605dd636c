#include "recipe/deepspeed_keys.h"

#include <unordered_map>
#include <vector>

namespace sluice::recipe {
namespace {

std::string_view heading(KeyFate fate) {
  switch (fate) {
    case KeyFate::Mapped:
      return "becomes ";
    case KeyFate::Refused:
      return "**refused**: ";
    case KeyFate::NoEffect:
      break;
  }
  return "no effect: ";
}

std::string in_markdown(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

}  // namespace

std::span<const DeepSpeedKey> deepspeed_keys() {
  static const std::vector<DeepSpeedKey> all = [] {
    std::vector<DeepSpeedKey> rows;
    for (const auto part : {deepspeed_training_keys(), deepspeed_zero_keys(), deepspeed_other_keys()})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return all;
}

const DeepSpeedKey* find_deepspeed_key(std::string_view key) {
  static const std::unordered_map<std::string_view, const DeepSpeedKey*> by_name = [] {
    std::unordered_map<std::string_view, const DeepSpeedKey*> map;
    for (const DeepSpeedKey& row : deepspeed_keys()) map.emplace(row.key, &row);
    return map;
  }();
  const auto found = by_name.find(key);
  return found == by_name.end() ? nullptr : found->second;
}

bool is_deepspeed_section(std::string_view name) {
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    if (row.key.size() > name.size() && row.key.starts_with(name) && row.key[name.size()] == '.') return true;
  }
  return false;
}

std::string deepspeed_keys_table() {
  std::string table = "| key | values | here |\n|---|---|---|\n";
  for (const DeepSpeedKey& row : deepspeed_keys()) {
    table += "| `" + std::string(row.key) + "` | " + in_markdown(row.values) + " | " + std::string(heading(row.fate)) +
             in_markdown(row.what) + " |\n";
  }
  return table;
}

}  // namespace sluice::recipe
