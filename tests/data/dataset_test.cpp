#include "data/dataset.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fail_point.h"
#include "base/file.h"
#include "data/text_pieces.h"
#include "data_test_files.h"
#include "format/safetensors_writer.h"

namespace sluice::data {
namespace {

struct Row {
  std::vector<std::int64_t> ids, labels;
};

Row row_of(const Dataset& dataset, std::int64_t index) {
  Row row;
  row.ids.resize(static_cast<std::size_t>(dataset.seq_len()));
  row.labels.resize(row.ids.size());
  dataset.read_row(index, row.ids, row.labels);
  return row;
}

// All tokens of a packed data set, without padding.
std::vector<std::int32_t> tokens_of(const Dataset& dataset) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t r = 0; r < dataset.num_rows(); ++r) {
    const Row row = row_of(dataset, r);
    for (std::size_t i = 0; i < row.ids.size(); ++i) {
      if (row.labels[i] == kIgnoreLabel) {
        EXPECT_EQ(r, dataset.num_rows() - 1);
        continue;
      }
      EXPECT_EQ(row.labels[i], row.ids[i]);
      tokens.push_back(static_cast<std::int32_t>(row.ids[i]));
    }
  }
  return tokens;
}

template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class TextData : public testing::Test {
 protected:
  TextData() {
    std::filesystem::copy(test_file("gpt2.json"), folder_ / "tokenizer.json");
    write_text(folder_ / "tokenizer_config.json", R"({"eos_token": "<|end|>"})");
    tokenizer_ = load_tokenizer(folder_.path());
  }

  std::filesystem::path write(const std::string& name, std::string_view text) {
    write_text(folder_ / name, text);
    return folder_ / name;
  }
  DatasetOptions options(const std::filesystem::path& path, std::int64_t seq_len = 16) const {
    return {.path = path,
            .format = "auto",
            .seq_len = seq_len,
            .tokenizer = tokenizer_.get(),
            .cache_dir = folder_ / "cache"};
  }
  std::filesystem::path cache_file() const { return std::filesystem::directory_iterator(folder_ / "cache")->path(); }
  std::vector<std::int32_t> document(std::string_view text) const {
    auto ids = tokenizer_->encode(text);
    ids.push_back(*tokenizer_->eos_id());
    return ids;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TextData, RowsHoldEveryTokenOnceInOrder) {
  const std::string text = read_text(test_file("sample.txt"));
  const auto expected = document(text);
  const auto path = write("a.txt", text);
  for (const std::int64_t seq_len : {2, 7, 64, 1000, 100000}) {
    const auto dataset = open_dataset(options(path, seq_len));
    auto tokens = tokens_of(*dataset);
    if (static_cast<std::int64_t>(expected.size()) % seq_len == 1) tokens.push_back(expected.back());
    EXPECT_EQ(tokens, expected) << seq_len;
    EXPECT_LT(dataset->max_id(), tokenizer_->vocab_size());
  }
}

TEST_F(TextData, PadsTheLastRowWithTheEndToken) {
  const auto dataset = open_dataset(options(write("a.txt", "Hello"), 64));
  ASSERT_EQ(dataset->num_rows(), 1);
  const Row row = row_of(*dataset, 0);
  const auto expected = document("Hello");
  for (std::size_t i = expected.size(); i < 64; ++i) {
    EXPECT_EQ(row.ids[i], *tokenizer_->eos_id());
    EXPECT_EQ(row.labels[i], kIgnoreLabel);
  }
}

TEST_F(TextData, LeavesOutALastRowOfOneToken) {
  const auto size = static_cast<std::int64_t>(document("one two three").size());
  EXPECT_EQ(open_dataset(options(write("a.txt", "one two three"), size - 1))->num_rows(), 1);
}

TEST_F(TextData, AFolderIsOneDocumentPerFileInOrderOfNames) {
  std::filesystem::create_directory(folder_ / "texts");
  write("texts/b.txt", "second");
  write("texts/a.txt", "first");
  write("texts/c.md", "not this");
  auto expected = document("first");
  for (const auto id : document("second")) expected.push_back(id);
  EXPECT_EQ(tokens_of(*open_dataset(options(folder_ / "texts"))), expected);
}

TEST_F(TextData, JsonLinesAreOneDocumentPerLine) {
  const auto path = write("a.jsonl", "{\"text\": \"first\"}\n\n{\"x\": 1, \"text\": \"caf\\u00e9\"}");
  auto expected = document("first");
  for (const auto id : document("caf\xc3\xa9")) expected.push_back(id);
  EXPECT_EQ(tokens_of(*open_dataset(options(path))), expected);
}

TEST_F(TextData, PostProcessorTokensSurroundEachDocument) {
  const auto llama = load_tokenizer(test_file("llama3.json"));
  auto opts = options(write("a.txt", "Hello"));
  opts.tokenizer = llama.get();
  EXPECT_EQ(tokens_of(*open_dataset(opts)), llama->encode("Hello"));
}

TEST_F(TextData, CacheIsUsedAgain) {
  const auto path = write("a.txt", "some words here");
  const auto first = open_dataset(options(path))->fingerprint();
  const auto written = std::filesystem::last_write_time(cache_file());
  EXPECT_EQ(open_dataset(options(path))->fingerprint(), first);
  EXPECT_EQ(open_dataset(options(path, 3))->num_rows() > 0, true);
  EXPECT_EQ(std::filesystem::last_write_time(cache_file()), written);
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(open_dataset(options(path))->fingerprint(), first);  // a new time, the same bytes
  EXPECT_EQ(std::filesystem::last_write_time(cache_file()), written);
}

TEST_F(TextData, CacheIsMadeAgainForNewContentOfTheSameSize) {
  const auto path = write("a.txt", "aaaa bbbb");
  open_dataset(options(path));
  write("a.txt", "cccc dddd");
  EXPECT_EQ(tokens_of(*open_dataset(options(path))), document("cccc dddd"));
}

TEST_F(TextData, CacheOfAnotherTokenizerIsNotUsed) {
  const auto path = write("a.txt", "Numbers 123456");
  open_dataset(options(path));
  const auto other = load_tokenizer(test_file("smollm.json"));
  auto opts = options(path);
  opts.tokenizer = other.get();
  EXPECT_EQ(tokens_of(*open_dataset(opts)), other->encode("Numbers 123456"));
}

TEST_F(TextData, DamagedCacheIsMadeAgain) {
  const auto path = write("a.txt", "some words here");
  std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  open_dataset(options(path));
  const std::string whole = read_text(cache_file());
  const auto file = cache_file();
  for (std::size_t size = 0; size < whole.size(); size += 3) {
    write_text(file, whole.substr(0, size));
    ASSERT_EQ(tokens_of(*open_dataset(options(path))), document("some words here")) << size;
    ASSERT_EQ(read_text(file), whole);
  }
  for (std::size_t at = whole.size() - 80; at < whole.size(); at += 3) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    write_text(file, flipped);
    ASSERT_EQ(tokens_of(*open_dataset(options(path))), document("some words here")) << at;
  }
}

