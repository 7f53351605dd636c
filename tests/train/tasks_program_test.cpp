// sluice eval --tasks as a user runs it: sums of log-likelihoods by another road, the same figures in every memory,
// files, messages.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class TasksProgram : public TrainingProgram {
 protected:
  // One model for all tests of the suite: bytes as tokens, so that ids are the texts' own bytes.
  void SetUp() override {
    TrainingProgram::SetUp();
    (void)scratch_.write("text.txt", std::string(2000, 'a') + "the quick brown fox jumps over the lazy dog\n");
    const auto result =
        run("train --model " + path("model") + " --init random --tokenizer byte --data " + path("text.txt") +
            " --output " + path("bytes") + " --seq-len 32 --max-steps 2 --lr 1e-3 --threads 2 --seed 5");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    std::string items;
    for (int i = 0; i < 7; ++i) {
      const std::string context(static_cast<std::size_t>(3 + 11 * i), static_cast<char>('a' + i));
      items += Json{{"context", context}, {"choices", {"fox", "a lazy dog", "x"}}, {"answer", i % 3}}.dump() + "\n";
    }
    (void)scratch_.write("items.jsonl", items);
    (void)scratch_.write("words.jsonl",
                         Json{{"context", "the quick brown"}, {"target", "fox"}}.dump() + "\n" +
                             Json{{"context", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {"target", "a"}}.dump() + "\n");
  }

  [[nodiscard]] std::string eval_arguments(const std::string& more) const {
    return "eval --model " + path("bytes") + " --threads 2 " + more + " ";
  }
  std::string predictions(const std::string& more) {
    const auto result = run(eval_arguments("--tasks " + path("items.jsonl") + "," + path("words.jsonl") +
                                           " --predictions " + path("predictions.jsonl") + " " + more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return read_text(path("predictions.jsonl"));
  }
  /// The log-likelihood of `choice` after `context`, from the loss of a pre-tokenised row that has it as its target.
  double by_loss(const std::string& context, const std::string& choice, const std::string& model = "bytes") {
    const std::string text = context + choice;
    const auto length = static_cast<std::int64_t>(text.size());
    std::vector<std::int64_t> ids(text.begin(), text.end()), labels(text.size(), -100);
    std::copy(ids.begin() + static_cast<std::ptrdiff_t>(context.size()), ids.end(),
              labels.begin() + static_cast<std::ptrdiff_t>(context.size()));
    {
      format::SafetensorsWriter writer(path("row.safetensors"),
                                       {{"input_ids", "I64", {1, length}}, {"labels", "I64", {1, length}}});
      writer.append("input_ids", std::as_bytes(std::span(ids)));
      writer.append("labels", std::as_bytes(std::span(labels)));
      writer.publish();
    }
    const auto result = run("eval --model " + path(model) + " --threads 2 --data " + path("row.safetensors") +
                            " --json " + path("loss.json"));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Json json = Json::parse(read_text(path("loss.json")));
    return -json.at("loss").get<double>() * json.at("target_tokens").get<double>();
  }
};

std::vector<Json> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

TEST_F(TasksProgram, SumsAreTheLossesOfTheirRowsPaddedOrNot) {
  const std::vector<Json> said = lines_of(predictions(""));
  ASSERT_EQ(said.size(), 9U);
  for (const int i : {0, 2, 6}) {
    const std::string context(static_cast<std::size_t>(3 + 11 * i), static_cast<char>('a' + i));
    const std::vector<double> sums = said[static_cast<std::size_t>(i)].at("log_likelihoods");
    EXPECT_EQ(said[static_cast<std::size_t>(i)].at("num_tokens"), (Json{4, 11, 2}));
    const double expected = by_loss(context, " a lazy dog");
    EXPECT_NEAR(sums[1], expected, 1e-5 * std::abs(expected)) << i;
  }
  const double fox = by_loss("the quick brown", " fox");
  EXPECT_NEAR(said[7].at("log_likelihoods")[0].get<double>(), fox, 1e-5 * std::abs(fox)) << "by generation";
  EXPECT_EQ(said[7].at("correct"), false);
  EXPECT_EQ(said[8].at("num_tokens"), Json{2});
}

TEST_F(TasksProgram, FiguresDoNotDependOnMemoryOrOnWhatIsScoredBeside) {
  const std::string whole = predictions("");
  EXPECT_EQ(predictions("--spill-dir " + path("spill")), whole);
  EXPECT_EQ(predictions("--device emulated --device-memory 24MiB"), whole);
  EXPECT_TRUE(whole.starts_with(predictions("--limit 1").substr(0, whole.find('\n'))));
}

TEST_F(TasksProgram, ScoresAModelWithItsAdapter) {
  const auto trained =
      run("train --model " + path("bytes") + " --adapter lora --lora-rank 4 --tokenizer byte --data " +
          path("text.txt") + " --output " + path("adapted") + " --seq-len 32 --max-steps 3 --lr 1e-2 --threads 2");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto result = run("eval --model " + path("adapted") + " --threads 2 --tasks " + path("items.jsonl") +
                          " --predictions " + path("predictions.jsonl"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const double adapted = by_loss("aaa", " a lazy dog", "adapted");
  EXPECT_GT(std::abs(adapted - by_loss("aaa", " a lazy dog")), 1e-3);
  const std::vector<double> sums = lines_of(read_text(path("predictions.jsonl")))[0].at("log_likelihoods");
  EXPECT_NEAR(sums[1], adapted, 1e-5 * std::abs(adapted));
}

TEST_F(TasksProgram, PrintsATableAndWritesJson) {
  const auto result = run(eval_arguments("--tasks " + path("items.jsonl") + "," + path("words.jsonl") + " --json " +
                                         path("result.json") + " --few-shot 2 --seed 1 --add-bos"));
  EXPECT_EQ(result.exit_code, 2) << "bytes name no token to begin with";
  const auto shown = run(eval_arguments("--tasks " + path("items.jsonl") + "," + path("words.jsonl") + " --json " +
                                        path("result.json") + " --few-shot 1 --seed 1"));
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  for (const char* part : {"items ", "acc ", "acc_norm", "acc_bytes", "acc_tokens", "perplexity", "(chance)"})
    EXPECT_NE(shown.out.find(part), std::string::npos) << part << " in\n" << shown.out;
  const Json json = Json::parse(read_text(path("result.json")));
  EXPECT_EQ(json.at("few_shot"), 1);
  EXPECT_EQ(json.at("texts"), 23);
  ASSERT_EQ(json.at("tasks").size(), 2U);
  EXPECT_EQ(json.at("tasks")[0].at("task"), "items");
  EXPECT_EQ(json.at("tasks")[0].at("items"), 7);
  EXPECT_EQ(json.at("tasks")[0].at("acc_interval").size(), 2U);
  EXPECT_GT(json.at("tasks")[1].at("perplexity").get<double>(), 1.0);
}

TEST_F(TasksProgram, LongContextsLoseTheirBeginningsAndBadLinesAreNamed) {
  const std::string longer = scratch_.write(
      "long.jsonl", Json{{"context", std::string(400, 'b')}, {"choices", {"x", "yy"}}, {"answer", "yy"}}.dump() + "\n");
  const auto shortened = run(eval_arguments("--tasks " + longer));
  EXPECT_EQ(shortened.exit_code, 0) << shortened.err;
  EXPECT_NE(shortened.err.find("2 texts of long are longer than the model's 256 positions"), std::string::npos)
      << shortened.err;
  const std::string bad = scratch_.write("bad.jsonl", "{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 0}\n");
  expect_failure(run(eval_arguments("--tasks " + bad)), 4, "bad.jsonl, record 1 is no item to score: expected");
  expect_failure(run(eval_arguments("--tasks " + path("nothing.jsonl"))), 4, "nothing.jsonl");
  expect_failure(run(eval_arguments("")), 2, "--tasks");
}

}  // namespace
}  // namespace sluice::train
