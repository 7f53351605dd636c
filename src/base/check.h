// SLUICE_CHECK: an invariant of ours. A false condition is a bug and throws InternalError; user mistakes use
// the other errors.
#pragma once
#include <sstream>

#include "base/error.h"

namespace sluice::detail {

template <typename... Parts>
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const Parts&... parts) {
  std::ostringstream text;
  text << file << ':' << line << ": check failed: " << condition;
  if constexpr (sizeof...(parts) > 0) {
    text << ": ";
    (text << ... << parts);
  }
  throw InternalError("check", text.str());
}

}  // namespace sluice::detail

#define SLUICE_CHECK(condition, ...)                                                                  \
  do {                                                                                                \
    if (!(condition)) [[unlikely]]                                                                    \
      ::sluice::detail::check_failed(__FILE_NAME__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)
