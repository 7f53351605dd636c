// The program from outside: help, exit codes, one line per failure, lists, data through pipes, broken files.
#include "cli/program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "recipe/machine_file.h"
#include "recipe/option_table.h"

namespace sluice::cli {
namespace {

class Program : public testing::Test {
 protected:
  ProgramResult run(const std::string& arguments, const std::string& input = {}) {
    return run_program(scratch_, arguments, input);
  }
  void expect_failure(const std::string& arguments, int exit_code, const std::string& part) {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << arguments << ": " << result.err;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_TRUE(result.err.starts_with("sluice: [")) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }
  Scratch scratch_;
};

TEST_F(Program, IsNotLinkedToTorch) {
  const std::string list = scratch_.file("libraries").string();
  const std::string command = std::string("ldd ") + SLUICE_PROGRAM + " >" + list;
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "no ldd here";
  EXPECT_EQ(read_whole(list).find("torch"), std::string::npos);
}

TEST_F(Program, HelpsWithoutAndWithAVerb) {
  const ProgramResult help = run("--help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* verb : {"train", "plan", "eval", "sample", "export", "inspect", "data", "doctor", "list"}) {
    EXPECT_NE(help.out.find(std::string("\n  ") + verb), std::string::npos) << verb;
    const ProgramResult of_verb = run(std::string(verb) + " --help");
    EXPECT_EQ(of_verb.exit_code, 0) << verb;
    EXPECT_NE(of_verb.out.find(std::string("Usage: sluice ") + verb), std::string::npos) << of_verb.out;
    EXPECT_EQ(of_verb.err, "");
  }
  EXPECT_EQ(run("help data").exit_code, 0);
  EXPECT_TRUE(run("--version").out.starts_with("sluice "));
}

TEST_F(Program, HelpOfTrainNamesEveryOptionOfTrain) {
  const std::string help = run("train --help").out;
  for (const recipe::OptionRow& row : recipe::option_table()) {
    const bool shown = help.find("  --" + row.name + " ") != std::string::npos ||
                       help.find("  --" + row.name + "\n") != std::string::npos;
    EXPECT_EQ(shown, !row.hidden && (row.verbs & recipe::kTrain) != 0) << row.name;
  }
}

TEST_F(Program, WithoutAVerbShowsHowItIsUsed) {
  const ProgramResult result = run("");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("Usage: sluice"), std::string::npos);
}

TEST_F(Program, RefusesUsageErrorsInOneLine) {
  expect_failure("tran", 2, "did you mean 'train'?");
  expect_failure("--verion", 2, "did you mean '--version'?");
  expect_failure("train --seq-lenn 5", 2, "did you mean '--seq-len'?");
  expect_failure("train --seq_lenn=5", 2, "did you mean '--seq-len'?");
  expect_failure("data encode --tokeniser x", 2, "did you mean '--tokenizer'?");
  expect_failure("train -x", 2, "unknown flag");
  expect_failure("train --no-lr", 2, "unknown flag");
  expect_failure("train --lr", 2, "--lr needs a value");
  expect_failure("train --lr -1", 2, "expected a number of at least 0, got '-1'");
  expect_failure("train surplus", 2, "surplus");
  expect_failure("train", 2, "needs --model");
  expect_failure("inspect", 2, "PATH");
  expect_failure("list nothing", 2, "known are models");
  expect_failure("data chew", 2, "known are tokenize");
  expect_failure("data encode", 2, "--tokenizer");
  expect_failure("plan --model x --machine abacus --device cuda", 2, "contradicts --machine");
}

TEST_F(Program, ReadsFlagsAndConfigFilesByTheSameNames) {
  const std::string good = scratch_.write("good.yaml", "per_device_train_batch_size: 2\nseq-len: 64\n");
  const std::string bad = scratch_.write("bad.yaml", "sequence_length_max: 2\n");
  expect_failure("train --config " + good + " --dry-run", 2, "needs --model");
  expect_failure("train --config " + bad, 2, "did you mean");
  expect_failure("train --config /nowhere/c.yaml", 4, "/nowhere/c.yaml");
  expect_failure("train --config " + good + " --compute-dtype fp8 --model m --data d --output o", 2, "compute-dtype");
}

TEST_F(Program, ListsWhatCanBeNamed) {
  const auto kinds = run("list");
  EXPECT_EQ(kinds.exit_code, 0);
  for (const char* kind :
       {"models", "optimizers", "schedules", "tiers", "collectives", "tokenizers", "datasets", "machines"}) {
    EXPECT_NE(kinds.out.find(kind), std::string::npos) << kind;
    const ProgramResult list = run(std::string("list ") + kind);
    EXPECT_EQ(list.exit_code, 0) << kind;
    EXPECT_NE(list.out, "") << kind;
  }
  EXPECT_NE(run("list optimizers").out.find("adamw"), std::string::npos);
  const std::string machines = run("list machines").out;
  EXPECT_NE(machines.find("rtx-4090-24gb"), std::string::npos);
  EXPECT_NE(machines.find("80.00 GiB at 3350 GB/s; 67 fp32, 494.7 tf32, 989.4 16-bit TFLOP/s"), std::string::npos);
  EXPECT_NE(run("list models").out.find("smollm2-135m"), std::string::npos);
}

TEST_F(Program, EncodesAndDecodesTheSameLines) {
  const std::string lines = "{\"text\":\"a \\u00e9\\n\"}\n{\"text\":\"\"}\n{\"text\":\"--b\"}\n";
  const ProgramResult encoded = run("data encode --tokenizer byte --no-special --plain", lines);
  EXPECT_EQ(encoded.exit_code, 0) << encoded.err;
  const ProgramResult decoded = run("data decode --tokenizer byte", encoded.out);
  EXPECT_EQ(decoded.exit_code, 0) << decoded.err;
  EXPECT_EQ(std::ranges::count(decoded.out, '\n'), 3);
  const auto first = nlohmann::json::parse(decoded.out.substr(0, decoded.out.find('\n')));
  EXPECT_EQ(first.at("text"), "a \xc3\xa9\n");
  EXPECT_EQ(run("data encode --tokenizer byte", "{\"text\": 5}\n").exit_code, 4);
}

TEST_F(Program, TokenizesAndInspectsAFile) {
  const std::string text = scratch_.write("a.txt", "To be, or not to be, that is the question.\n");
  const std::string tokens = scratch_.file("a.safetensors").string();
  const ProgramResult made = run("data tokenize " + text + " --tokenizer byte --seq-len 16 --output " + tokens);
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(run("data inspect " + tokens + " --rows 1").exit_code, 0);
  EXPECT_NE(run("inspect " + tokens).out.find("input_ids"), std::string::npos);
  const ProgramResult json = run("inspect --json " + text);
  EXPECT_EQ(nlohmann::json::parse(json.out).at("format"), "text");
}

TEST_F(Program, RefusesBrokenFilesWithExitCode4) {
  expect_failure("inspect /nowhere/at/all", 4, "/nowhere/at/all");
  expect_failure("inspect " + scratch_.write("empty.safetensors", ""), 4, "empty.safetensors");
  expect_failure("inspect " + scratch_.write("short.safetensors", std::string("\x7f\0\0\0\0\0\0\0{", 9)), 4, "short");
  expect_failure("inspect " + scratch_.write("cut.gguf", "GGUF\x03"), 4, "cut.gguf");
  expect_failure("inspect " + scratch_.write("tokenizer.json", "{\"model\": 1"), 4, "tokenizer.json");
  expect_failure("inspect " + scratch_.write("config.json", "{"), 4, "config.json");
  expect_failure("inspect " + scratch_.write("manifest.json", "{}"), 4, "manifest");
}

TEST_F(Program, SaysWhenStandardOutputIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string command = std::string(SLUICE_PROGRAM) + " list >/dev/full 2>" + scratch_.file("err").string();
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 4);
}

TEST_F(Program, DoctorWritesAMachineFile) {
  const std::string machine = scratch_.file("machine.json").string();
  std::filesystem::create_directories(scratch_.file("spill"));
  const ProgramResult result = run("doctor --sample 8MiB --threads 1 --no-compute --spill-dir " +
                                   scratch_.file("spill").string() + " --output " + machine);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const plan::Machine read = recipe::read_machine_file(machine);
  EXPECT_EQ(read.num_threads, 1);
  EXPECT_GT(read.tiers.at(0).down, 0);
  EXPECT_GT(read.tiers.at(0).up_both, 0);
  EXPECT_NE(read.network.within_node.rate, plan::Network{}.within_node.rate) << "loopback was measured";
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.file("spill")));
}

}  // namespace
}  // namespace sluice::cli
