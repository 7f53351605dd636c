// Loads what an NVIDIA card needs, and only when it is asked for: some 240 MiB of this process's memory.
#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/plugin.h"
#include "tier/cuda_plugin.h"
#include "tier/device.h"

namespace sluice::tier {
namespace {

namespace fs = std::filesystem;
constexpr const char* kLibrary = "libtorch_cuda.so";

/// Where this process has its libtorch_cpu.so from; empty: it has none.
fs::path torch_folder() {
  void* loaded = dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  if (loaded == nullptr) return {};
  const link_map* map = nullptr;
  const int failed = dlinfo(loaded, RTLD_DI_LINKMAP, static_cast<void*>(&map));
  dlclose(loaded);
  return failed != 0 || map == nullptr ? fs::path() : fs::path(map->l_name).parent_path();
}

/// The library beside the torch that is loaded, else that of $TORCH_HOME; empty: there is none.
fs::path find_library() {
  std::vector<fs::path> folders = {torch_folder()};
  if (const char* home = std::getenv("TORCH_HOME"); home != nullptr) folders.push_back(fs::path(home) / "lib");
  std::error_code ignored;
  for (const fs::path& folder : folders) {
    if (!folder.empty() && fs::exists(folder / kLibrary, ignored)) return folder / kLibrary;
  }
  return {};
}

void load_library() {
  const fs::path path = find_library();
  if (path.empty()) {
    throw ConfigError(
        "device", "torch's CUDA library is not here",
        std::string("expected ") + kLibrary + " in " + torch_folder().string() + " or $TORCH_HOME/lib, got none",
        "try tools/setup.sh --cuda");
  }
  // Without it products may sum in another order from run to run.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2:16:8", 0);
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr)  // stays loaded: torch keeps pointers into it
    throw ConfigError("device", "torch's CUDA library cannot be loaded", dlerror(), "try tools/setup.sh --cuda");
}

}  // namespace

std::unique_ptr<Device> make_cuda_device(const DeviceOptions& options) {
  load_library();
  void* entry = load_plugin("device", "cuda", "sluice_open_cuda", false);
  return std::unique_ptr<Device>(reinterpret_cast<decltype(&sluice_open_cuda)>(entry)(options));
}

}  // namespace sluice::tier
