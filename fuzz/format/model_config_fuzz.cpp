// Fuzzes config.json, and that what is accepted is written back readable.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::format::fuzz_model_config(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
