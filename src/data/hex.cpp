#include "data/hex.h"

#include <cstdio>

namespace sluice::data {

std::string to_hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace sluice::data
