#include "train/metrics.h"

#include <cerrno>

#include "base/error.h"

namespace sluice::train {

MetricsFile::MetricsFile(const std::filesystem::path& path)
    : path_(path), file_(std::fopen(path.c_str(), "ae"), &std::fclose) {
  if (!file_) throw_errno("metrics", "open", path.string(), errno, "check that the folder exists and is writable");
}

void MetricsFile::write(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
    throw_errno("metrics", "write", path_.string(), errno);
}

}  // namespace sluice::train
