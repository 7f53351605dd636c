// From tokenizer.ggml.* to tokenizer.json. The metadata names a pre-tokenizer (tokenizer.ggml.pre) but does not
// describe it; the table below holds the published pipelines (tokenizers' byte_level.rs, llama.cpp's llama-vocab.cpp,
// the models' own files).
#include "format/gguf_tokenizer.h"

#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/log.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxMerges = 2'000'000;

constexpr const char* kLlama3Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2Pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct Pipeline {
  std::string_view pre;
  bool individual_digits;  ///< split digits one by one, before anything else
  const char* pattern;     ///< split by this; nullptr: by GPT-2's own pattern inside ByteLevel
  bool nfc;
  bool ignore_merges;
};
constexpr std::array kPipelines = std::to_array<Pipeline>({
    {"smollm", true, nullptr, false, false},
    {"gpt-2", false, nullptr, false, false},
    {"default", false, nullptr, false, false},
    {"llama-bpe", false, kLlama3Pattern, false, true},
    {"qwen2", false, kQwen2Pattern, true, false},
});

enum class TokenKind : std::int64_t { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 };

[[noreturn]] void refuse(const GgufFile& file, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.gguf", file.name() + ": " + what, expected_got, "convert the model again");
}

const Pipeline& find_pipeline(const GgufFile& file) {
  const std::string* model = file.text("tokenizer.ggml.model");
  if (model == nullptr || *model != "gpt2")
    throw ConfigError("format.gguf",
                      file.name() + ": tokenizer kind " + (model ? quote(*model) : "(none)") + " is not supported",
                      "expected gpt2 (byte-level BPE)",
                      "put the tokenizer.json of the model beside it and name that folder with --tokenizer");
  const std::string* pre = file.text("tokenizer.ggml.pre");
  if (pre == nullptr) log_warning(file.name() + " does not name its pre-tokenizer; GPT-2's is used");
  const std::string name = pre == nullptr ? "default" : *pre;
  std::string known;
  for (const Pipeline& row : kPipelines) {
    if (row.pre == name) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.pre);
  }
  throw ConfigError("format.gguf", file.name() + ": pre-tokenizer " + quote(name) + " is not supported",
                    "known are " + known,
                    "put the tokenizer.json of the model beside it and name that folder with --tokenizer");
}

// The tokens and what is said about them, checked against each other.
struct Vocabulary {
  const std::vector<std::string>& tokens;
  std::vector<TokenKind> kinds;
  std::unordered_set<std::string_view> known;  ///< without the unused ones

  [[nodiscard]] const std::string& at(std::int64_t id) const { return tokens[static_cast<std::size_t>(id)]; }
};

