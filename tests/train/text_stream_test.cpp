#include "train/text_stream.h"

#include <gtest/gtest.h>

namespace sluice::train {
namespace {

std::vector<std::int32_t> bytes_of(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::vector<std::string> pieces(std::string_view prompt, std::string_view text) {
  const auto tokenizer = data::load_tokenizer("byte");
  TextStream stream(*tokenizer, bytes_of(prompt));
  std::vector<std::string> result;
  for (const std::int32_t id : bytes_of(text)) result.push_back(stream.add(id));
  result.push_back(stream.finish());
  return result;
}

using Pieces = std::vector<std::string>;

TEST(TextStream, GivesEachTokensText) { EXPECT_EQ(pieces("x", "abc"), (Pieces{"a", "b", "c", ""})); }

TEST(TextStream, HoldsACharacterBackUntilItIsWhole) {
  EXPECT_EQ(pieces("", "a\xC3\xA9z"), (Pieces{"a", "", "\xC3\xA9", "z", ""}));
  EXPECT_EQ(pieces("", "\xF0\x9F\x98\x80!"), (Pieces{"", "", "", "\xF0\x9F\x98\x80", "!", ""}));
}

TEST(TextStream, GivesAnIncompleteEndAsTheTokenizerDecodesIt) {
  const Pieces got = pieces("x", "a\xE2\x82");
  EXPECT_EQ(got[0], "a");
  EXPECT_EQ(got[1] + got[2], "");
  EXPECT_TRUE(got[3].starts_with("\xEF\xBF\xBD"));
}

TEST(TextStream, GoesOnAfterBytesThatAreNoText) {
  std::string all;
  for (const std::string& piece : pieces("x",
                                         "\xFF\xFF\xFF\xFF\xFF"
                                         "abc"))
    all += piece;
  EXPECT_TRUE(all.ends_with("abc"));
  EXPECT_TRUE(all.starts_with("\xEF\xBF\xBD"));
}

}  // namespace
}  // namespace sluice::train
