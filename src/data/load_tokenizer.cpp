#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "data/catalog.h"
#include "format/gguf_tokenizer.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

// A special token stands as text or as {"content": text}; null and absence mean none.
std::string token_text(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {};
  return found->is_object() ? found->at("content").get<std::string>() : found->get<std::string>();
}

std::string eos_from(const std::string& config_text, const std::string& where) {
  try {
    const auto config = nlohmann::json::parse(config_text);
    if (!config.is_object()) throw FormatError("data.tokenizer", where + " is malformed", "expected a JSON object");
    return token_text(config, "eos_token");
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("data.tokenizer", where + " is malformed", error.what());
  }
}

// Names that published tokenizers without tokenizer_config.json use for the end of a text.
std::string guess_eos(const nlohmann::json& config) {
  const auto added = config.find("added_tokens");
  if (added == config.end() || !added->is_array()) return {};
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"})
    for (const auto& token : *added)
      if (token.is_object() && token.value("special", false) && token.value("content", std::string()) == name)
        return name;
  return {};
}

const CatalogRow<TokenizerMaker>& row_for(const std::string& model_type, const std::string& where) {
  std::string known;
  for (const auto& row : tokenizer_rows()) {
    if (row.make.model_type.empty()) continue;
    if (row.make.model_type == model_type) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.make.model_type);
  }
  throw FormatError("data.tokenizer", "tokenizer model '" + model_type + "' is not supported",
                    "known are " + known + ", got " + where, "pre-tokenise the data with the Python tokenizer instead");
}

std::unique_ptr<Tokenizer> make_from(TokenizerSource source, bool eos_is_known) {
  std::string model_type;
  try {
    const nlohmann::json config = nlohmann::json::parse(source.json);
    model_type = config.at("model").value("type", std::string("BPE"));
    if (!eos_is_known) source.eos_token = guess_eos(config);
  } catch (const nlohmann::json::exception& error) {
    throw FormatError("data.tokenizer", source.where + " is malformed", error.what());
  }
  return row_for(model_type, source.where).make.make(source);
}

std::unique_ptr<Tokenizer> load_json(const fs::path& file) {
  TokenizerSource source{read_text(file, 256 * MiB), file.string(), {}};
  const fs::path companion = file.parent_path() / "tokenizer_config.json";
  const bool has_companion = fs::is_regular_file(companion);
  if (has_companion) source.eos_token = eos_from(read_text(companion), companion.string());
  return make_from(std::move(source), has_companion && !source.eos_token.empty());
}

std::unique_ptr<Tokenizer> load_gguf(const fs::path& file) {
  const format::TokenizerFiles files = format::gguf_tokenizer(format::GgufFile(file));
  TokenizerSource source{files.tokenizer_json, file.string(), {}};
  if (!files.tokenizer_config_json.empty()) source.eos_token = eos_from(files.tokenizer_config_json, file.string());
  const bool known = !source.eos_token.empty();
  return make_from(std::move(source), known);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& model) {
  if (fs::is_directory(model)) {
    const fs::path file = model / "tokenizer.json";
    if (!fs::exists(file))
      throw IoError("data.tokenizer", "no tokenizer in " + model.string(), "expected tokenizer.json",
                    "copy it there or name another --tokenizer");
    return load_json(file);
  }
  if (model.extension() == ".gguf") return load_gguf(model);
  if (fs::exists(model)) return load_json(model);
  for (const auto& row : tokenizer_rows()) {
    if (row.name != model.string() || row.make.build == nullptr) continue;
    if (!row.make.needs_text) return row.make.make({});
    throw ConfigError("data.tokenizer", "the tokenizer '" + model.string() + "' is made for a text by training",
                      "expected a tokenizer that is there", "name the folder of the trained model");
  }
  throw IoError(
      "data.tokenizer", "no such tokenizer: " + model.string(),
      "expected a folder with tokenizer.json, a tokenizer.json, a .gguf file or a name of `sluice list tokenizers`",
      "check the path");
}

}  // namespace sluice::data
