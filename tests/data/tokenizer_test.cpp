// Parity with huggingface/tokenizers on golden files (tests/data/data/make_tokenizers.py) and what malformed files do.
#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "data/built_tokenizer.h"
#include "data/catalog.h"
#include "data/unicode.h"
#include "data_test_files.h"

namespace sluice::data {
namespace {

using nlohmann::json;

class GoldenFile : public testing::TestWithParam<std::string> {};

TEST_P(GoldenFile, GivesTheSameIdsAndTexts) {
  const auto tokenizer = load_tokenizer(test_file(GetParam() + ".json"));
  std::ifstream in(test_file(GetParam() + ".golden.jsonl"));
  int num_texts = 0;
  for (std::string line; std::getline(in, line); ++num_texts) {
    const json row = json::parse(line);
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<std::vector<std::int32_t>>();
    const auto bare = row.value("bare", ids);
    const auto decoded = row.value("decoded", text);
    ASSERT_EQ(tokenizer->encode(text), ids) << text;
    ASSERT_EQ(tokenizer->encode(text, {.add_special = false}), bare) << text;
    ASSERT_EQ(tokenizer->encode(text, {.add_special = false, .plain = true}), row.value("plain", bare)) << text;
    ASSERT_EQ(tokenizer->decode(ids), decoded) << text;
    ASSERT_EQ(tokenizer->decode(ids, true), row.value("skipped", decoded)) << text;
    for (const auto id : ids) ASSERT_LT(id, tokenizer->vocab_size());
  }
  EXPECT_GT(num_texts, 100);
}

INSTANTIATE_TEST_SUITE_P(Pipelines, GoldenFile,
                         testing::Values("gpt2", "smollm", "llama3", "qwen2", "added", "splits", "fallback", "char",
                                         "byte"),
                         [](const auto& parameter) { return parameter.param; });

TEST(BuiltTokenizer, WritesTheFilesThatTheirOracleWrites) {
  for (const char* name : {"char", "byte"}) {
    const std::vector<std::filesystem::path> texts = {test_file("sample.txt")};
    const BuiltTokenizer built = build_tokenizer(name, texts);
    const json expected = json::parse(read_text(test_file(std::string(name) + ".json")));
    const json written = json::parse(built.files.tokenizer_json);
    for (const char* key : {"pre_tokenizer", "decoder", "normalizer", "post_processor", "added_tokens"})
      EXPECT_EQ(written.at(key), expected.at(key)) << name << " " << key;
    for (const char* key : {"type", "vocab"}) EXPECT_EQ(written["model"][key], expected["model"][key]) << name;
    const TemporaryFolder folder;
    write_text(folder / "tokenizer.json", built.files.tokenizer_json);
    write_text(folder / "tokenizer_config.json", built.files.tokenizer_config_json);
    const std::string text = read_text(test_file("sample.txt"));
    EXPECT_EQ(load_tokenizer(folder.path())->encode(text), built.tokenizer->encode(text)) << name;
  }
}

TEST(BuiltTokenizer, CountsCharactersOverAllTexts) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "b\xc3\xa9");
  write_text(folder / "b.jsonl", "{\"text\": \"a\\n\"}\n");
  const std::vector<std::filesystem::path> texts = {folder / "a.txt", folder / "b.jsonl"};
  const auto built = build_tokenizer("char", texts).tokenizer;
  EXPECT_EQ(built->vocab_size(), 4);
  EXPECT_EQ(built->encode("\nab\xc3\xa9"), (std::vector<std::int32_t>{0, 1, 2, 3}));
  EXPECT_FALSE(built->eos_id());
}

TEST(BuiltTokenizer, NamesTheCharacterThatTheTrainingTextDidNotHold) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "abc");
  const std::vector<std::filesystem::path> texts = {folder / "a.txt"};
  const auto built = build_tokenizer("char", texts).tokenizer;
  try {
    built->encode("ab\xe2\x82\xac");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("U+20AC"), std::string::npos) << error.what();
  }
  EXPECT_THROW(load_tokenizer("char"), ConfigError);
}

TEST(Tokenizer, GivesTheSameIdsFromSeveralThreads) {
  const auto tokenizer = load_tokenizer(test_file("llama3.json"));
  const std::string text = read_text(test_file("sample.txt"));
  const auto expected = tokenizer->encode(text);
  std::vector<std::vector<std::int32_t>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = tokenizer->encode(text); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, TakesLinearTimeForOneLongWord) {
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  for (const std::string& text : {std::string(1 << 20, 'a'), std::string(1 << 20, ' '), std::string(1 << 20, '\n')})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(Tokenizer, NamesThePlaceThatIsNotUtf8) {
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  try {
    tokenizer->encode("one\ntwo \xff three");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("offset 8 (line 2)"), std::string::npos) << error.what();
  }
  EXPECT_THROW(tokenizer->encode("\xed\xa0\x80"), FormatError);  // a surrogate
  EXPECT_THROW(tokenizer->encode("\xc0\xaf"), FormatError);      // overlong
  EXPECT_THROW(tokenizer->encode("\xe2\x82"), FormatError);      // cut short
}

