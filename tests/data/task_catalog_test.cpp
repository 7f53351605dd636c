// Original files of published tasks (a few lines in each one's schema) and the items that they become.
#include "data/task_catalog.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "data/choice_task.h"
#include "data_test_files.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

/// The items of tests/data/data/tasks/FILE, one JSON object each.
std::vector<Json> convert(const std::string& task, const std::string& file) {
  const TemporaryFolder folder;
  const std::int64_t count = convert_task(task, test_file("tasks/" + file), folder / "items.jsonl");
  std::ifstream in(folder / "items.jsonl");
  std::vector<Json> items;
  for (std::string line; std::getline(in, line);) items.push_back(Json::parse(line));
  EXPECT_EQ(static_cast<std::int64_t>(items.size()), count);
  EXPECT_EQ(read_choice_task(folder / "items.jsonl").items.size(), items.size()) << "sluice eval reads what it wrote";
  return items;
}

void expect_item(const Json& item, const std::string& context, const Json& choices, int answer) {
  EXPECT_EQ(item.at("context"), context);
  EXPECT_EQ(item.at("choices"), choices);
  EXPECT_EQ(item.at("answer"), answer);
}

std::string error_of(const std::string& task, const std::string& text) {
  const TemporaryFolder folder;
  std::ofstream(folder / "in.jsonl") << text;
  try {
    (void)convert_task(task, folder / "in.jsonl", folder / "out.jsonl");
  } catch (const Error& error) {
    EXPECT_FALSE(std::filesystem::exists(folder / "out.jsonl"));
    return error.what();
  }
  return "no error";
}

TEST(TaskCatalog, BoolqAsksAfterThePassage) {
  const auto items = convert("boolq", "boolq.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0],
              "The Moon -- The Moon is the only natural satellite of the Earth. Its diameter is about a quarter of the "
              "Earth's.\nQuestion: is the moon larger than the earth?\nAnswer:",
              {"no", "yes"}, 0);
  EXPECT_EQ(items[1].at("answer"), 1);
  EXPECT_EQ(items[1].at("id"), "1");
  EXPECT_EQ(convert("boolq", "boolq_google.jsonl")[0].at("answer"), 1);
}

TEST(TaskCatalog, RteAnswersTrueOrFalse) {
  const auto items = convert("rte", "rte.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0],
              "The bridge was closed on Monday after a storm.\nQuestion: A storm closed the bridge. True or "
              "False?\nAnswer:",
              {"True", "False"}, 0);
  EXPECT_EQ(items[1].at("answer"), 1);
}

TEST(TaskCatalog, WscStarsThePronounAndJoinsItsTokens) {
  const auto items = convert("wsc", "wsc.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0],
              "Passage: Anna didn't wait for Beth, *she* left (at once).\nQuestion: In the passage above, does the "
              "pronoun \"*she*\" refer to \"*Anna*\"?\nAnswer:",
              {"no", "yes"}, 1);
  expect_item(items[1],
              "Passage: *It* was late when the cat came.\nQuestion: In the passage above, does the pronoun \"*It*\" "
              "refer to \"*the cat*\"?\nAnswer:",
              {"no", "yes"}, 0);
}

TEST(TaskCatalog, WicCutsTheWordByCharactersNotBytes) {
  const auto items = convert("wic", "wic.jsonl");
  ASSERT_EQ(items.size(), 1U);
  expect_item(items[0],
              "Sentence 1: Die Stra\xc3\x9f"
              "e ends at the bank.\nSentence 2: He put his money in the bank.\nQuestion: Is the word 'bank' used in "
              "the same way in the two sentences above?\nAnswer:",
              {"no", "yes"}, 0);
}

