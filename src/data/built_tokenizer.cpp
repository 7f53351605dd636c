#include "data/built_tokenizer.h"

#include <bitset>

#include "base/error.h"
#include "data/catalog.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

class CharacterCollector final : public DocumentSink {
 public:
  void begin() override {}
  void add(std::string_view piece) override {
    for (std::size_t at = 0; at < piece.size(); at += char_length(piece, at)) seen_.set(char_at(piece, at));
  }
  void end() override {}
  [[nodiscard]] std::u32string sorted() const {
    std::u32string characters;
    for (std::size_t i = 0; i < seen_.size(); ++i)
      if (seen_[i]) characters.push_back(static_cast<char32_t>(i));
    return characters;
  }

 private:
  std::bitset<0x110000> seen_;
};

std::u32string characters_of(std::span<const fs::path> paths, const std::string& format) {
  const auto collector = std::make_unique<CharacterCollector>();
  for (const fs::path& path : paths) {
    const CatalogRow<DatasetMaker>& row = find_dataset_row(path, format);
    if (row.make.visit == nullptr)
      throw ConfigError("data.tokenizer", "a character tokenizer is made from plain text",
                        "expected text or text_jsonl, got " + std::string(row.name) + " in " + path.string(),
                        "name a tokenizer that is there with --tokenizer DIR");
    row.make.visit(path, *collector);
  }
  return collector->sorted();
}

constexpr const char* kConfig =
    "{\n  \"clean_up_tokenization_spaces\": false,\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";

}  // namespace

bool is_built_tokenizer(std::string_view name) {
  if (fs::exists(name)) return false;
  for (const auto& row : tokenizer_rows())
    if (row.name == name) return row.make.build != nullptr;
  return false;
}

BuiltTokenizer build_tokenizer(std::string_view name, std::span<const fs::path> paths, const std::string& format) {
  const TokenizerMaker& maker = find_row(tokenizer_rows(), "tokenizer", name).make;
  BuiltTokenizer built;
  built.files.tokenizer_json = maker.build(maker.needs_text ? characters_of(paths, format) : std::u32string());
  built.files.tokenizer_config_json = kConfig;
  built.tokenizer = maker.make({built.files.tokenizer_json, std::string(name), {}});
  return built;
}

}  // namespace sluice::data
