#include "cli/engine_loader.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "base/error.h"
#include "cli/engine.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;
constexpr const char* kLibrary = "libsluice_engine.so";

/// The engine beside the program or in the lib folder next to its bin; empty when it is in neither.
fs::path find_engine() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  const fs::path folder = program.parent_path();
  for (const fs::path& candidate : {folder.parent_path() / "lib" / kLibrary, folder / kLibrary}) {
    if (fs::exists(candidate, code)) return candidate;
  }
  return {};
}

using RunFunction = decltype(&sluice_run);

// libgomp reads this once, when it is loaded. Its default lets threads spin for milliseconds before they sleep: nothing
// gained within a step, and cores taken from the disk lanes and from other programs (bench/results/thread_waiting.md).
void shorten_spinning() {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "3000", 0);
}

RunFunction load_engine() {
  const fs::path path = find_engine();
  if (path.empty()) {
    throw ConfigError("cli.engine", "this build has no engine",
                      std::string("expected ") + kLibrary + " in ../lib, got none", "build with SLUICE_TORCH=ON");
  }
  shorten_spinning();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded: libtorch does not unload
  if (library == nullptr) {
    throw ConfigError("cli.engine", "the engine cannot be loaded", dlerror(), "run tools/setup.sh and build again");
  }
  void* symbol = dlsym(library, "sluice_run");
  if (symbol == nullptr) {
    throw ConfigError("cli.engine", "the engine has no entry", dlerror(), "build program and engine together");
  }
  return reinterpret_cast<RunFunction>(symbol);
}

}  // namespace

bool engine_is_installed() { return !find_engine().empty(); }

int run_in_engine(std::string_view verb, const recipe::Settings& settings) {
  static const RunFunction run = load_engine();
  std::cout.flush();
  std::array<char, 4096> error = {};
  const std::string text = recipe::to_json(settings);
  const int code = run(std::string(verb).c_str(), text.c_str(), error.data(), error.size());
  if (code != 0 && error[0] != '\0') std::cerr << "sluice: " << error.data() << std::endl;
  return code;
}

}  // namespace sluice::cli
