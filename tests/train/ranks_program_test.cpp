// `sluice train --nproc N`: the losses and weights of one rank, state that any number of ranks goes on from, bytes that
// are counted, and errors that name what is wrong.
#include <cmath>
#include <cstring>

#include "train/training_program.h"

namespace sluice::train {
namespace {

// The same micro-batches as one rank with all of them.
std::string ranks(int count, int stage, int micro_batches = 4) {
  return "--nproc " + std::to_string(count) + " --zero-stage " + std::to_string(stage) + " --grad-accumulation " +
         std::to_string(micro_batches / count) + " --threads " + std::to_string(count) + " ";
}

void expect_close(const std::map<int, Json>& got, const std::map<int, Json>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [step, figures] : expected) {
    EXPECT_NEAR(got.at(step)[0].get<double>(), figures[0].get<double>(), 1e-5) << "loss of step " << step;
    EXPECT_NEAR(got.at(step)[1].get<double>(), figures[1].get<double>(), 1e-4) << "norm of step " << step;
    EXPECT_EQ(got.at(step)[3], figures[3]);
  }
}

class RanksProgram : public TrainingProgram {
 protected:
  void SetUp() override {
    TrainingProgram::SetUp();
    if (run("list collectives").out.find("gloo") == std::string::npos) GTEST_SKIP() << "this build has no gloo";
  }
};

TEST_F(RanksProgram, TrainAsOneDoesAtEveryStage) {
  const std::string held_out = "--eval-data " + path("held-out.safetensors") + " --eval-steps 3 ";
  (void)weights_after("one", "--grad-accumulation 4 --threads 1 " + held_out);
  std::string first;
  for (int stage = 0; stage <= 3; ++stage) {
    const std::string output = "stage-" + std::to_string(stage);
    const std::string weights = weights_after(output, ranks(2, stage) + held_out);
    expect_close(steps(output), steps("one"));
    EXPECT_NEAR(events(output, "eval").back().at("loss").get<double>(),
                events("one", "eval").back().at("loss").get<double>(), 1e-5);
    if (stage == 0) first = weights;
    EXPECT_TRUE(weights == first) << "stage " << stage << " gives other bits than stage 0";
    const Json last = events(output, "step").back();
    EXPECT_EQ(last.at("ranks"), 2);
    ASSERT_EQ(last.at("rank_wait_seconds").size(), 2U) << "each rank's own waiting";
    for (const Json& waited : last.at("rank_wait_seconds")) EXPECT_LE(waited, last.at("step_seconds"));
    // What ranks agree on beside tensors is small.
    const double planned = metrics(output).front().at("plan").at("exchanges").at("sent_bytes");
    EXPECT_NEAR(last.at("sent_bytes").get<double>(), planned, 20000) << "stage " << stage;
    const double whole = metrics(output).front().at("parameters").get<double>() * 4;
    EXPECT_NEAR(planned / whole, stage < 3 ? 1.0 : 1.5, 0.15) << "2 and 3 times the weights, of which half are sent";
  }
}

TEST_F(RanksProgram, GoOnFromEachOthersCheckpointsAtAnyCountAndStage) {
  (void)weights_after("one", "--grad-accumulation 4 --threads 1");
  (void)weights_after("two", ranks(2, 3) + "--save-steps 3 --keep 9");
  (void)weights_after("single", "--grad-accumulation 4 --threads 1 --save-steps 3 --keep 9");
  (void)weights_after("three", ranks(4, 1) + "--resume " + path("two/checkpoint-3"));
  (void)weights_after("four", ranks(2, 2) + "--resume " + path("single/checkpoint-3"));
  (void)weights_after("five", "--grad-accumulation 4 --threads 1 --resume " + path("two/checkpoint-3"));
  const std::string same = weights_after("six", ranks(2, 1) + "--resume " + path("two/checkpoint-3"));
  EXPECT_TRUE(same == weights_of("two")) << "the same number of ranks gives the same bits";
  for (const char* output : {"three", "four", "five", "six"})
    EXPECT_NEAR(steps(output).at(6)[0].get<double>(), steps("one").at(6)[0].get<double>(), 1e-5) << output;
}

TEST_F(RanksProgram, WriteACheckpointTogetherWhichIsAModelFolderToo) {
  const auto loss_of = [&](const std::string& model) {
    const std::string json = path("eval.json");
    const auto result =
        run("eval --model " + model + " --data " + path("held-out.safetensors") + " --threads 1 --json " + json);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(cli::read_whole(json)).at("loss").get<double>();
  };
  for (const int stage : {0, 1, 3}) {
    const std::string output = "stage-" + std::to_string(stage);
    (void)weights_after(output, ranks(2, stage) + "--save-steps 6");
    const std::filesystem::path folder = scratch_.file(output) / "checkpoint-6";
    for (const std::string rank : {"00001", "00002"}) {
      const std::string model = stage < 3 ? "model-" : "model-rank-";
      for (const std::string& file : {model + rank, "optimizer-rank-" + rank})
        EXPECT_GT(std::filesystem::file_size(folder / (file + "-of-00002.safetensors")), 8192) << file;
    }
    EXPECT_EQ(run("inspect " + folder.string() + " --verify").exit_code, 0);
    const double loss = loss_of(path(output));
    EXPECT_EQ(loss_of(folder.string()), loss) << "stage " << stage;
    const std::string exported = path("exported-" + std::to_string(stage));
    ASSERT_EQ(run("export --model " + folder.string() + " --output " + exported).exit_code, 0);
    EXPECT_EQ(loss_of(exported), loss) << "stage " << stage;
  }
}

TEST_F(RanksProgram, GoOnFromWhatAKillDuringASaveLeft) {
  const std::string how = ranks(2, 3) + "--save-steps 1 --keep 2 ";
  const std::string expected = weights_after("whole", how);
  for (const char* where : {"checkpoint.write@70", "checkpoint.write@200", "checkpoint.manifest@2",
                            "checkpoint.rename@3", "file.sync@9", "file.rename@12"}) {
    const std::string output = std::string("killed-") + where;
    const auto killed = train(output, how, "SLUICE_FAIL=" + std::string(where) + "=KILL");
    EXPECT_EQ(killed.exit_code, 5) << where << ": " << killed.err;
    EXPECT_TRUE(weights_after(output, how) == expected) << where;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.file(output)))
      EXPECT_EQ(entry.path().filename().string().find(".tmp-"), std::string::npos) << entry.path();
  }
}