TEST(Tokenizer, TakesTheEndTokenFromItsCompanionFile) {
  const TemporaryFolder folder;
  std::filesystem::copy(test_file("llama3.json"), folder / "tokenizer.json");
  EXPECT_FALSE(load_tokenizer(folder.path())->eos_id());
  write_text(folder / "tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}})");
  EXPECT_EQ(load_tokenizer(folder.path())->eos_id(), 0);
  EXPECT_EQ(load_tokenizer(folder / "tokenizer.json")->id_of("<|start|>"), 1);
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "<|nowhere|>"})");
  EXPECT_THROW(load_tokenizer(folder.path()), FormatError);
  write_text(folder / "tokenizer_config.json", "[1]");
  EXPECT_THROW(load_tokenizer(folder.path()), FormatError);
}

TEST(Tokenizer, HasAFingerprintOfItsOwn) {
  EXPECT_NE(load_tokenizer(test_file("gpt2.json"))->fingerprint(),
            load_tokenizer(test_file("qwen2.json"))->fingerprint());
  EXPECT_EQ(load_tokenizer(test_file("gpt2.json"))->fingerprint(),
            load_tokenizer(test_file("gpt2.json"))->fingerprint());
}

TEST(Tokenizer, MissingFilesAreIoErrors) { EXPECT_THROW(load_tokenizer("/nonexistent"), IoError); }

TEST(ByteTokenizer, IsTheBytes) {
  const auto tokenizer = load_tokenizer("byte");
  EXPECT_EQ(tokenizer->vocab_size(), 256);
  EXPECT_EQ(tokenizer->encode("A\n"), (std::vector<std::int32_t>{65, 10}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("h\xc3\xa9 \xe2\x82\xac")), "h\xc3\xa9 \xe2\x82\xac");
}

json minimal() {
  return json::parse(R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,
    "decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})");
}

std::unique_ptr<Tokenizer> load_json(const json& config) {
  const TemporaryFolder folder;
  write_text(folder / "tokenizer.json", config.dump());
  return load_tokenizer(folder.path());
}

TEST(TokenizerJson, MinimalFileWorks) {
  EXPECT_EQ(load_json(minimal())->encode("abb"), (std::vector<std::int32_t>{2, 1}));
}

void expect_refused(const json& config, const std::string& name) {
  try {
    load_json(config);
    FAIL() << name;
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
  }
}

TEST(TokenizerJson, RefusesUnknownComponentsByName) {
  for (const std::string key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    json config = minimal();
    config[key] = {{"type", "Mystery"}};
    expect_refused(config, "Mystery");
  }
  json config = minimal();
  config["model"]["type"] = "Unigram";
  expect_refused(config, "Unigram");
}

TEST(TokenizerJson, RefusesContradictions) {
  const auto changed = [](const std::string& pointer, const json& value) {
    json config = minimal();
    config[json::json_pointer(pointer)] = value;
    return config;
  };
  expect_refused(changed("/model/merges", {"a c"}), "outside the vocabulary");
  expect_refused(changed("/model/merges", {"a b c"}), "not a pair");
  expect_refused(changed("/model/merges", 3), "not a list");
  expect_refused(changed("/model/vocab/ab", 1), "two tokens");
  expect_refused(changed("/model/vocab/ab", -1), "out of range");
  expect_refused(changed("/model/vocab/ab", 1LL << 40), "out of range");
  expect_refused(changed("/model/vocab/ab", 1e64), "expected an integer");
  expect_refused(changed("/model/vocab", json::object()), "outside the vocabulary");
  expect_refused(changed("/model/dropout", 0.1), "dropout");
  expect_refused(changed("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix");
  expect_refused(changed("/version", "9"), "version");
  expect_refused(changed("/added_tokens", {{{"id", 7}, {"content", "ab"}}}), "contradicts");
  expect_refused(changed("/added_tokens", {{{"id", -7}, {"content", "x"}}}), "out of bounds");
  expect_refused(
      changed("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}),
      "pattern");
}

TEST(TokenizerJson, RefusesDeepNesting) {
  const TemporaryFolder folder;
  write_text(folder / "tokenizer.json",
             R"({"model":{"type":"BPE"},"x":)" + std::string(100000, '[') + std::string(100000, ']') + "}");
  EXPECT_THROW(load_tokenizer(folder.path()), FormatError);
  write_text(folder / "tokenizer.json", "{\"model\": nonsense");
  EXPECT_THROW(load_tokenizer(folder.path()), FormatError);
}

TEST(Utf8, RepairsLikeTheUnicodeStandardRecommends) {
  EXPECT_EQ(repair_utf8("a\xf0\x9f\x98z"), "a\xef\xbf\xbdz");
  EXPECT_EQ(repair_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(repair_utf8("\xe2\x82"), "\xef\xbf\xbd");
  EXPECT_EQ(repair_utf8("ok \xf0\x9f\x98\x80"), "ok \xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace sluice::data