TEST(TaskCatalog, CopaGoesOnInLowerCase) {
  const auto items = convert("copa", "copa.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0], "The glass fell off the table therefore", {"it broke.", "it was full."}, 0);
  expect_item(items[1], "The street was wet because", {"the sun was out.", "it had rained."}, 1);
}

TEST(TaskCatalog, MultircHasAnItemPerAnswer) {
  const auto items = convert("multirc", "multirc.jsonl");
  ASSERT_EQ(items.size(), 3U);
  expect_item(items[0], "Tom has a dog. The dog is brown.\nQuestion: What colour is the dog?\nAnswer:",
              {"Brown\nIs the answer correct? no", "Brown\nIs the answer correct? yes"}, 1);
  EXPECT_EQ(items[1].at("answer"), 0);
  EXPECT_EQ(items[2].at("id"), "3-6-2");
}

TEST(TaskCatalog, HellaswagLosesTheMarksOfWikiHow) {
  const auto items = convert("hellaswag", "hellaswag.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0], "Peeling an apple: A man sits at a table. The man",
              {"eats the table.", "flies away.", "takes a knife and an apple.", "sings."}, 2);
  // White space is stripped first, as in lm-evaluation-harness: what a mark leaves at the edges stays.
  expect_item(items[1], "Home: How to sweep. Take a broom Hold it.",
              {" Sweep slowly.", "Throw it away. Buy one.", "Sleep.", "Run."}, 0);
}

TEST(TaskCatalog, ArcFindsTheAnswerByItsLabel) {
  const auto items = convert("arc", "arc.jsonl");
  ASSERT_EQ(items.size(), 2U);
  expect_item(items[0],
              "Question: Which of these is a gas at room temperature?\nAnswer:", {"iron", "salt", "oxygen", "water"},
              2);
  EXPECT_EQ(items[1].at("answer"), 0);
}

TEST(TaskCatalog, LambadaAsksForTheLastWordOfTextAndOfJson) {
  const auto plain = convert("lambada", "lambada.txt");
  ASSERT_EQ(plain.size(), 1U);
  EXPECT_EQ(plain[0].at("context"), "he looked for the key in every pocket but could not find the");
  EXPECT_EQ(plain[0].at("target"), "key");
  const auto json = convert("lambada", "lambada.jsonl");
  EXPECT_EQ(json[0].at("context"), "\"Where is the key?\" she asked. He had lost the");
}

TEST(TaskCatalog, NamesFileAndLineAndWhatWasExpected) {
  const auto expect_error = [](const std::string& task, const std::string& text, const std::string& part) {
    const std::string message = error_of(task, text);
    EXPECT_NE(message.find("in.jsonl, line"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const std::string whole = R"({"question": "q", "passage": "p", "label": true})";
  expect_error("boolq", whole + "\n{\"question\": \"q\"",
               "line 2 is not as the task's files are: expected a JSON object");
  expect_error("boolq", R"({"question": "q", "passage": "p"})", "\"label\" (files without answers");
  expect_error("boolq", R"({"question": "q", "passage": "p", "label": 2})", "true, false or a number from 0 to 1");
  expect_error("boolq", R"({"question": 1, "passage": "p", "label": 1})", "\"question\" to be a text");
  expect_error("rte", R"({"premise": "p", "hypothesis": "h", "label": "yes"})", "entailment or not_entailment");
  expect_error("wic", R"({"sentence1": "a", "sentence2": "b", "start1": 3, "end1": 2, "label": true})", "\"start1\"");
  expect_error("copa", R"({"question": "why"})", "cause or effect");
  expect_error("wsc", R"({"text": "a b", "target": {"span1_text": "a", "span2_text": "b", "span2_index": 9}})",
               "the place of a word");
  expect_error("multirc", R"({"passage": {"text": "t", "questions": 3}})", "list of objects");
  expect_error("hellaswag", R"({"endings": ["a"]})", "two texts");
  expect_error("arc", R"({"question": {"stem": "s", "choices": []}, "answerKey": "A"})", "\"answerKey\"");
  expect_error("lambada", "word", "several words");
  EXPECT_NE(error_of("boolq", "").find("holds no items"), std::string::npos);
  EXPECT_NE(error_of("bolq", whole).find("did you mean 'boolq'"), std::string::npos);
}

}  // namespace
}  // namespace sluice::data