TEST_F(RanksProgram, EndTogetherWhenOneCannotSave) {
  for (const char* where : {"checkpoint.write@9", "checkpoint.manifest"}) {
    const std::string output = std::string("full-") + where;
    const auto full = train(output, ranks(2, 1) + "--save-steps 2 --collective-timeout 30",
                            "SLUICE_FAIL=" + std::string(where) + "=ENOSPC");
    EXPECT_NE(full.err.find("No space left"), std::string::npos) << full.err;
    EXPECT_TRUE(full.exit_code == 4 || full.exit_code == 5) << full.exit_code;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.file(output)))
      EXPECT_FALSE(entry.path().filename().string().starts_with("checkpoint-")) << entry.path();
  }
}

TEST_F(RanksProgram, SendGradientsInSixteenBitsAndCountThem) {
  (void)weights_after("wide", ranks(2, 2));
  (void)weights_after("narrow", ranks(2, 2) + "--reduce-dtype bf16");
  const std::string four = "--nproc 4 --zero-stage 2 --grad-accumulation 1 --threads 4 --zero-shard-size 2 ";
  (void)weights_after("groups", four);
  for (const auto& [step, figures] : steps("wide")) {
    EXPECT_NEAR(steps("narrow").at(step)[0].get<double>(), figures[0].get<double>(), 2e-3) << "step " << step;
    EXPECT_NEAR(steps("groups").at(step)[0].get<double>(), figures[0].get<double>(), 1e-5) << "step " << step;
  }
  const auto sent = [&](const char* output, const char* key) {
    const double planned = metrics(output).front().at("plan").at("exchanges").at(key);
    EXPECT_NEAR(events(output, "step").back().at(key).get<double>(), planned, 20000) << output;
    return planned;
  };
  // Half of the bytes are gradients, of which half are sent; and of two ranks' parts each goes across once.
  EXPECT_EQ(sent("narrow", "sent_bytes") / sent("wide", "sent_bytes"), 0.75);
  EXPECT_NEAR(sent("groups", "sent_across_groups_bytes") / sent("groups", "sent_bytes"), 1.0 / 3, 0.01);
}

