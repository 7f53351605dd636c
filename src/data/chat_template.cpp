#include "data/chat_template.h"

#include "base/error.h"
#include "base/file.h"
#include "data/hex.h"
#include "format/gguf_tokenizer.h"
#include "format/strict_json.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr Bytes kMaxFile = 16 * MiB;

Json parse_object(const std::string& text, const std::string& where) {
  format::parse_json_object(text, where,
                            {.max_bytes = kMaxFile});  // refuses what the parser that keeps order would take
  return Json::parse(text);
}

// Tokens stand as text or as {"content": text}.
Json special_tokens(const Json& config) {
  Json tokens = Json::object();
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const auto found = config.find(name);
    if (found == config.end()) continue;
    const Json& token = found->is_object() && found->contains("content") ? found->at("content") : *found;
    if (token.is_string()) tokens[name] = token;
  }
  return tokens;
}

// Text, or a list of {"name", "template"} of which the default counts.
std::string template_in(const Json& config, const std::string& where) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array())
    for (const Json& entry : *found)
      if (entry.is_object() && entry.value("name", Json()) == "default" && entry.value("template", Json()).is_string())
        return entry.at("template").get<std::string>();
  throw FormatError("data.chat_template", where + ": chat_template cannot be used",
                    "expected a text or a list with the name \"default\"", "give another one with --chat-template");
}

struct Source {
  std::string text, origin;
  Json special = Json::object();
};

Source from_folder(const fs::path& folder) {
  Source source;
  const fs::path config_file = folder / "tokenizer_config.json";
  if (fs::is_regular_file(config_file)) {
    const Json config = parse_object(read_text(config_file, kMaxFile), config_file.string());
    source.special = special_tokens(config);
    source.text = template_in(config, config_file.string());
    source.origin = config_file.string();
  }
  if (const fs::path file = folder / "chat_template.jinja"; fs::is_regular_file(file)) {
    source.text = read_text(file, kMaxFile);
    source.origin = file.string();
  } else if (const fs::path json = folder / "chat_template.json"; source.text.empty() && fs::is_regular_file(json)) {
    source.text = template_in(parse_object(read_text(json, kMaxFile), json.string()), json.string());
    source.origin = json.string();
  }
  return source;
}

Source from_gguf(const fs::path& path) {
  const format::GgufFile file(path);
  if (!format::has_gguf_tokenizer(file)) return {};
  const format::TokenizerFiles files = format::gguf_tokenizer(file);
  return {files.chat_template, path.string(), special_tokens(parse_object(files.tokenizer_config_json, path.string()))};
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, const std::string& origin, Json special)
    : template_(source, origin), special_tokens_(std::move(special)) {
  const std::string all = source + '\0' + special_tokens_.dump();
  fingerprint_ = to_hex(checksum(std::as_bytes(std::span(all))));
}

jinja::Rendered ChatTemplate::render(const Json& conversation, bool generation_prompt, std::time_t now) const {
  Json variables = special_tokens_;
  variables["messages"] = conversation.at("messages");
  variables["tools"] = conversation.value("tools", Json(nullptr));
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = generation_prompt;
  return template_.render(variables, now);
}

std::unique_ptr<ChatTemplate> load_chat_template(const fs::path& model, const fs::path& file) {
  Source source;
  if (model.extension() == ".gguf") {
    source = from_gguf(model);
  } else if (fs::is_directory(model)) {
    source = from_folder(model);
  } else if (fs::is_regular_file(model)) {
    source = from_folder(model.parent_path());
  }
  if (!file.empty()) {
    source.text = read_text(file, kMaxFile);
    source.origin = file.string();
  }
  if (source.text.empty()) return nullptr;
  return std::make_unique<ChatTemplate>(source.text, source.origin, std::move(source.special));
}

const ChatTemplate* ChatTemplatePlace::open() const {
  if (opened_ == nullptr) opened_ = load_chat_template(model_, file_);
  return opened_.get();
}

}  // namespace sluice::data
