#include "launch/world.h"

#include "base/log.h"

namespace sluice::launch {
namespace {

std::string choose_library(std::string_view asked, Launcher launcher) {
  if (!asked.empty()) return std::string(asked);
  const bool is_mpi = launcher == Launcher::Mpirun || launcher == Launcher::Pmi;
  const auto& mpi = find_row(collective::library_catalog(), "collective", "mpi");
  return is_mpi && mpi.make.is_installed() ? "mpi" : "gloo";
}

}  // namespace

World open_world(std::string_view library, const collective::Limits& limits, const Environment& environment) {
  const collective::Place& place = environment.place;
  const std::string name = choose_library(library, environment.launcher);
  if (place.world_size > 1 && place.rank == 0) {
    const bool is_mpi = name == "mpi";
    log_info(std::to_string(place.world_size) + " ranks (" + std::to_string(place.local_size) +
             " on this machine), started by " + std::string(launcher_name(environment.launcher)) +
             ", talking through " + name +
             (is_mpi ? "" : " at " + place.master_address + ":" + std::to_string(place.master_port)));
  }
  return {environment, collective::connect_world(name, place, limits)};
}

}  // namespace sluice::launch