TEST_F(TextData, IdsOutOfRangeInTheCacheAreRefused) {
  const auto path = write("a.txt", "some words here");
  open_dataset(options(path));
  std::string damaged = read_text(cache_file());
  damaged[3] = 0x7F;
  write_text(cache_file(), damaged);
  const auto dataset = open_dataset(options(path));
  EXPECT_THROW(row_of(*dataset, 0), FormatError);
}

TEST_F(TextData, AFullDiskLeavesNoCacheBehind) {
  const auto path = write("a.txt", "some words here");
  set_fail_points("file.write@2=ENOSPC");
  EXPECT_THROW(open_dataset(options(path)), IoError);
  set_fail_points("");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "cache"));
  EXPECT_EQ(tokens_of(*open_dataset(options(path))), document("some words here"));
}

TEST_F(TextData, SaysWhatIsWrong) {
  EXPECT_NE(error_of([&] { open_dataset(options(folder_ / "none.txt")); }).find("no such data"), std::string::npos);
  EXPECT_NE(error_of([&] { open_dataset(options(write("e.txt", ""))); }).find("empty"), std::string::npos);
  const auto broken = error_of([&] { open_dataset(options(write("b.txt", "one\ntwo\nthr\xff"))); });
  EXPECT_NE(broken.find("line 3 at offset 11"), std::string::npos) << broken;
  const auto json = error_of([&] { open_dataset(options(write("c.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n"))); });
  EXPECT_NE(json.find("line 2"), std::string::npos) << json;
  const auto chat = error_of([&] { open_dataset(options(write("d.jsonl", "{\"messages\": []}\n"))); });
  EXPECT_NE(chat.find("record 1"), std::string::npos) << chat;
  auto opts = options(write("f.txt", "words"));
  opts.format = "texd";
  EXPECT_NE(error_of([&] { open_dataset(opts); }).find("did you mean 'text'"), std::string::npos);
  opts.format = "auto";
  opts.tokenizer = nullptr;
  EXPECT_THROW(open_dataset(opts), ConfigError);
  EXPECT_THROW(open_dataset(options(folder_ / "f.txt", 1)), ConfigError);
  EXPECT_THROW(open_dataset(options(write("g.bin", std::string("\x00\x01\x02\xff", 4)))), FormatError);
}

class Pieces : public testing::TestWithParam<std::string> {};

TEST_P(Pieces, GiveTheIdsOfTheWholeText) {
  const auto tokenizer = load_tokenizer(test_file(GetParam() + ".json"));
  const std::string text = read_text(test_file("sample.txt"));
  for (const std::size_t size : {400, 999, 5000}) {
    std::vector<std::int32_t> ids;
    std::string joined;
    for_each_piece(test_file("sample.txt"), size, [&](std::string_view piece) {
      EXPECT_LE(piece.size(), size + 4);
      joined += piece;
      for (const auto id : tokenizer->encode(piece, {.add_special = false})) ids.push_back(id);
    });
    EXPECT_EQ(joined, text);
    EXPECT_EQ(ids, tokenizer->encode(text, {.add_special = false})) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Pipelines, Pieces, testing::Values("gpt2", "smollm", "llama3", "qwen2", "added"),
                         [](const auto& parameter) { return parameter.param; });

TEST(FindCut, NeverSplitsACharacter) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\xe4\xb8\xad";
  EXPECT_EQ(find_cut(text) % 3, 0U);
  EXPECT_EQ(find_cut("\xe4\xb8\xad\xe3\x80\x82\n\xe4\xb8\x8b\xe4"), 7U);
  EXPECT_EQ(find_cut("some words here"), 10U);
}

