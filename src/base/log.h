// Progress and warnings on standard error; standard output is for results only.
#pragma once
#include <string_view>

namespace sluice {

/// One line "sluice: message" on standard error. Thread-safe.
void log_info(std::string_view message);

/// One line "sluice: warning: message" on standard error. Thread-safe.
void log_warning(std::string_view message);

/// Whether standard error is a terminal that wants colours (NO_COLOR is honoured).
bool colours_wanted();

}  // namespace sluice
