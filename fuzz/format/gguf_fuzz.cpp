// Fuzzes GGUF files: tables, config, tokenizer and weights.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::format::fuzz_gguf(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
