#include "jinja/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>
#include <utility>

namespace sluice::jinja {
namespace {

char32_t code_of(std::string_view character) {
  utf8proc_int32_t code = -1;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                   static_cast<utf8proc_ssize_t>(character.size()), &code);
  return code < 0 ? static_cast<unsigned char>(character[0]) : static_cast<char32_t>(code);
}

// str.isspace of Python.
bool is_space(std::string_view character) {
  const char32_t c = code_of(character);
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return character.size() > 1 && (c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
                                  c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000);
}

template <typename Map>
std::string mapped(std::string_view text, const Map& map) {
  std::string result;
  for (const std::string_view character : characters(text)) {
    std::array<utf8proc_uint8_t, 4> bytes{};
    const char32_t code = code_of(character);
    const char32_t changed = map(code);
    if (changed == code) {
      result += character;
    } else {
      const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(changed), bytes.data());
      result.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
    }
  }
  return result;
}

char32_t to_upper(char32_t code) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
char32_t to_lower(char32_t code) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    utf8proc_int32_t code = 0;
    const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &code);
    const std::size_t length = size < 1 ? 1 : static_cast<std::size_t>(size);
    result.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return result;
}

std::string strip(std::string_view text, Side side, std::optional<std::string_view> set) {
  const auto all = characters(text);
  const auto stripped = [&](std::string_view character) {
    return set ? set->find(character) != std::string_view::npos : is_space(character);
  };
  std::size_t first = 0, last = all.size();
  while (side != Side::Right && first < last && stripped(all[first])) ++first;
  while (side != Side::Left && last > first && stripped(all[last - 1])) --last;
  std::string result;
  for (std::size_t i = first; i < last; ++i) result += all[i];
  return result;
}

std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, std::int64_t limit) {
  std::vector<std::string> parts;
  if (separator) {
    for (std::size_t at = text.find(*separator); at != std::string_view::npos && limit != 0;
         at = text.find(*separator)) {
      parts.emplace_back(text.substr(0, at));
      text.remove_prefix(at + separator->size());
      --limit;
    }
    parts.emplace_back(text);
    return parts;
  }
  std::string part;
  const auto all = characters(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!is_space(all[i])) {
      if (limit == 0 && part.empty()) {
        for (; i < all.size(); ++i) part += all[i];
        break;
      }
      part += all[i];
    } else if (!part.empty()) {
      parts.push_back(std::move(part));
      part.clear();
      --limit;
    }
  }
  if (!part.empty()) parts.push_back(std::move(part));
  return parts;
}

std::vector<std::string> split_right(std::string_view text, std::string_view separator, std::int64_t limit) {
  std::vector<std::string> parts;
  for (std::size_t at = text.rfind(separator); at != std::string_view::npos && limit != 0; at = text.rfind(separator)) {
    parts.emplace_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
    --limit;
  }
  parts.emplace_back(text);
  std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of("\r\n");
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                    std::size_t max_bytes) {
  std::string result;
  const auto append = [&](std::string_view part) {
    if (result.size() + part.size() > max_bytes) throw std::length_error("the text grows too long");
    result += part;
  };
  if (from.empty()) {
    for (const std::string_view character : characters(text)) {
      if (limit-- != 0) append(to);
      append(character);
    }
    if (limit != 0) append(to);
    return result;
  }
  for (std::size_t at = text.find(from); at != std::string_view::npos && limit != 0; at = text.find(from)) {
    append(text.substr(0, at));
    append(to);
    text.remove_prefix(at + from.size());
    --limit;
  }
  append(text);
  return result;
}

std::string upper(std::string_view text) { return mapped(text, to_upper); }
std::string lower(std::string_view text) { return mapped(text, to_lower); }

std::string capitalize(std::string_view text) {
  bool first = true;
  return mapped(text, [&](char32_t code) { return std::exchange(first, false) ? to_upper(code) : to_lower(code); });
}

std::string title(std::string_view text) {
  bool inside = false;
  return mapped(text, [&](char32_t code) {
    const bool letter = to_upper(code) != code || to_lower(code) != code;
    const bool was_inside = std::exchange(inside, letter);
    return was_inside ? to_lower(code) : to_upper(code);
  });
}

std::string format_time(const std::string& format, std::int64_t seconds_since_epoch) {
  if (format.empty()) return "";
  const std::time_t time = seconds_since_epoch;
  std::tm parts{};
  localtime_r(&time, &parts);
  std::array<char, 512> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), format.c_str(), &parts));
}

}  // namespace sluice::jinja
