#include "data/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::data {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<std::string> result;
  Regex(pattern).for_each_match(
      text, [&](Match match) { result.push_back(text.substr(match.begin, match.end - match.begin)); });
  return result;
}

TEST(Regex, SpaceIsTheUnicodeProperty) {
  EXPECT_EQ(matches(R"(\s+)",
                    "a\xc2\xa0 b\xe1\xa0\x8e"
                    "c\xe3\x80\x80"),
            (std::vector<std::string>{"\xc2\xa0 ", "\xe3\x80\x80"}));
  EXPECT_EQ(matches(R"([^\s\p{L}]+)", "a1 \xe1\xa0\x8e"), (std::vector<std::string>{"1", "\xe1\xa0\x8e"}));
  EXPECT_EQ(matches(R"(\S+)", "a b"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(matches(R"([\S]+)",
                    "a\xe2\x80\x83"
                    "b"),
            (std::vector<std::string>{"a", "b"}));
}

TEST(Regex, KnowsLettersOfLaterEditionsOfUnicode) {
  EXPECT_EQ(matches(R"(\p{L})", "\xf0\x93\x91\xa0"),
            (std::vector<std::string>{"\xf0\x93\x91\xa0"}));  // U+13460, Unicode 16
  EXPECT_TRUE(matches(R"(\P{L})", "\xf0\x93\x91\xa0").empty());
}

TEST(Regex, EmptyMatchesAdvance) {
  EXPECT_EQ(matches("x*", "axb").size(), 3U);
  EXPECT_EQ(matches("(?=b)", "abab").size(), 2U);
  EXPECT_EQ(matches("", "\xc3\xa9").size(), 2U);
}

TEST(Regex, AnchorsAreThoseOfLines) { EXPECT_EQ(matches("^a$", "a\nb\na").size(), 2U); }

TEST(Regex, RefusesWhatTheEnginesReadDifferently) {
  for (const char* pattern : {R"(\w+)",  R"(\bx)", R"(\h)", "[a[b]]", "[a&&b]",        "(?m:x)", "(?<n>x)",
                              "(*FAIL)", "a{,3}",  "a{2}+", "[]a]",   "[\\s-z]",       "(",      "[",
                              "\\",      "\\x1",   "\\p",   "\\p{",   "\\p{Nonsense}", "(?",     "a{9999999999}"})
    EXPECT_THROW(Regex{pattern}, FormatError) << pattern;
}

TEST(Regex, StopsRunawayPatterns) {
  const Regex regex("(a+)+$b|(a|aa)+$c|(?:a*)*d");
  try {
    regex.for_each_match(std::string(5000, 'a'), [](Match) {});
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("too many steps"), std::string::npos);
  }
}

TEST(Regex, QuotesEveryCharacter) {
  const std::string text = R"(a.b*c+d?e(f)g[h]i{j}k^l$m|n\o-p#q&r~s t/u')";
  EXPECT_EQ(matches(quote_pattern(text), "x" + text), std::vector<std::string>{text});
}

}  // namespace
}  // namespace sluice::data
