#include "data/hex.h"

#include "base/formatted.h"

namespace sluice::data {

std::string to_hex(std::uint64_t value) { return formatted("%016llx", static_cast<unsigned long long>(value)); }

}  // namespace sluice::data
