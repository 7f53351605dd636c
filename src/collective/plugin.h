// The entry of a plugin: lib/sluice_<name>.so, built with the program and loaded when its library is asked for, so that
// nothing else needs what it links.
#pragma once
#include "collective/library.h"

extern "C" {

/// Library::connect. C++ objects and exceptions cross this boundary: both sides come from one build.
__attribute__((visibility("default"))) sluice::collective::Transport* sluice_connect(
    const sluice::collective::Place& place, const sluice::collective::Limits& limits);
}

namespace sluice::collective {

/// Whether the plugin called `name` stands beside the program.
bool plugin_exists(std::string_view name);

/// Loads it, once. `shares_symbols`: libraries that load parts of their own need to see theirs. Throws ConfigError.
decltype(&sluice_connect) load_plugin(const std::string& name, bool shares_symbols);

}  // namespace sluice::collective
