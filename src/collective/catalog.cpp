// Libraries between ranks: one row each.
#include <array>

#include "base/error.h"
#include "base/plugin.h"
#include "collective/endpoint.h"
#include "collective/library.h"
#include "collective/plugin.h"

namespace sluice::collective {
namespace {

std::unique_ptr<Transport> connect_by(const char* plugin, bool shares_symbols, const Place& place,
                                      const Limits& limits) {
  void* entry = load_plugin("collective", plugin, "sluice_connect", shares_symbols);
  return std::unique_ptr<Transport>(reinterpret_cast<decltype(&sluice_connect)>(entry)(place, limits));
}

std::unique_ptr<Transport> connect_gloo(const Place& place, const Limits& limits) {
  return connect_by("gloo", false, place, limits);
}

std::unique_ptr<Transport> connect_mpi(const Place& place, const Limits& limits) {
  // Open MPI loads components that look for its symbols among the global ones.
  return connect_by("mpi", true, place, limits);
}

std::unique_ptr<Transport> connect_nccl(const Place&, const Limits&) {
  throw ConfigError("collective", "nccl is not available", "expected NVIDIA GPUs that hold the data, got host memory",
                    "use --collective gloo or mpi");
}

constexpr std::array<LibraryRow, 3> kLibraries = {{
    {"gloo", "TCP, inside libtorch: any number of machines", {connect_gloo, [] { return plugin_exists("gloo"); }}},
    {"mpi", "Open MPI, under mpirun", {connect_mpi, [] { return plugin_exists("mpi"); }}},
    {"nccl", "NVIDIA GPUs", {connect_nccl, [] { return false; }}},
}};

/// A job of one rank needs no library.
class AloneTransport : public Transport {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  std::unique_ptr<Transfer> send(const void*, std::size_t, int, int) override {
    throw PeerLost("there is no other rank");
  }
  std::unique_ptr<Transfer> receive(void*, std::size_t, int, int) override { throw PeerLost("there is no other rank"); }
};

}  // namespace

std::span<const LibraryRow> library_catalog() { return kLibraries; }

std::unique_ptr<Communicator> connect_world(std::string_view name, const Place& place, const Limits& limits) {
  const LibraryRow& row = find_row(library_catalog(), "collective", name);
  if (place.world_size == 1) return make_world(std::make_unique<AloneTransport>(), limits);
  return make_world(row.make.connect(place, limits), limits);
}

}  // namespace sluice::collective
