#include "format/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "builders.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

using nlohmann::json;

GgufBuilder bpe(const char* pre) {
  GgufBuilder builder;
  builder.add("tokenizer.ggml.model", "gpt2")
      .add("tokenizer.ggml.pre", pre)
      .add("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "b", "ab", "<tool>", "[PAD5]"})
      .add("tokenizer.ggml.token_type", std::vector<std::int32_t>{3, 1, 1, 1, 4, 5})
      .add("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
      .add("tokenizer.ggml.bos_token_id", 0u);
  return builder;
}

json tokenizer_of(const GgufBuilder& builder) { return json::parse(gguf_tokenizer(*builder.open()).tokenizer_json); }

TEST(GgufTokenizer, SmollmSplitsDigitsFirst) {
  const json root = json::parse(gguf_tokenizer(GgufFile(test_data("llama.gguf"))).tokenizer_json);
  EXPECT_EQ(root["version"], "1.0");
  EXPECT_EQ(root["normalizer"], nullptr);
  EXPECT_EQ(root["post_processor"], nullptr);
  EXPECT_EQ(root["pre_tokenizer"],
            json::parse(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
              {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})"));
  EXPECT_EQ(root["decoder"],
            json::parse(R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})"));
  EXPECT_EQ(root["added_tokens"].size(), 3u);
  EXPECT_EQ(
      root["added_tokens"][1],
      json::parse(
          R"({"id":1,"content":"<|im_start|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})"));
  EXPECT_EQ(root["model"]["type"], "BPE");
  EXPECT_EQ(root["model"]["unk_token"], "<|endoftext|>");
  EXPECT_EQ(root["model"]["vocab"].size(), 263u) << "unused rows of the embedding are no tokens";
  EXPECT_EQ(root["model"]["vocab"]["hello"], 262);
  EXPECT_EQ(root["model"]["merges"][2], json::parse(R"(["he","ll"])"));
}

TEST(GgufTokenizer, ConfigNamesTheSpecialTokens) {
  const TokenizerFiles files = gguf_tokenizer(GgufFile(test_data("llama.gguf")));
  const json root = json::parse(files.tokenizer_config_json);
  EXPECT_EQ(root["bos_token"], "<|im_start|>");
  EXPECT_EQ(root["eos_token"], "<|im_end|>");
  EXPECT_EQ(root["pad_token"], "<|im_end|>");
  EXPECT_EQ(root["model_max_length"], 128);
  EXPECT_EQ(root["chat_template"], files.chat_template);
  EXPECT_NE(files.chat_template.find("for m in messages"), std::string::npos);
}

TEST(GgufTokenizer, Gpt2AndDefaultUseTheByteLevelPattern) {
  for (const char* pre : {"gpt-2", "default"})
    EXPECT_EQ(tokenizer_of(bpe(pre))["pre_tokenizer"]["type"], "ByteLevel") << pre;
}

TEST(GgufTokenizer, LlamaAndQwenSplitByTheirPatterns) {
  const json llama = tokenizer_of(bpe("llama-bpe"));
  const json& split = llama["pre_tokenizer"]["pretokenizers"][0];
  EXPECT_EQ(split["type"], "Split");
  EXPECT_EQ(split["behavior"], "Isolated");
  EXPECT_NE(split["pattern"]["Regex"].get<std::string>().find(R"(\p{N}{1,3}|)"), std::string::npos);
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  EXPECT_EQ(llama["normalizer"], nullptr);
  const json qwen = tokenizer_of(bpe("qwen2"));
  EXPECT_EQ(qwen["normalizer"]["type"], "NFC");
  EXPECT_EQ(qwen["model"]["ignore_merges"], false);
  EXPECT_NE(qwen["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get<std::string>().find(R"(|\p{N}| ?)"),
            std::string::npos);
}

TEST(GgufTokenizer, UserDefinedTokensAreAddedButNotSpecial) {
  const json root = tokenizer_of(bpe("gpt-2"));
  ASSERT_EQ(root["added_tokens"].size(), 2u);
  EXPECT_EQ(root["added_tokens"][1]["content"], "<tool>");
  EXPECT_EQ(root["added_tokens"][1]["special"], false);
}

TEST(GgufTokenizer, PutsTheStartTokenInFrontWhenAsked) {
  GgufBuilder builder = bpe("llama-bpe");
  EXPECT_EQ(tokenizer_of(builder)["post_processor"], nullptr);
  const json post = tokenizer_of(builder.add("tokenizer.ggml.add_bos_token", true))["post_processor"];
  EXPECT_EQ(post["type"], "TemplateProcessing");
  EXPECT_EQ(post["single"],
            json::parse(R"([{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}])"));
  EXPECT_EQ(post["special_tokens"]["<s>"]["ids"], json::array({0}));
}

TEST(GgufTokenizer, RefusesUnknownKindsByName) {
  EXPECT_NE(message_of([] { tokenizer_of(bpe("deepseek-coder")); }).find("'deepseek-coder'"), std::string::npos);
  EXPECT_NE(message_of([] { tokenizer_of(GgufBuilder().add("tokenizer.ggml.model", "llama")); }).find("'llama'"),
            std::string::npos);
}

TEST(GgufTokenizer, RefusesTablesThatContradictEachOther) {
  const auto base = [] { return GgufBuilder().add("tokenizer.ggml.model", "gpt2").add("tokenizer.ggml.pre", "gpt-2"); };
  const std::vector<std::string> tokens{"a", "b", "ab"};
  EXPECT_NE(message_of([&] { tokenizer_of(base()); }), "");
  EXPECT_NE(message_of([&] { tokenizer_of(base().add("tokenizer.ggml.tokens", tokens)); }).find("merges"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              tokenizer_of(base().add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "a"}));
            }).find("once"),
            std::string::npos);
  EXPECT_NE(
      message_of([&] {
        tokenizer_of(
            base().add("tokenizer.ggml.tokens", tokens).add("tokenizer.ggml.token_type", std::vector<std::int32_t>{1}));
      }).find("token_type"),
      std::string::npos);
  EXPECT_NE(message_of([&] {
              tokenizer_of(base()
                               .add("tokenizer.ggml.tokens", tokens)
                               .add("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 7}));
            }).find("1 to 6"),
            std::string::npos);
  for (const char* merge : {"", "ab", " a", "a ", "a b c", "a a", "b c"})
    EXPECT_NE(message_of([&] {
                tokenizer_of(base()
                                 .add("tokenizer.ggml.tokens", tokens)
                                 .add("tokenizer.ggml.merges", std::vector<std::string>{merge}));
              }).find("merge"),
              std::string::npos)
        << merge;
  EXPECT_NE(message_of([&] {
              tokenizer_of(base()
                               .add("tokenizer.ggml.tokens", std::vector<std::string>{"\xff", "a", "b", "ab"})
                               .add("tokenizer.ggml.merges", std::vector<std::string>{"a b"}));
            }).find("UTF-8"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              tokenizer_of(base()
                               .add("tokenizer.ggml.tokens", tokens)
                               .add("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
                               .add("tokenizer.ggml.unknown_token_id", 3u));
            }).find("below 3"),
            std::string::npos);
}

// SmolLM2 as it is published: SLUICE_MODEL_GGUF=FILE.gguf, SLUICE_MODEL_TOKENIZER=its tokenizer.json.
TEST(GgufTokenizer, EqualsThePublishedTokenizerOfTheRealModel) {
  const char* model = std::getenv("SLUICE_MODEL_GGUF");
  const char* published = std::getenv("SLUICE_MODEL_TOKENIZER");
  if (model == nullptr || published == nullptr)
    GTEST_SKIP() << "set SLUICE_MODEL_GGUF to a GGUF file and SLUICE_MODEL_TOKENIZER to its tokenizer.json";
  const json made = json::parse(gguf_tokenizer(GgufFile(std::filesystem::path(model))).tokenizer_json);
  const json expected = json::parse(read_text(published));
  for (const char* key :
       {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"})
    EXPECT_EQ(made[key], expected[key]) << key;
  EXPECT_TRUE(made["model"]["vocab"] == expected["model"]["vocab"]);
  EXPECT_TRUE(made["model"]["merges"] == expected["model"]["merges"]);
  EXPECT_TRUE(made == expected);
}

}  // namespace
}  // namespace sluice::format