TEST_F(RanksProgram, SendGradientsInOneBitAndGoOnWithWhatTheyKept) {
  const std::string flags = "--gradient-compression 1bit ", saves = flags + "--save-steps 3 --keep 9 ";
  const std::string weights = weights_after("bits", ranks(2, 2) + saves);
  EXPECT_TRUE(weights_after("zero", ranks(2, 0) + flags) == weights) << "stages differ";
  const std::string resume = "--resume " + path("bits/checkpoint-3");
  EXPECT_TRUE(weights_after("again", ranks(2, 3) + flags + resume) == weights) << "what was kept is lost";
  const auto killed = train("killed", ranks(2, 1) + saves, "SLUICE_FAIL=checkpoint.rename@2=KILL");
  EXPECT_EQ(killed.exit_code, 5) << killed.err;
  EXPECT_TRUE(weights_after("killed", ranks(2, 1) + saves) == weights) << "a kill is not undone";
  (void)weights_after("four", ranks(4, 1) + flags + resume);
  (void)weights_after("one", "--threads 1 --grad-accumulation 4 " + flags + resume);
  EXPECT_EQ(run("inspect " + path("bits/checkpoint-3") + " --verify").exit_code, 0);
  (void)weights_after("whole", ranks(2, 0));
  EXPECT_EQ(steps("zero").at(1)[0], steps("whole").at(1)[0]);
  const auto figures = [&](const char* output) {
    const double planned = metrics(output).front().at("plan").at("exchanges").at("sent_bytes");
    return std::pair(planned, events(output, "step").back().at("sent_bytes").get<double>() - planned);
  };
  EXPECT_EQ(figures("zero").first / figures("whole").first, 9.0 / 256) << "of 4 bytes twice half of them";
  EXPECT_EQ(figures("zero").second, figures("whole").second) << "what ranks agree on beside tensors";
}

TEST_F(RanksProgram, DivideStateInGroupsAndGoOnFromAnyOther) {
  const std::string four = "--nproc 4 --grad-accumulation 1 --threads 4 ";
  const std::string groups = four + "--zero-shard-size 2 --zero-stage 3 ";
  const std::string whole = weights_after("groups", groups + "--save-steps 3 --keep 9");
  EXPECT_TRUE(weights_after("zero", four + "--zero-shard-size 2 --zero-stage 0") == whole) << "stages differ";
  EXPECT_TRUE(weights_after("again", groups + "--resume " + path("groups/checkpoint-3")) == whole);
  (void)weights_after("flat", four + "--zero-stage 3 --save-steps 3 --keep 9 --resume " + path("groups/checkpoint-3"));
  (void)weights_after("back", groups + "--resume " + path("flat/checkpoint-6") + " --max-steps 7");
  for (const auto& [step, figures] : steps("flat"))
    EXPECT_NEAR(figures[0].get<double>(), steps("groups").at(step)[0].get<double>(), 1e-5);
  const auto refused = train("refused", "--nproc 3 --zero-shard-size 2");
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_NE(refused.err.find("--zero-shard-size does not divide the ranks"), std::string::npos) << refused.err;
}

TEST_F(RanksProgram, ShareTheBudgetAndSpillToDisk) {
  const std::string expected = weights_after("plenty", ranks(2, 3));
  const Bytes each = program_alone(spill()) + 24 * MiB;
  const std::string weights = weights_after("little", ranks(2, 3) + spill() + budget(2 * each));
  EXPECT_TRUE(weights == expected) << "a budget changes no bit";
  const Json end = metrics("little").back();
  EXPECT_EQ(end.at("event"), "end");
}

TEST_F(RanksProgram, NameTheRankThatFailsAndEndTogether) {
  const auto failed = train("failed", ranks(2, 2) + "--nan-policy stop", "SLUICE_FAIL=exec.gradient@3=EIO");
  EXPECT_EQ(failed.exit_code, 6) << failed.err;
  EXPECT_NE(failed.err.find("is not finite"), std::string::npos) << failed.err;
}

