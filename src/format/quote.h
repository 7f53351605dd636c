// Names from files that are not trusted, made fit for a one-line message.
#pragma once
#include <string>
#include <string_view>

namespace sluice::format {

/// 'name' with bytes that are not printable ASCII replaced by '?', cut after 100 characters.
inline std::string quote(std::string_view name) {
  constexpr std::size_t kLongest = 100;
  std::string text = "'";
  for (const char c : name.substr(0, kLongest)) text += c >= 0x20 && c < 0x7f ? c : '?';
  return text + (name.size() > kLongest ? "...'" : "'");
}

/// Whether `name` is free of control characters and has 1 to `longest` bytes.
inline bool is_clean_name(std::string_view name, std::size_t longest) {
  if (name.empty() || name.size() > longest) return false;
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  return true;
}

}  // namespace sluice::format