// Pre-tokenised files.
std::filesystem::path write_rows(const TemporaryFolder& folder,
                                 const std::map<std::string, std::vector<std::int64_t>>& tensors,
                                 std::int64_t seq_len) {
  std::vector<format::TensorInfo> infos;
  for (const auto& [name, values] : tensors)
    infos.push_back({name, "I64", {static_cast<std::int64_t>(values.size()) / seq_len, seq_len}});
  format::SafetensorsWriter writer(folder / "rows.safetensors", infos);
  for (const auto& [name, values] : tensors) writer.append(name, std::as_bytes(std::span(values)));
  writer.publish();
  return folder / "rows.safetensors";
}

TEST(TokenizedData, ReadsRowsLabelsAndMask) {
  const TemporaryFolder folder;
  const auto path = write_rows(
      folder,
      {{"input_ids", {1, 2, 3, 4, 5, 6}}, {"labels", {-100, 2, 3, 4, 5, 6}}, {"attention_mask", {1, 1, 1, 1, 1, 0}}},
      3);
  const auto dataset = open_dataset({.path = path, .seq_len = 3});
  EXPECT_EQ(dataset->num_rows(), 2);
  EXPECT_EQ(dataset->seq_len(), 3);
  EXPECT_EQ(dataset->max_id(), 6);
  EXPECT_EQ(row_of(*dataset, 0).labels, (std::vector<std::int64_t>{-100, 2, 3}));
  EXPECT_EQ(row_of(*dataset, 1).ids, (std::vector<std::int64_t>{4, 5, 6}));
  EXPECT_EQ(row_of(*dataset, 1).labels, (std::vector<std::int64_t>{4, 5, -100}));
}

TEST(TokenizedData, LabelsDefaultToTheIds) {
  const TemporaryFolder folder;
  const auto dataset = open_dataset({.path = write_rows(folder, {{"input_ids", {1, 2, 3, 4}}}, 2), .seq_len = 512});
  EXPECT_EQ(dataset->seq_len(), 2);
  EXPECT_EQ(row_of(*dataset, 1).labels, (std::vector<std::int64_t>{3, 4}));
}

TEST(TokenizedData, ReadsNarrowIntegers) {
  const TemporaryFolder folder;
  const std::vector<std::int32_t> ids = {1, 2, 3, 4};
  format::SafetensorsWriter writer(folder / "a.safetensors", {{"input_ids", "I32", {2, 2}}});
  writer.append("input_ids", std::as_bytes(std::span(ids)));
  writer.publish();
  EXPECT_EQ(row_of(*open_dataset({.path = folder / "a.safetensors"}), 1).ids, (std::vector<std::int64_t>{3, 4}));
}

TEST(TokenizedData, FingerprintFollowsTheContent) {
  const TemporaryFolder one, two, three;
  const auto a = open_dataset({.path = write_rows(one, {{"input_ids", {1, 2, 3, 4}}}, 2)});
  const auto b = open_dataset({.path = write_rows(two, {{"input_ids", {1, 2, 3, 4}}}, 2)});
  const auto c = open_dataset({.path = write_rows(three, {{"input_ids", {1, 2, 3, 5}}}, 2)});
  EXPECT_EQ(a->fingerprint(), b->fingerprint());
  EXPECT_NE(a->fingerprint(), c->fingerprint());
}

TEST(TokenizedData, RefusesWhatWouldTrainWrongly) {
  const auto refusal = [](const std::map<std::string, std::vector<std::int64_t>>& tensors, std::int64_t seq_len) {
    const TemporaryFolder folder;
    const auto path = write_rows(folder, tensors, seq_len);
    return error_of([&] { open_dataset({.path = path}); });
  };
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3}}, {"attention_mask", {0, 1, 1}}}, 3).find("padded on the right"),
            std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3}}, {"attention_mask", {1, 0, 1}}}, 3).find("padded on the right"),
            std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3}}, {"attention_mask", {1, 2, 1}}}, 3).find("attention_mask"),
            std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, -2, 3}}}, 3).find("out of range"), std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3}}, {"labels", {1, -7, 3}}}, 3).find("labels"), std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3}}, {"labels", {5, -100, -100}}}, 3).find("nothing to learn"),
            std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2, 3, 4}}, {"labels", {1, 2}}}, 2).find("does not fit"), std::string::npos);
  EXPECT_NE(refusal({{"weights", {1, 2, 3}}}, 3).find("input_ids"), std::string::npos);
  EXPECT_NE(refusal({{"input_ids", {1, 2}}}, 1).find("empty"), std::string::npos);
}

}  // namespace
}  // namespace sluice::data
