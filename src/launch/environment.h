// Which rank this process is: read from what a launcher put into the environment, in the order of those that say it
// most surely.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "collective/library.h"

namespace sluice::launch {

enum class Launcher { None, Sluice, Torchrun, Mpirun, Pmi, Slurm };
[[nodiscard]] std::string_view launcher_name(Launcher launcher);

struct Environment {
  Launcher launcher = Launcher::None;
  collective::Place place;  ///< one rank when there is no launcher
};

/// A variable of the environment, or nullopt. Tests give their own.
using Lookup = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_variable(const char* name);

/// `sluice train --nproc`, torchrun (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), mpirun
/// (OMPI_COMM_WORLD_*), other MPIs (PMI_RANK, PMI_SIZE), Slurm's srun (SLURM_PROCID, SLURM_STEP_NUM_TASKS, ...).
/// Variables of a launcher that started one process only count as none. Throws ConfigError when a launcher's variables
/// contradict each other.
Environment detect(const Lookup& lookup = process_variable);

/// The first host of a Slurm list: "gpu[03-05,9],head" gives "gpu03".
std::string first_slurm_host(std::string_view nodes);

/// What `sluice train --nproc` puts into a rank's environment beside torchrun's names.
inline constexpr const char* kSecretVariable = "SLUICE_JOB_SECRET";
inline constexpr const char* kListenerVariable = "SLUICE_LISTENER";

}  // namespace sluice::launch
