// Fuzzes Hjson, which configuration files of DeepSpeed are read as.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::format::fuzz_hjson(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
