// Starting the ranks of a job on this machine, and starting them again: `sluice train --nproc N --restarts R`.
#pragma once
#include <optional>
#include <string_view>

namespace sluice::launch {

/// What a job of several ranks, or one that is to be started again, is made of.
struct JobOptions {
  int num_ranks = 1;
  std::string_view library = {};  ///< "mpi": mpirun starts the ranks
  int restarts = 0;               ///< so often the job is started again after a rank was lost
};

/// Runs copies of this program with the same arguments as the ranks of a job (launch/job.h) and returns the job's exit
/// code: 0 when all ranks had it, 75 when some were preempted and none failed, else the code of the first that failed,
/// 5 when a signal ended it; one line says which rank it was and why. Returns nullopt where there is nothing to start:
/// one rank and no restarts; this process is a rank already. With the library "mpi" and no restarts this process
/// becomes mpirun. Throws ConfigError when a launcher has started another number of ranks.
std::optional<int> run_job_unless_launched(const JobOptions& options);

/// Whether a job that ended so may end well when it goes on from its newest checkpoint: after a lost rank or a crash
/// (5), a failed disk (4), a process that a signal ended (128 and above, from mpirun). What comes again does not: wrong
/// settings (2), too little memory (3), numbers that are not finite (6), a bug (70). Nor what was asked for (75, 130).
[[nodiscard]] bool is_worth_a_restart(int exit_code);

}  // namespace sluice::launch
