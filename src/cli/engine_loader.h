// The engine from the front's side: loaded on first use, found beside the program.
#pragma once
#include <string_view>

#include "recipe/settings.h"

namespace sluice::cli {

/// Whether libsluice_engine.so is there at all; loads nothing.
[[nodiscard]] bool engine_is_installed();

/// Runs a verb in the engine and returns its exit code; a failure has printed its line. Throws ConfigError when the
/// engine is missing or cannot be loaded.
int run_in_engine(std::string_view verb, const recipe::Settings& settings);

}  // namespace sluice::cli
