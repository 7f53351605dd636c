#include "data/jsonl.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "data_test_files.h"

namespace sluice::data {
namespace {

TEST(JsonLines, DecodeIsTheInverseOfEncode) {
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  const std::string lines = "{\"text\":\"Hello\\n\xc3\xa9 <|end|> \\u0000\"}\n{\"text\":\"\"}\n";
  std::stringstream in(lines), ids, out;
  EXPECT_EQ(encode_lines(*tokenizer, in, ids), 2);
  EXPECT_EQ(decode_lines(*tokenizer, ids, out), 2);
  EXPECT_EQ(out.str(), lines);
}

TEST(JsonLines, PlainKeepsSpecialTokensAsText) {
  const auto tokenizer = load_tokenizer(test_file("llama3.json"));
  std::stringstream in("{\"text\":\"<|end|>\"}"), special, plain;
  encode_lines(*tokenizer, in, special);
  EXPECT_EQ(special.str(), "{\"ids\":[1,0]}\n");
  in = std::stringstream("{\"text\":\"<|end|>\"}");
  encode_lines(*tokenizer, in, plain, {.add_special = false, .plain = true});
  EXPECT_NE(plain.str(), "{\"ids\":[0]}\n");
  std::stringstream back;
  decode_lines(*tokenizer, plain, back);
  EXPECT_EQ(back.str(), "{\"text\":\"<|end|>\"}\n");
}

TEST(JsonLines, MalformedLinesAreNamed) {
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  for (const std::string bad : {"{\"text\": 3}", "{}", "[1]", "{\"text\": \"\xff\"}", "nonsense"}) {
    std::stringstream in("{\"text\":\"a\"}\n\n" + bad + "\n"), out;
    try {
      encode_lines(*tokenizer, in, out);
      FAIL() << bad;
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("line 3"), std::string::npos) << error.what();
    }
  }
  for (const std::string bad : {"{\"ids\": [-1]}", "{\"ids\": [100000]}", "{\"ids\": [1.5e300]}", "{\"ids\": 3}"}) {
    std::stringstream in(bad), out;
    EXPECT_THROW(decode_lines(*tokenizer, in, out), FormatError) << bad;
  }
}

TEST(WriteTokenized, GivesTheSameRowsBack) {
  const TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  const auto text = open_dataset(
      {.path = test_file("sample.txt"), .seq_len = 100, .tokenizer = tokenizer.get(), .cache_dir = folder / "cache"});
  std::stringstream log;
  write_tokenized(*text, folder / "rows.safetensors", log);
  const auto rows = open_dataset({.path = folder / "rows.safetensors", .seq_len = 100});
  ASSERT_EQ(rows->num_rows(), text->num_rows());
  EXPECT_EQ(rows->max_id(), text->max_id());
  std::vector<std::int64_t> a(100), b(100), c(100), d(100);
  for (std::int64_t row = 0; row < rows->num_rows(); ++row) {
    text->read_row(row, a, b);
    rows->read_row(row, c, d);
    EXPECT_EQ(a, c);
    EXPECT_EQ(b, d);
  }
}

TEST(InspectRows, MarksWhatIsNoTarget) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "Hi");
  const auto tokenizer = load_tokenizer(test_file("gpt2.json"));
  const auto dataset = open_dataset(
      {.path = folder / "a.txt", .seq_len = 8, .tokenizer = tokenizer.get(), .cache_dir = folder / "cache"});
  std::stringstream out;
  inspect_rows(*dataset, tokenizer.get(), out);
  EXPECT_NE(out.str().find("Hi[["), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("row 0: 1 targets of 8"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("]] (5 more of the last)"), std::string::npos) << out.str();
  std::stringstream ids;
  inspect_rows(*dataset, nullptr, ids, {.first_row = 0, .num_rows = 1, .colours = true});
  EXPECT_NE(ids.str().find("\x1b[2m"), std::string::npos);
}

}  // namespace
}  // namespace sluice::data
