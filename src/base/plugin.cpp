#include "base/plugin.h"

#include <dlfcn.h>

#include <filesystem>

#include "base/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

/// Beside the program, or in the lib folder next to its bin; empty when it is in neither.
fs::path find_plugin(std::string_view name) {
  std::error_code code;
  const fs::path folder = fs::read_symlink("/proc/self/exe", code).parent_path();
  const std::string file = "sluice_" + std::string(name) + ".so";
  for (const fs::path& candidate : {folder.parent_path() / "lib" / file, folder / file}) {
    if (fs::exists(candidate, code)) return candidate;
  }
  return {};
}

}  // namespace

bool plugin_exists(std::string_view name) { return !find_plugin(name).empty(); }

void* load_plugin(std::string_view component, const std::string& name, const char* entry, bool shares_symbols) {
  const fs::path path = find_plugin(name);
  if (path.empty()) {
    throw ConfigError(component, "this build has no " + name, "expected sluice_" + name + ".so in ../lib, got none",
                      "run tools/setup.sh and build again");
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | (shares_symbols ? RTLD_GLOBAL : RTLD_LOCAL));  // stays loaded
  if (library == nullptr)
    throw ConfigError(component, name + " cannot be loaded", dlerror(), "run tools/setup.sh and build again");
  void* symbol = dlsym(library, entry);
  if (symbol == nullptr)
    throw ConfigError(component, name + " has no entry", dlerror(), "build program and plugins together");
  return symbol;
}

}  // namespace sluice
