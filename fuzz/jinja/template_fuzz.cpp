#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::jinja::fuzz_template({reinterpret_cast<const char*>(data), size});
  return 0;
}
