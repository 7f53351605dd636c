#include "format/model_dir.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "format/inspect.h"
#include "format/presets.h"
#include "format/safetensors_writer.h"
#include "temporary_folder.h"

namespace sluice::format {
namespace {

using nlohmann::json;

TEST(ModelFolder, CopiesTokenizerFilesByteForByte) {
  const TemporaryFolder source;
  const TemporaryFolder target;
  const std::string odd("{ \"version\" :\t1.0}\r\n\0\xff", 22);
  source.write("tokenizer.json", odd);
  source.write("merges.txt", "a b\n");
  source.write("generation_config.json", "{\"temperature\": 0.7 }");
  source.write("notes.txt", "not copied");
  const auto names = write_model_files(target.path(), preset_config("llama-tiny"), source.path(), "BF16");
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "generation_config.json", "tokenizer.json", "merges.txt"}));
  EXPECT_EQ(read_text(target.path() / "tokenizer.json"), odd);
  EXPECT_EQ(read_text(target.path() / "generation_config.json"), "{\"temperature\": 0.7 }");
  EXPECT_EQ(json::parse(read_text(target.path() / "config.json"))["dtype"], "bfloat16");
}

TEST(ModelFolder, GeneratesEverythingFromAGguf) {
  const TemporaryFolder target;
  const auto source = test_data("llama.gguf");
  const auto names = write_model_files(target.path(), read_model_config(source), source, "F32");
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "generation_config.json", "tokenizer.json",
                                             "tokenizer_config.json", "chat_template.jinja"}));
  EXPECT_EQ(read_model_config(target.path()).hidden_size, 64);
  EXPECT_EQ(json::parse(read_text(target.path() / "generation_config.json"))["eos_token_id"], 2);
}

TEST(ModelFolder, WithoutASourceHasConfigsOnly) {
  const TemporaryFolder target;
  EXPECT_EQ(write_model_files(target.path(), preset_config("llama-tiny"), {}, "F32"),
            (std::vector<std::string>{"config.json", "generation_config.json"}));
}

TEST(Inspect, DescribesEachKind) {
  const json gguf = json::parse(inspect(test_data("llama.gguf"), InspectFormat::Json));
  EXPECT_EQ(gguf["kind"], "GGUF, version 3");
  EXPECT_EQ(gguf["num_tensors"], 20);
  EXPECT_EQ(gguf["dtypes"]["Q4_1"], 4);
  EXPECT_EQ(gguf["metadata"]["tokenizer.ggml.tokens"]["length"], 288);
  const json tensors = json::parse(inspect(test_data("python.safetensors"), InspectFormat::Json));
  EXPECT_EQ(tensors["num_tensors"], 8);
  EXPECT_EQ(tensors["metadata"]["note"], "made by the reference writer");
  const std::string text = inspect(test_data("llama.gguf"));
  EXPECT_NE(text.find("blk.0.attn_q.weight"), std::string::npos);
  EXPECT_NE(text.find("Q4_1 [64, 64]"), std::string::npos);
}

TEST(Inspect, DescribesAModelFolder) {
  const TemporaryFolder folder;
  write_model_files(folder.path(), preset_config("llama-tiny"), {}, "F32");
  EXPECT_EQ(json::parse(inspect(folder.path(), InspectFormat::Json))["config"]["hidden_size"], 64);
  ModelWeightsWriter writer(folder.path(), {{"a", "F32", {3}}});
  const std::vector<float> values{1, 2, 3};
  writer.append("a", std::as_bytes(std::span(values)));
  writer.publish();
  const json root = json::parse(inspect(folder.path(), InspectFormat::Json));
  EXPECT_EQ(root["parameters"], 3);
  EXPECT_NE(inspect(folder.path()).find("a "), std::string::npos);
}

TEST(Inspect, SaysWhatItCannotRead) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of([&] { inspect(folder.path()); }).find("nothing to inspect"), std::string::npos);
  EXPECT_NE(message_of([&] { inspect(folder.path() / "x"); }).find("nothing at"), std::string::npos);
  EXPECT_NE(message_of([&] { inspect(folder.write("a.bin", "x")); }).find("cannot inspect"), std::string::npos);
}

}  // namespace
}  // namespace sluice::format
