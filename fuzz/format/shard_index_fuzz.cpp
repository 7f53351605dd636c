// Fuzzes model.safetensors.index.json.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::format::fuzz_shard_index(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
