#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::data::fuzz_tokenizer_json(sluice::data::as_text(data, size));
  return 0;
}
