#include "base/error.h"

#include <cstring>

namespace sluice {
namespace {

std::string one_line(std::string_view component, std::string_view what_failed, std::string_view expected_got,
                     std::string_view try_this) {
  std::string text = "[" + std::string(component) + "] " + std::string(what_failed);
  if (!expected_got.empty()) text += ": " + std::string(expected_got);
  if (!try_this.empty()) text += "; " + std::string(try_this);
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace

Error::Error(ExitCode code, std::string_view component, std::string_view what_failed, std::string_view expected_got,
             std::string_view try_this)
    : std::runtime_error(one_line(component, what_failed, expected_got, try_this)), code_(code) {}

void throw_errno(std::string_view component, std::string_view operation, std::string_view path, int error_number,
                 std::string_view try_this) {
  throw IoError(
      component, std::string(operation) + " failed",
      std::string(path) + ": " + std::strerror(error_number) + " (errno " + std::to_string(error_number) + ")",
      try_this);
}

}  // namespace sluice
