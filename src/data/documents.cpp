#include "data/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/records.h"
#include "data/text_pieces.h"

namespace sluice::data {

namespace fs = std::filesystem;

std::uint64_t read_text_file(const fs::path& file, DocumentSink& sink) {
  sink.begin();
  const auto hash = for_each_piece(file, kPieceBytes, [&](std::string_view piece) { sink.add(piece); });
  sink.end();
  return hash;
}

std::uint64_t read_jsonl_file(const fs::path& file, DocumentSink& sink) {
  return for_each_record(file, [&](std::string_view line, std::int64_t number) {
    std::string text;
    try {
      text = nlohmann::json::parse(line).at("text").get<std::string>();
    } catch (const nlohmann::json::exception& error) {
      throw FormatError("data", "line " + std::to_string(number) + " of " + file.string() + " is malformed",
                        "expected {\"text\": ...}: " + std::string(error.what()));
    }
    sink.begin();
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t size = rest.size() > kPieceBytes + 4 ? find_cut(rest.substr(0, kPieceBytes + 4)) : rest.size();
      sink.add(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    sink.end();
  });
}

std::vector<fs::path> source_files(const fs::path& path, std::string_view extension) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && entry.path().extension() == extension) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty())
    throw FormatError("data", "no text in folder " + path.string(), "expected files named *" + std::string(extension));
  return files;
}

}  // namespace sluice::data
