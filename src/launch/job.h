// The processes of a job on this machine, from their start to the end of the last.
#pragma once
#include <string>
#include <vector>

namespace sluice::launch {

struct JobCommand {
  std::string program;             ///< a path, or a name looked up in PATH
  std::vector<std::string> words;  ///< its arguments, its own name first
  int num_ranks = 1;
  bool are_ranks = true;  ///< a process for each rank; false: one process, which starts the ranks by itself
};

struct JobEnd {
  int code = 0;              ///< 5 when a signal was the cause
  std::string why = {};      ///< of a job that failed: which rank, how, its last line
  bool was_stopped = false;  ///< by a signal to this process
};

/// Starts the processes, each rank with its place in the environment, and returns when all have ended. Ranks find each
/// other on loopback, through a socket that rank 0 inherits and a secret made here. Rank 0 has this process's output;
/// the lines of the others go to standard error behind "[rank R] ".
///
/// The first rank that fails ends the others: they have two seconds to say what they miss, then they are killed.
/// SIGTERM and SIGINT go to all. The processes end when this one does. Throws IoError when one cannot be started.
JobEnd run_job(const JobCommand& command);

}  // namespace sluice::launch
