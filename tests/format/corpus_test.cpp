// Replays the seeds of the fuzzers, so that every build (and each sanitizer) sees them.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "../../fuzz/format/targets.h"

namespace sluice::format {
namespace {

template <typename Target>
void replay(const std::string& name, Target target) {
  const auto folder = std::filesystem::path(SLUICE_TEST_DATA) / "../../fuzz/format/corpus" / name;
  int num_replayed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::stringstream bytes;
    bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    SCOPED_TRACE(entry.path().string());
    EXPECT_NO_THROW(target(bytes.str()));
    ++num_replayed;
  }
  EXPECT_GT(num_replayed, 0);
}

TEST(FuzzCorpus, Safetensors) { replay("safetensors", fuzz_safetensors); }
TEST(FuzzCorpus, ShardIndex) { replay("shard_index", fuzz_shard_index); }
TEST(FuzzCorpus, ModelConfig) { replay("model_config", fuzz_model_config); }
TEST(FuzzCorpus, Hjson) { replay("hjson", fuzz_hjson); }
TEST(FuzzCorpus, Gguf) { replay("gguf", fuzz_gguf); }

}  // namespace
}  // namespace sluice::format
