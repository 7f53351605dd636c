// Fingerprints as text.
#pragma once
#include <cstdint>
#include <string>

namespace sluice::data {

/// 16 hexadecimal digits.
std::string to_hex(std::uint64_t value);

}  // namespace sluice::data