TEST_F(RanksProgram, DivideWhatRulesKnowOfWholeTensors) {
  for (const std::string rule : {"lamb", "adafactor", "adamw-8bit", "muon"}) {
    SCOPED_TRACE(rule);
    const std::string flags = "--max-steps 3 --save-steps 2 --optimizer " + rule;
    const auto states = [&](const std::string& output) {
      return cli::read_whole(scratch_.file(output) / "checkpoint-2" / "optimizer.safetensors");
    };
    const std::string weights = weights_after(rule + "-0", ranks(3, 0, 3) + flags);
    for (const int stage : {1, 3}) {
      const std::string output = rule + "-" + std::to_string(stage);
      EXPECT_TRUE(weights_after(output, ranks(3, stage, 3) + flags) == weights) << "stage " << stage;
      EXPECT_TRUE(states(output) == states(rule + "-0")) << "states of stage " << stage;
    }
    const std::string resume = "--resume " + path(rule + "-3/checkpoint-2");
    EXPECT_TRUE(weights_after(rule + "-more", ranks(3, 2, 3) + flags + " " + resume) == weights) << "resumed";
  }
}

TEST_F(RanksProgram, DivideWhatRulesKnowOfWholeTensorsWithinTheirGroups) {
  for (const std::string rule : {"adafactor", "muon"}) {
    SCOPED_TRACE(rule);
    const std::string flags =
        "--nproc 4 --threads 4 --grad-accumulation 1 --zero-shard-size 2 --max-steps 3 --save-steps 2 --optimizer " +
        rule;
    const std::string weights = weights_after(rule + "-0", flags + " --zero-stage 0");
    EXPECT_TRUE(weights_after(rule + "-1", flags + " --zero-stage 1") == weights);
    const std::string resume = " --resume " + path(rule + "-1/checkpoint-2");
    EXPECT_TRUE(weights_after(rule + "-more", flags + " --zero-stage 3" + resume) == weights) << "resumed";
  }
}

TEST_F(RanksProgram, GiveTheSameBitsInTheFixedOrderWhateverTheirNumber) {
  for (const std::string rule : {"adamw", "adafactor"}) {
    const std::string flags = "--reduce-order fixed --max-steps 3 --optimizer " + rule;
    const std::string expected = weights_after(rule + "-1", "--grad-accumulation 12 --threads 1 " + flags);
    EXPECT_TRUE(weights_after(rule + "-2", ranks(2, 0, 12) + flags) == expected) << rule << " on 2 ranks";
    EXPECT_TRUE(weights_after(rule + "-3", ranks(3, 3, 12) + flags) == expected) << rule << " on 3 ranks";
    EXPECT_EQ(steps(rule + "-3"), steps(rule + "-1"));
  }
}

// Micro-batches go round the ranks: the odd ones are rank 1's.
TEST_F(RanksProgram, GoOnWhereOneOfThemHasNothingToLearnFrom) {
  format::SafetensorsWriter writer(path("data.safetensors"),
                                   {{"input_ids", "I64", {24, kLength}}, {"labels", "I64", {24, kLength}}});
  std::vector<std::int64_t> ids(static_cast<std::size_t>(24 * kLength));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(mix(3, i) % kVocabulary);
  writer.append("input_ids", std::as_bytes(std::span(ids)));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i / kLength / 2 % 2 == 1) ids[i] = -100;
  }
  writer.append("labels", std::as_bytes(std::span(ids)));
  writer.publish();
  const std::string data = "--no-shuffle ";
  (void)weights_after("one", "--grad-accumulation 4 --threads 1 " + data);
  for (const int stage : {0, 3}) {
    const std::string output = "two-" + std::to_string(stage);
    (void)weights_after(output, ranks(2, stage) + data);
    expect_close(steps(output), steps("one"));
  }
}

// Five rows and steps of twelve: data ends in the middle of a step, and begins again.
TEST_F(RanksProgram, TakeTheirTurnsPastTheEndOfTheData) {
  write_tokens(path("data.safetensors"), 5, kVocabulary, 4);
  (void)weights_after("one", "--grad-accumulation 6 --threads 1");
  (void)weights_after("three", ranks(3, 2, 6));
  expect_close(steps("three"), steps("one"));
}

}  // namespace
}  // namespace sluice::train