Vocabulary read_vocabulary(const GgufFile& file) {
  const auto* tokens = file.texts("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->empty()) refuse(file, "tokenizer.ggml.tokens", "expected a list of tokens");
  Vocabulary vocabulary{*tokens, std::vector<TokenKind>(tokens->size(), TokenKind::Normal), {}};
  if (const auto* types = file.integers("tokenizer.ggml.token_type")) {
    if (types->size() != tokens->size())
      refuse(file, "tokenizer.ggml.token_type",
             "expected " + std::to_string(tokens->size()) + " entries, got " + std::to_string(types->size()));
    for (std::size_t i = 0; i < types->size(); ++i) {
      if ((*types)[i] < 1 || (*types)[i] > 6)
        refuse(file, "tokenizer.ggml.token_type", "expected 1 to 6, got " + std::to_string((*types)[i]));
      vocabulary.kinds[i] = TokenKind{(*types)[i]};
    }
  }
  for (std::size_t i = 0; i < tokens->size(); ++i)
    if (vocabulary.kinds[i] != TokenKind::Unused && !vocabulary.known.insert((*tokens)[i]).second)
      refuse(file, "token " + quote((*tokens)[i]), "expected it once");
  return vocabulary;
}

std::optional<std::int64_t> token_id(const GgufFile& file, const Vocabulary& vocabulary, const char* key) {
  const auto id = file.integer(key);
  if (id && (*id < 0 || *id >= static_cast<std::int64_t>(vocabulary.tokens.size())))
    refuse(file, key, "expected below " + std::to_string(vocabulary.tokens.size()) + ", got " + std::to_string(*id));
  return id;
}

bool is_added(TokenKind kind) {
  return kind == TokenKind::Control || kind == TokenKind::UserDefined || kind == TokenKind::Unknown;
}

Json added_token(const Vocabulary& vocabulary, std::size_t id) {
  return {{"content", vocabulary.tokens[id]},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", vocabulary.kinds[id] != TokenKind::UserDefined}};
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer(const Pipeline& pipeline) {
  Json steps = Json::array();
  if (pipeline.individual_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (pipeline.pattern != nullptr)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pipeline.pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(false, pipeline.pattern == nullptr));
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// Puts the start token in front when the file asks for it.
Json post_processor(const GgufFile& file, const Vocabulary& vocabulary) {
  const auto bos = token_id(file, vocabulary, "tokenizer.ggml.bos_token_id");
  if (!bos || !file.boolean("tokenizer.ggml.add_bos_token").value_or(false)) return nullptr;
  const std::string& token = vocabulary.at(*bos);
  const auto special = [&](int type) { return Json{{"SpecialToken", {{"id", token}, {"type_id", type}}}}; };
  const auto sequence = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  return {
      {"type", "TemplateProcessing"},
      {"single", Json::array({special(0), sequence("A", 0)})},
      {"pair", Json::array({special(0), sequence("A", 0), special(1), sequence("B", 1)})},
      {"special_tokens", {{token, {{"id", token}, {"ids", Json::array({*bos})}, {"tokens", Json::array({token})}}}}}};
}

Json read_merges(const GgufFile& file, const Vocabulary& vocabulary) {
  const auto* merges = file.texts("tokenizer.ggml.merges");
  if (merges == nullptr) refuse(file, "tokenizer.ggml.merges", "expected a list of merges");
  if (merges->size() > kMaxMerges) refuse(file, "tokenizer.ggml.merges", "expected at most 2000000");
  Json pairs = Json::array();
  for (const std::string& merge : *merges) {
    // Byte-level tokens hold no space; one that did would make the pair ambiguous.
    const auto space = merge.find(' ');
    if (space == 0 || space == std::string::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string::npos)
      refuse(file, "merge " + quote(merge), "expected two tokens with a space between them");
    const std::string left = merge.substr(0, space);
    const std::string right = merge.substr(space + 1);
    for (const std::string& token : {left, right, left + right})
      if (!vocabulary.known.contains(token))
        refuse(file, "merge " + quote(merge), "expected the token " + quote(token) + " in the vocabulary");
    pairs.push_back(Json::array({left, right}));
  }
  return pairs;
}

std::string dump(const GgufFile& file, const Json& root, int indent) {
  try {
    return root.dump(indent);
  } catch (const nlohmann::json::type_error&) {
    refuse(file, "tokenizer", "expected UTF-8 in tokens, merges and the chat template");
  }
}

std::string make_tokenizer_json(const GgufFile& file, const Pipeline& pipeline, const Vocabulary& vocabulary) {
  Json added = Json::array();
  // An object built key by key would look every key up in the ones before it.
  Json::object_t vocab;
  vocab.reserve(vocabulary.tokens.size());
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (vocabulary.kinds[i] == TokenKind::Unused) continue;
    vocab.Container::emplace_back(vocabulary.tokens[i], i);
    if (!is_added(vocabulary.kinds[i])) continue;
    Json token{{"id", i}};
    token.update(added_token(vocabulary, i));
    added.push_back(token);
  }
  const auto unknown = token_id(file, vocabulary, "tokenizer.ggml.unknown_token_id");
  Json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = std::move(added);
  root["normalizer"] = pipeline.nfc ? Json{{"type", "NFC"}} : Json(nullptr);
  root["pre_tokenizer"] = pre_tokenizer(pipeline);
  root["post_processor"] = post_processor(file, vocabulary);
  root["decoder"] = byte_level(true, true);
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", unknown ? Json(vocabulary.at(*unknown)) : Json(nullptr)},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", pipeline.ignore_merges}};
  root["model"]["vocab"] = std::move(vocab);
  root["model"]["merges"] = read_merges(file, vocabulary);
  return dump(file, root, 1) + "\n";
}

std::string make_tokenizer_config(const GgufFile& file, const Vocabulary& vocabulary) {
  Json root;
  root["add_prefix_space"] = false;
  root["added_tokens_decoder"] = Json::object();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i)
    if (is_added(vocabulary.kinds[i])) root["added_tokens_decoder"][std::to_string(i)] = added_token(vocabulary, i);
  const auto put_token = [&](const char* key, const char* gguf_key) {
    if (const auto id = token_id(file, vocabulary, gguf_key)) root[key] = vocabulary.at(*id);
  };
  put_token("bos_token", "tokenizer.ggml.bos_token_id");
  if (const std::string* chat = file.text("tokenizer.chat_template")) root["chat_template"] = *chat;
  root["clean_up_tokenization_spaces"] = false;
  put_token("eos_token", "tokenizer.ggml.eos_token_id");
  if (const auto length = file.integer("llama.context_length")) root["model_max_length"] = *length;
  put_token("pad_token", "tokenizer.ggml.padding_token_id");
  // Not the class of the family: some of those rebuild the pipeline from vocabulary and merges and then split digits
  // differently.
  root["tokenizer_class"] = "PreTrainedTokenizerFast";
  put_token("unk_token", "tokenizer.ggml.unknown_token_id");
  root["vocab_size"] = vocabulary.tokens.size();
  return dump(file, root, 2) + "\n";
}

}  // namespace

bool has_gguf_tokenizer(const GgufFile& file) { return file.metadata().contains("tokenizer.ggml.model"); }

TokenizerFiles gguf_tokenizer(const GgufFile& file) {
  const Pipeline& pipeline = find_pipeline(file);
  const Vocabulary vocabulary = read_vocabulary(file);
  TokenizerFiles files;
  files.tokenizer_json = make_tokenizer_json(file, pipeline, vocabulary);
  files.tokenizer_config_json = make_tokenizer_config(file, vocabulary);
  if (const std::string* chat = file.text("tokenizer.chat_template")) files.chat_template = *chat;
  return files;
}

}  // namespace sluice::format
