// Plugins: modules lib/sluice_<name>.so, built with the program and loaded when what they link is asked for, so that
// nothing else needs it.
#pragma once
#include <string>
#include <string_view>

namespace sluice {

/// Whether the plugin called `name` stands beside the program.
bool plugin_exists(std::string_view name);

/// Loads it, once, and gives the address of its C function `entry`; C++ objects and exceptions cross that boundary,
/// because both sides come from one build. `shares_symbols`: libraries that load parts of their own need to see its
/// symbols. Throws ConfigError in the name of `component`.
void* load_plugin(std::string_view component, const std::string& name, const char* entry, bool shares_symbols);

}  // namespace sluice
