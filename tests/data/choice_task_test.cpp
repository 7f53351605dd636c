// Items to score: what a file may hold, where context and continuation are cut, how sums become accuracies.
#include "data/choice_task.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/error.h"
#include "data/choice_scores.h"
#include "data/continuation.h"
#include "data_test_files.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

class ChoiceTaskFile : public testing::Test {
 protected:
  [[nodiscard]] ChoiceTask read(const std::string& text, std::optional<std::int64_t> limit = {}) const {
    std::ofstream(folder_ / "animals.jsonl") << text;
    return read_choice_task(folder_ / "animals.jsonl", limit);
  }
  [[nodiscard]] std::string error_of(const std::string& text) const {
    try {
      (void)read(text);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  }
  TemporaryFolder folder_;
};

TEST_F(ChoiceTaskFile, TakesAnswersAsIndexAndAsText) {
  const ChoiceTask task = read(R"({"context": "A cat", "choices": ["barks", "purrs"], "answer": 1}
{"id": "d7", "context": "A dog", "choices": ["barks", "purrs"], "answer": "barks", "source": "ignored"}
)");
  EXPECT_EQ(task.name, "animals");
  EXPECT_FALSE(task.greedy);
  ASSERT_EQ(task.items.size(), 2U);
  EXPECT_EQ(task.items[0].id, "1");
  EXPECT_EQ(task.items[0].answer, 1U);
  EXPECT_EQ(task.items[0].continuation(1), " purrs");
  EXPECT_EQ(task.items[1].id, "d7");
  EXPECT_EQ(task.items[1].answer, 0U);
  EXPECT_EQ(read(R"([{"context": "A", "choices": ["b", "c"], "answer": 1}])").items.size(), 1U) << "an array will do";
}

TEST_F(ChoiceTaskFile, PutsOneSpaceBetweenUnlessThereIsOne) {
  const auto delimiter = [&](const std::string& item) { return read(item).items[0].delimiter; };
  EXPECT_EQ(delimiter(R"({"context": "A", "target": "b"})"), " ");
  EXPECT_EQ(delimiter(R"({"context": "A\n", "target": "b"})"), "");
  EXPECT_EQ(delimiter(R"({"context": "A\u3000", "target": "b"})"), "");
  EXPECT_EQ(delimiter(R"({"context": "A", "choices": [" b", "c"], "answer": 0})"), "");
  EXPECT_EQ(delimiter(R"({"context": "", "target": "b"})"), "");
  EXPECT_EQ(delimiter(R"({"context": "A", "target": "b", "delimiter": ""})"), "");
  EXPECT_EQ(delimiter(R"({"context": "A ", "target": "b", "delimiter": " "})"), " ");
}

TEST_F(ChoiceTaskFile, StopsAtItsLimit) {
  const std::string two = "{\"context\": \"A\", \"target\": \"b\"}\n{\"context\": \"A\", \"target\": \"c\"}\n";
  EXPECT_EQ(read(two, 1).items.size(), 1U);
  EXPECT_TRUE(read(two, 5).greedy);
  EXPECT_EQ(read(two, 5).items.size(), 2U);
}

TEST_F(ChoiceTaskFile, NamesFileAndRecordAndWhatWasExpected) {
  const auto expect_error = [&](const std::string& text, const std::string& part) {
    const std::string message = error_of("{\"context\": \"A\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n" + text);
    EXPECT_NE(message.find("animals.jsonl, record 2 is no item to score"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect_error("{\"context\": ", "a JSON object");
  expect_error("[1]", "a JSON object");
  expect_error(R"({"choices": ["b", "c"], "answer": 0})", "the key \"context\"");
  expect_error(R"({"context": 7, "choices": ["b", "c"], "answer": 0})", "\"context\" to be a text, got 7");
  expect_error(R"({"context": "A"})", "the key \"choices\"");
  expect_error(R"({"context": "A", "choices": ["b"], "answer": 0})", "two texts or more, got [\"b\"]");
  expect_error(R"({"context": "A", "choices": ["b", ""], "answer": 0})", "not empty");
  expect_error(R"({"context": "A", "choices": ["b", "c"]})", "the key \"answer\"");
  expect_error(R"({"context": "A", "choices": ["b", "c"], "answer": 2})", "an index from 0 to 1 or the text");
  expect_error(R"({"context": "A", "choices": ["b", "c"], "answer": -1})", "got -1");
  expect_error(R"({"context": "A", "choices": ["b", "c"], "answer": 0.5})", "got 0.5");
  expect_error(R"({"context": "A", "choices": ["b", "c"], "answer": "d"})", "got \"d\"");
  expect_error(R"({"context": "A", "target": "b"})", "in every item of a file or in none");
  EXPECT_NE(error_of("\n").find("holds no items"), std::string::npos);
}

TEST_F(ChoiceTaskFile, FewShotExamplesAreOthersAndFollowFromTheSeed) {
  std::string text;
  for (int i = 0; i < 6; ++i)
    text += Json{{"context", "Q" + std::to_string(i)}, {"choices", {"yes", "no"}}, {"answer", i % 2}}.dump() + "\n";
  const ChoiceTask task = read(text);
  for (std::size_t i = 0; i < task.items.size(); ++i) {
    const std::string prefix = few_shot_prefix({&task, 5, 3}, task.items[i], i);
    EXPECT_EQ(prefix, few_shot_prefix({&task, 5, 3}, task.items[i], i));
    for (std::size_t other = 0; other < task.items.size(); ++other) {
      const std::string shown = "Q" + std::to_string(other) + (other % 2 == 0 ? " yes\n\n" : " no\n\n");
      EXPECT_EQ(prefix.find(shown) == std::string::npos, other == i) << prefix;
    }
  }
  EXPECT_NE(few_shot_prefix({&task, 5, 3}, task.items[0], 0), few_shot_prefix({&task, 5, 4}, task.items[0], 0));
  EXPECT_THROW((void)few_shot_prefix({&task, 6, 3}, task.items[0], 0), ConfigError);
}

class Continuation : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> cut(const std::string& context, const std::string& continuation,
                                             const ContinuationOptions& options = {}) const {
    const EncodedContinuation encoded = encode_continuation(*tokenizer_, context, continuation, options, "item");
    const std::span<const std::int32_t> ids(encoded.ids);
    const auto begin = static_cast<std::size_t>(encoded.num_context);
    return {tokenizer_->decode(ids.first(begin)), tokenizer_->decode(ids.subspan(begin))};
  }
  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(test_file("smollm.json"));
};

using Parts = std::vector<std::string>;

TEST_F(Continuation, TakesTheWhiteSpaceAtTheContextsEnd) {
  EXPECT_EQ(cut("Answer:", " yes"), (Parts{"Answer:", " yes"}));
  EXPECT_EQ(cut("Answer: ", "yes"), (Parts{"Answer:", " yes"}));
  EXPECT_EQ(cut("Answer:\n", "yes"), (Parts{"Answer:", "\nyes"}));
  EXPECT_EQ(cut("Answer:\xc2\xa0", "yes"), (Parts{"Answer:", "\xc2\xa0yes"})) << "no-break space";
}

TEST_F(Continuation, CutsTokensOfTheWholeTextByTheContextsCount) {
  // The whole text may have other tokens over the seam: as many as the context has alone belong to it.
  for (const auto& [context, continuation] :
       std::vector<std::pair<std::string, std::string>>{{"un", "believable"},
                                                        {"The cat sat on the m", "at and slept"},
                                                        {"1", "2345"},
                                                        {"caf", "\xc3\xa9 au lait"}}) {
    const EncodedContinuation encoded = encode_continuation(*tokenizer_, context, continuation, {}, "item");
    EXPECT_EQ(encoded.ids, tokenizer_->encode(context + continuation, {.add_special = false}));
    EXPECT_EQ(encoded.num_context,
              static_cast<std::int64_t>(tokenizer_->encode(context, {.add_special = false}).size()));
  }
}

TEST_F(Continuation, BeginsWithTheStartTokenWhereNothingElseStands) {
  const EncodedContinuation encoded = encode_continuation(*tokenizer_, " ", "yes", {.start = 2}, "item");
  EXPECT_EQ(encoded.ids[0], 2);
  EXPECT_EQ(encoded.num_context, 1);
  const EncodedContinuation always =
      encode_continuation(*tokenizer_, "A", " b", {.start = 2, .add_start = true}, "item");
  EXPECT_EQ(always.ids[0], 2);
  EXPECT_EQ(always.num_context, 2);
  EXPECT_THROW((void)cut("", "yes"), FormatError);
  EXPECT_THROW((void)cut("A", ""), FormatError);
  EXPECT_THROW((void)cut("A\xff", "b"), FormatError);
}

TEST_F(Continuation, LosesTheBeginningOfAContextThatIsTooLong) {
  EncodedContinuation encoded{{1, 2, 3, 4, 5}, 3};
  EXPECT_FALSE(shorten_context(encoded, 5, "item"));
  EXPECT_TRUE(shorten_context(encoded, 3, "item"));
  EXPECT_EQ(encoded.ids, (std::vector<std::int32_t>{3, 4, 5}));
  EXPECT_EQ(encoded.num_context, 1);
  EXPECT_THROW((void)shorten_context(encoded, 2, "item"), FormatError);
}

TEST(ChoiceScores, CountEachMeasureByItself) {
  ChoiceTask task{.name = "t", .greedy = false, .items = {}};
  // By sum the first, by characters and bytes the second, by tokens the third.
  task.items.push_back({"1", "c", " ", {"abcd", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", "ab"}, 1});
  const std::vector<ItemScore> scores = {{{-4.0, -4.9, -4.5}, {2, 2, 3}, false}};
  const Json prediction = prediction_json(task, 0, scores[0]);
  EXPECT_EQ(prediction.at("pick"), 0);
  EXPECT_EQ(prediction.at("pick_norm"), 1);
  EXPECT_EQ(prediction.at("pick_bytes"), 1);
  EXPECT_EQ(prediction.at("pick_tokens"), 2);
  EXPECT_EQ(prediction.at("correct"), false);
  EXPECT_EQ(prediction.at("log_likelihoods"), Json(scores[0].log_likelihoods));
  const TaskResult result = summarise(task, scores);
  ASSERT_EQ(result.accuracies.size(), 4U);
  EXPECT_EQ(result.accuracies[0].correct, 0);
  EXPECT_EQ(result.accuracies[1].correct, 1);
  EXPECT_EQ(result.accuracies[3].correct, 0);
  EXPECT_DOUBLE_EQ(result.chance, 1.0 / 3.0);
}

TEST(ChoiceScores, TheFirstOfEqualsIsPicked) {
  ChoiceTask task{.name = "t", .greedy = false, .items = {}};
  task.items.push_back({"1", "c", " ", {"a", "b"}, 0});
  EXPECT_EQ(prediction_json(task, 0, {{-1.0, -1.0}, {1, 1}, false}).at("pick"), 0);
}

TEST(ChoiceScores, IntervalsAreWilsonsAndErrorsOfTheSample) {
  const Accuracy accuracy{.name = "acc", .correct = 38, .items = 104};
  EXPECT_NEAR(accuracy.standard_error(), std::sqrt(38.0 / 104 * 66 / 104 / 103), 1e-15);
  const auto [low, high] = accuracy.interval();
  EXPECT_NEAR(low, 0.279170, 1e-6);
  EXPECT_NEAR(high, 0.461190, 1e-6);
  const auto all = Accuracy{.name = "acc", .correct = 10, .items = 10}.interval();
  EXPECT_NEAR(all.first, 0.722467, 1e-6);
  EXPECT_DOUBLE_EQ(all.second, 1.0);
}

TEST(ChoiceScores, TargetsHaveAPerplexityPerItem) {
  ChoiceTask task{.name = "t", .greedy = true, .items = {}};
  task.items.resize(2, {"1", "c", " ", {"word"}, 0});
  const TaskResult result = summarise(task, {{{-1.0}, {1}, true}, {{-3.0}, {2}, false}});
  EXPECT_DOUBLE_EQ(result.perplexity, std::exp(2.0));
  EXPECT_EQ(result.accuracies[0].correct, 1);
  EXPECT_EQ(to_json(result).at("kind"), "target");
  EXPECT_NE(to_text({result}).find("perplexity    7.3891"), std::string::npos) << to_text({result});
}

}  // namespace
}  // namespace sluice::data
