#include "format/vocabulary.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "format/model_dir.h"

namespace sluice::format {

namespace fs = std::filesystem;

ModelConfig with_vocabulary(const ModelConfig& config, const VocabularyIds& ids) {
  auto root = nlohmann::ordered_json::parse(config.json.empty() ? make_config_json(config) : config.json);
  const auto set = [&](const char* key, const std::optional<std::int64_t>& id) {
    root[key] = id ? nlohmann::ordered_json(*id) : nlohmann::ordered_json(nullptr);
  };
  root["vocab_size"] = ids.vocab_size;
  set("bos_token_id", ids.bos);
  set("eos_token_id", ids.eos);
  set("pad_token_id", std::nullopt);
  ModelConfig changed = parse_model_config(root.dump(2), config.name_or_path);
  changed.name_or_path = config.name_or_path;
  return changed;
}

NamedTexts read_tokenizer_files(const fs::path& source) {
  if (source.extension() == ".gguf") return named_texts(gguf_tokenizer(GgufFile(source)));
  const bool is_folder = fs::is_directory(source);
  const fs::path folder = is_folder ? source : source.parent_path();
  NamedTexts files;
  for (const std::string& name : tokenizer_file_names()) {
    const fs::path file = !is_folder && name == "tokenizer.json" ? source : folder / name;
    const bool belongs = is_folder || name == "tokenizer.json" || name == "tokenizer_config.json";
    if (belongs && fs::is_regular_file(file)) files.emplace_back(name, read_text(file, 256 * MiB));
  }
  return files;
}

NamedTexts named_texts(const TokenizerFiles& files) {
  NamedTexts texts = {{"tokenizer.json", files.tokenizer_json}, {"tokenizer_config.json", files.tokenizer_config_json}};
  if (!files.chat_template.empty()) texts.emplace_back("chat_template.jinja", files.chat_template);
  return texts;
}

}  // namespace sluice::format
