// Runs `sluice train` and its kin as a user does, on a tiny random model and random tokens written for each test.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/units.h"
#include "cli/program.h"
#include "format/safetensors_writer.h"

namespace sluice::train {

using Json = nlohmann::ordered_json;

inline constexpr std::int64_t kVocabulary = 512, kLength = 32;

inline Json tiny_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", kVocabulary},
          {"hidden_size", 128},
          {"intermediate_size", 352},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 256},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"initializer_range", 0.05},
          {"torch_dtype", "float32"},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"a_key_of_the_user", "kept"}};
}

/// Pre-tokenised data: `num_rows` rows of kLength ids below `vocabulary`.
inline void write_tokens(const std::filesystem::path& path, std::int64_t num_rows, std::int64_t vocabulary,
                         std::uint64_t seed) {
  format::SafetensorsWriter writer(path, {{"input_ids", "I64", {num_rows, kLength}}});
  std::vector<std::int64_t> ids(static_cast<std::size_t>(num_rows * kLength));
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::int64_t>(mix(seed, i) % static_cast<std::uint64_t>(vocabulary));
  if (!ids.empty()) ids.back() = vocabulary - 1;
  writer.append("input_ids", std::as_bytes(std::span(ids)));
  writer.publish();
}

class TrainingProgram : public testing::Test {
 protected:
  void SetUp() override {
    setenv("SLUICE_MACHINE", SLUICE_TEST_DATA "/cli/machine.json", 1);  // for what scripts start, too
    std::filesystem::create_directories(scratch_.file("model"));
    scratch_.write("model/config.json", tiny_config().dump(1));
    write_tokens(scratch_.file("data.safetensors"), 24, kVocabulary, 1);
    write_tokens(scratch_.file("held-out.safetensors"), 5, kVocabulary, 2);
  }

  [[nodiscard]] std::string path(const std::string& name) const { return scratch_.file(name).string(); }

  /// Six steps of the tiny model into `output`; `more` follows, `before` are variables of the environment.
  cli::ProgramResult train(const std::string& output, const std::string& more = {}, const std::string& before = {}) {
    return run(train_arguments(output, more), before);
  }
  cli::ProgramResult run(const std::string& arguments, const std::string& before = {}) {
    return cli::run_program(scratch_, arguments, {}, before);
  }
  [[nodiscard]] std::string train_arguments(const std::string& output, const std::string& more) const {
    return "train --model " + path("model") + " --init random --data " + path("data.safetensors") + " --output " +
           path(output) +
           " --seq-len 32 --micro-batch-size 2 --grad-accumulation 2 --max-steps 6 --lr 1e-3 --threads 2 " + more;
  }

  /// A run that ends well; gives its weights' bytes.
  std::string weights_after(const std::string& output, const std::string& more = {}) {
    const cli::ProgramResult result = train(output, more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return weights_of(output);
  }
  [[nodiscard]] std::string weights_of(const std::string& output) const {
    const std::string bytes = cli::read_whole(scratch_.file(output) / "model.safetensors");
    EXPECT_FALSE(bytes.empty()) << output << " holds no weights";
    return bytes;
  }

  [[nodiscard]] std::vector<Json> metrics(const std::string& output) const {
    std::istringstream text(cli::read_whole(scratch_.file(output) / "metrics.jsonl"));
    std::vector<Json> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  [[nodiscard]] std::vector<Json> events(const std::string& output, const std::string& event) const {
    std::vector<Json> found;
    for (const Json& line : metrics(output)) {
      if (line.at("event") == event) found.push_back(line);
    }
    return found;
  }
  /// What may not depend on budget or interruptions: loss, norm, rate by step; a later line supersedes an earlier one.
  [[nodiscard]] std::map<int, Json> steps(const std::string& output) const {
    std::map<int, Json> found;
    for (const Json& line : events(output, "step"))
      found[line.at("step")] = {line.at("loss"), line.at("grad_norm"), line.at("lr"), line.at("target_tokens")};
    return found;
  }

  /// One line on standard error that begins as all do, holds `part`, and comes with `exit_code`; warnings may precede.
  static void expect_failure(const cli::ProgramResult& result, int exit_code, const std::string& part) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    ASSERT_TRUE(result.err.ends_with('\n')) << result.err;
    const std::size_t begin = result.err.rfind('\n', result.err.size() - 2) + 1;
    const std::string last = result.err.substr(begin);
    EXPECT_TRUE(last.starts_with("sluice: [")) << result.err;
    EXPECT_NE(last.find(part), std::string::npos) << result.err;
    EXPECT_EQ(result.err.substr(0, begin).find("sluice: ["), std::string::npos) << "more than one: " << result.err;
  }

  static std::string budget(Bytes bytes) { return "--host-memory " + std::to_string(bytes) + " "; }
  [[nodiscard]] std::string spill() const { return "--spill-dir " + path("spill") + " "; }
  /// The least budget of this machine, as the refusal of one that is too small names it.
  Bytes smallest_budget(const std::string& more = {}) {
    const auto refused =
        train("plan", more + " --dry-run " + spill() + budget(program_alone(more + " " + spill()) + MiB + kSpread));
    expect_failure(refused, 3, "are missing");
    std::smatch found;
    EXPECT_TRUE(std::regex_search(refused.err, found, std::regex(R"(\(([0-9]+) bytes)"))) << refused.err;
    return found.empty() ? 0 : std::stoll(found[1]);
  }

  /// What the program needs before the model; with a disk it is more.
  Bytes program_alone(const std::string& flags = {}) {
    const auto alone = train("plan", flags + " --dry-run " + budget(16 * MiB));
    expect_failure(alone, 3, "the program alone does not fit");
    std::smatch found;
    EXPECT_TRUE(std::regex_search(alone.err, found, std::regex(R"(needs ([0-9.]+) MiB)"))) << alone.err;
    return found.empty() ? 0 : static_cast<Bytes>(std::stod(found[1]) * static_cast<double>(MiB));
  }

  /// The process's own memory differs by a few pages from start to start.
  static constexpr Bytes kSpread = 512 * KiB;

  cli::Scratch scratch_;
};

}  // namespace sluice::train
