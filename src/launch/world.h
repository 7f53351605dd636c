// From the environment to the communicator of all ranks.
#pragma once
#include <memory>
#include <string_view>

#include "collective/communicator.h"
#include "launch/environment.h"

namespace sluice::launch {

struct World {
  Environment environment;
  std::unique_ptr<collective::Communicator> communicator;
};

/// Joins the job that the environment names, or is a world of one; rank 0 says in one line what was found. `library`:
/// a name of collective::library_catalog(), empty: mpi under an MPI's launcher where this build has it, else gloo.
/// Throws CommError and ConfigError as collective::connect_world.
World open_world(std::string_view library, const collective::Limits& limits = {},
                 const Environment& environment = detect());

}  // namespace sluice::launch
