// metrics.jsonl: one JSON line per step and event; floats read back to the same double.
#pragma once
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

namespace sluice::train {

/// Appends lines; each is on its way to the disk when `write` returns. Throws IoError.
class MetricsFile {
 public:
  explicit MetricsFile(const std::filesystem::path& path);
  void write(const nlohmann::ordered_json& line);

 private:
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

}  // namespace sluice::train
