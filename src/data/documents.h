// Text files as documents in pieces, for whoever reads them: the encoder of a data set, the collector of a character
// tokenizer.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace sluice::data {

/// Sees one document after the other. All pieces are well-formed UTF-8.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual void begin() = 0;
  virtual void add(std::string_view piece) = 0;
  virtual void end() = 0;
};

/// Hands the documents of one file to `sink` in bounded memory and returns the hash of the file's bytes. Throws
/// FormatError naming the line that is malformed.
using ReadDocuments = std::uint64_t (*)(const std::filesystem::path& file, DocumentSink& sink);
std::uint64_t read_text_file(const std::filesystem::path& file, DocumentSink& sink);   ///< the file is one document
std::uint64_t read_jsonl_file(const std::filesystem::path& file, DocumentSink& sink);  ///< {"text": ...} per line

/// `path` itself, or the files *`extension` of a folder in the order of their names. Throws FormatError for none.
std::vector<std::filesystem::path> source_files(const std::filesystem::path& path, std::string_view extension);

}  // namespace sluice::data
