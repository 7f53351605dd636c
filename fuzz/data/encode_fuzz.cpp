#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::data::fuzz_encode(sluice::data::as_text(data, size));
  return 0;
}
