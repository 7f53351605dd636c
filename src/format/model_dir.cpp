#include "format/model_dir.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "format/config_families.h"
#include "format/gguf_model.h"
#include "format/gguf_tokenizer.h"
#include "format/quote.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

constexpr Bytes kMaxSideFile = 256 * MiB;

struct DtypeName {
  std::string_view safetensors;
  std::string_view torch;
};
constexpr std::array kDtypeNames =
    std::to_array<DtypeName>({{"F32", "float32"}, {"BF16", "bfloat16"}, {"F16", "float16"}});

std::string_view torch_name(std::string_view dtype) {
  for (const DtypeName& row : kDtypeNames)
    if (row.safetensors == dtype) return row.torch;
  throw ConfigError("format.model_dir", "cannot write a model", "expected dtype F32, BF16 or F16, got " + quote(dtype));
}

std::string make_generation_config(const ModelConfig& config) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (config.bos_token_id) root["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) root["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) root["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) root["pad_token_id"] = *config.pad_token_id;
  return root.dump(2) + "\n";
}

// The files of a model folder as they are written: names in order, each once.
class Folder {
 public:
  explicit Folder(std::filesystem::path path) : path_(std::move(path)) {}

  void write(const std::string& name, std::string_view text) {
    write_text(path_ / name, text);
    names_.push_back(name);
  }
  bool copy(const std::filesystem::path& source, const std::string& name) {
    if (!std::filesystem::exists(source / name)) return false;
    write(name, read_text(source / name, kMaxSideFile));
    return true;
  }
  std::vector<std::string> take_names() { return std::move(names_); }

 private:
  std::filesystem::path path_;
  std::vector<std::string> names_;
};

void write_from_gguf(Folder& folder, const std::filesystem::path& source) {
  const GgufFile file(source);
  folder.write("generation_config.json", gguf_generation_config(file));
  if (!has_gguf_tokenizer(file)) return;
  const TokenizerFiles tokenizer = gguf_tokenizer(file);
  folder.write("tokenizer.json", tokenizer.tokenizer_json);
  folder.write("tokenizer_config.json", tokenizer.tokenizer_config_json);
  if (!tokenizer.chat_template.empty()) folder.write("chat_template.jinja", tokenizer.chat_template);
}

void write_from_folder(Folder& folder, const std::filesystem::path& source, const ModelConfig& config) {
  if (!folder.copy(source, "generation_config.json"))
    folder.write("generation_config.json", make_generation_config(config));
  for (const std::string& name : tokenizer_file_names()) folder.copy(source, name);
}

}  // namespace

const std::vector<std::string>& tokenizer_file_names() {
  static const std::vector<std::string> names{"tokenizer.json",
                                              "tokenizer_config.json",
                                              "special_tokens_map.json",
                                              "added_tokens.json",
                                              "vocab.json",
                                              "merges.txt",
                                              "vocab.txt",
                                              "tokenizer.model",
                                              "spiece.model",
                                              "chat_template.jinja",
                                              "chat_template.json"};
  return names;
}

std::string updated_config_json(const ModelConfig& config, std::string_view dtype) {
  const std::string text = config.json.empty() ? make_config_json(config) : config.json;
  parse_json_object(text, config.name_or_path);  // refuses what the order-keeping parser below would take
  nlohmann::ordered_json root = nlohmann::ordered_json::parse(text);
  root["torch_dtype"] = torch_name(dtype);
  root["dtype"] = torch_name(dtype);
  const ConfigFamily* family = find_config_family(config.model_type);
  if (family != nullptr && family->complete != nullptr) family->complete(root, config);
  return root.dump(2) + "\n";
}

std::vector<std::string> write_model_files(const std::filesystem::path& folder, const ModelConfig& config,
                                           const std::filesystem::path& source, std::string_view dtype) {
  Folder target(folder);
  target.write("config.json", updated_config_json(config, dtype));
  if (source.extension() == ".gguf") {
    write_from_gguf(target, source);
  } else if (source.empty()) {
    target.write("generation_config.json", make_generation_config(config));
  } else {
    write_from_folder(target, std::filesystem::is_directory(source) ? source : source.parent_path(), config);
  }
  return target.take_names();
}

}  // namespace sluice::format
