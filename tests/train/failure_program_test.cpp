// Everything that a user can get wrong or a machine can refuse: one line on standard error and the right exit code.
#include <filesystem>

#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class Failures : public TrainingProgram {
 protected:
  /// A folder with trained weights, to be damaged.
  std::string trained() {
    EXPECT_EQ(train("trained", "--max-steps 1").exit_code, 0);
    return path("trained");
  }
  cli::ProgramResult train_from(const std::string& model, const std::string& more = {}) {
    return run("train --model " + model + " --data " + path("data.safetensors") + " --output " + path("out") +
               " --seq-len 32 --max-steps 1 --threads 2 " + more);
  }
  void write_config(const std::string& folder, const std::string& key, const Json& value) {
    Json config = tiny_config();
    config[key] = value;
    fs::create_directories(folder);
    std::ofstream(fs::path(folder) / "config.json") << config.dump();
  }
};

TEST_F(Failures, OfUsageHaveExitCode2) {
  expect_failure(train("out", "--learning-rat 1"), 2, "did you mean");
  expect_failure(train("out", "--micro-batch-size 0"), 2, "micro-batch-size");
  expect_failure(train("out", "--optimizer adamm"), 2, "adamm");
  expect_failure(train("out", "--lr-schedule cosinus"), 2, "cosinus");
  expect_failure(run("train --model " + path("model") + " --init random --output " + path("out")), 2, "--data");
  expect_failure(train("out", "--device cuda:77"), 2, "[device]");   // no library, driver or card, or not so many
  expect_failure(train("out", "--update backward"), 2, "backward");  // with the default global norm
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(Failures, OfModelsHaveTheCodeOfTheirKind) {
  expect_failure(train_from(path("nowhere")), 4, "nowhere");
  expect_failure(train_from(path("model")), 2, "--init random");  // a folder without weights
  write_config(path("strange"), "model_type", "hyena");
  expect_failure(train_from(path("strange"), "--init random"), 2, "hyena");
  write_config(path("uneven"), "num_attention_heads", 3);
  expect_failure(train_from(path("uneven"), "--init random"), 4, "heads");
  scratch_.write("model/config.json", "{\"model_type\": ");
  expect_failure(train("out"), 4, "config.json");
  EXPECT_FALSE(fs::exists(path("out/model.safetensors")));
}

TEST_F(Failures, OfWeightFilesHaveExitCode4) {
  const fs::path model = trained();
  const fs::path weights = model / "model.safetensors";
  write_config(path("contrary"), "intermediate_size", 384);
  fs::copy_file(weights, fs::path(path("contrary")) / "model.safetensors");
  expect_failure(train_from(path("contrary")), 4, "expected");
  write_config(path("deeper"), "num_hidden_layers", 5);
  fs::copy_file(weights, fs::path(path("deeper")) / "model.safetensors");
  expect_failure(train_from(path("deeper")), 4, "model.layers.4");
  fs::resize_file(weights, fs::file_size(weights) - 1000);
  expect_failure(train_from(model.string()), 4, "model.safetensors");
  fs::resize_file(weights, 5);
  expect_failure(train_from(model.string()), 4, "model.safetensors");
  fs::resize_file(weights, 0);
  expect_failure(train_from(model.string()), 4, "model.safetensors");
}

TEST_F(Failures, OfDataHaveExitCode4) {
  write_tokens(path("data.safetensors"), 4, kVocabulary + 1, 1);
  expect_failure(train("out"), 4, "expected ids below 512, got 512");
  write_tokens(path("data.safetensors"), 0, kVocabulary, 1);
  expect_failure(train("out"), 4, "data.safetensors");
  fs::remove(path("data.safetensors"));
  expect_failure(train("out"), 4, "data.safetensors");
  scratch_.write("data.safetensors", "");
  expect_failure(train("out"), 4, "data.safetensors");
  EXPECT_FALSE(fs::exists(path("out/model.safetensors")));
}

TEST_F(Failures, OfTheDiskHaveTheCodeOfTheirKind) {
  const std::string tight = spill() + budget(smallest_budget() + kSpread);  // so small that every step reads and writes
  scratch_.write("file", "not a folder");
  expect_failure(train("out", "--spill-dir " + path("file")), 4, "file");
  expect_failure(train("out", "--spill-dir " + path("file/below")), 4, "file/below");
  expect_failure(train("out", "--spill-dir /proc/nowhere"), 4, "/proc/nowhere");  // cannot be made
  expect_failure(train("out", "--spill-dir /proc"), 3, "disk");                   // no byte is free there
  expect_failure(train("out", tight, "SLUICE_FAIL=disk.reserve=ENOSPC"), 3, "spill");
  expect_failure(train("out", tight, "SLUICE_FAIL=disk.open=EPERM"), 4, "spill");
  for (const char* fault : {"disk.read@20=EIO", "disk.write@40=EIO", "disk.complete_read@20=EIO"})
    expect_failure(train("out", tight, std::string("SLUICE_FAIL=") + fault), 4, "spill");
  EXPECT_FALSE(fs::exists(path("out/model.safetensors")));
}

TEST_F(Failures, OfSavingHaveExitCode4AndLeaveNoModel) {
  for (const char* fault : {"checkpoint.write@5=ENOSPC", "file.write@4=ENOSPC", "checkpoint.rename@1=EIO"}) {
    const auto result = train("out", "--save-steps 3", std::string("SLUICE_FAIL=") + fault);
    expect_failure(result, 4, std::string(fault).ends_with("EIO") ? "Input/output error" : "No space left");
    EXPECT_FALSE(fs::exists(path("out/config.json"))) << fault;
  }
  scratch_.write("file", "not a folder");
  expect_failure(train("file/out"), 4, "file/out");
  EXPECT_EQ(train("out", "--save-steps 3").exit_code, 0);
}

}  // namespace
}  // namespace sluice::train
