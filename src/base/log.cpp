#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

namespace sluice {
namespace {

void write_line(std::string_view prefix, std::string_view message) {
  static std::mutex mutex;
  const std::string line = std::string(prefix) + std::string(message) + "\n";
  const std::lock_guard lock(mutex);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void log_info(std::string_view message) { write_line("sluice: ", message); }

void log_warning(std::string_view message) {
  write_line(colours_wanted() ? "sluice: \033[33mwarning:\033[0m " : "sluice: warning: ", message);
}

bool colours_wanted() { return ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr; }

}  // namespace sluice
