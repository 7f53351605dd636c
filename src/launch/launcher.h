// Starting the ranks of a job on this machine and watching over them: `sluice train --nproc N`.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::launch {

/// Runs N copies of this program with the same arguments, each with its rank in the environment, and returns when all
/// have ended. Ranks find each other on loopback, through a socket that rank 0 inherits and a secret made here. Rank 0
/// has this process's output; the lines of the others go to standard error behind "[rank R] ".
///
/// The first rank that fails ends the others: they have two seconds to say what they miss, then they are killed, and
/// one line says which rank it was and why. SIGTERM and SIGINT go to all ranks. The ranks end when this process does.
///
/// Returns 0 when all ranks did, 75 when some were preempted and none failed; else the code of the first that failed, 5
/// when a signal ended it. Throws IoError when a process cannot be started.
int run_ranks(int num_ranks, const std::vector<std::string>& arguments);

/// What `--nproc` asks for: runs the ranks and returns the job's exit code, or nullopt where there is nothing to start
/// (one rank; this process is a rank already). With the library "mpi" this process becomes mpirun. Throws ConfigError
/// when a launcher has started another number of ranks.
std::optional<int> run_ranks_unless_launched(int num_ranks, std::string_view library);

}  // namespace sluice::launch
