#include "launch/launcher.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "launch/environment.h"
#include "launch/job.h"

namespace sluice::launch {
namespace {

std::vector<std::string> own_arguments() {
  std::vector<std::string> arguments;
  std::ifstream file("/proc/self/cmdline");
  const std::string words{std::istreambuf_iterator<char>(file), {}};
  for (std::size_t begin = 0, end; (end = words.find('\0', begin)) != std::string::npos; begin = end + 1) {
    arguments.push_back(words.substr(begin, end - begin));
  }
  return arguments;
}

/// MPI's ranks are started by MPI's launcher. Not bound to single cores: a rank computes with several threads.
JobCommand mpi_command(int num_ranks) {
  std::error_code code;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", code);
  JobCommand command{
      .program = "mpirun",
      .words = {"mpirun", "-np", std::to_string(num_ranks), "--oversubscribe", "--bind-to", "none", program},
      .num_ranks = num_ranks,
      .are_ranks = false};
  const std::vector<std::string> arguments = own_arguments();
  command.words.insert(command.words.end(), arguments.begin() + 1, arguments.end());
  if (geteuid() == 0) {
    // Who is root here (in a container) has said so already.
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
  }
  return command;
}

[[noreturn]] void become(JobCommand command) {
  std::vector<char*> pointers;
  for (std::string& word : command.words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execvp(command.program.c_str(), pointers.data());
  throw ConfigError("launch", "mpirun cannot be started", std::strerror(errno),
                    "install Open MPI (tools/setup.sh), or use --collective gloo");
}

std::string what_next(bool is_worth_it, int restart, int restarts) {
  if (is_worth_it && restart <= restarts)
    return "restart " + std::to_string(restart) + " of " + std::to_string(restarts) + " from the newest checkpoint";
  return restarts > 0 && !is_worth_it ? "which a restart would not change"
                                      : "start again to resume from the newest checkpoint";
}

int run_with_restarts(const JobCommand& command, int restarts) {
  for (int restart = 1;; ++restart) {
    const JobEnd end = run_job(command);
    const bool is_worth_it = is_worth_a_restart(end.code) && !end.was_stopped;
    if (!end.why.empty()) log_info("[launch] " + end.why + ", " + what_next(is_worth_it, restart, restarts));
    if (!is_worth_it || restart > restarts) return end.code;
  }
}

}  // namespace

bool is_worth_a_restart(int exit_code) {
  constexpr int kBySignal = 128;
  return exit_code == static_cast<int>(ExitCode::Communication) || exit_code == static_cast<int>(ExitCode::Io) ||
         (exit_code >= kBySignal && exit_code != static_cast<int>(ExitCode::Interrupted));
}

std::optional<int> run_job_unless_launched(const JobOptions& options) {
  const Environment environment = detect();
  if (process_variable(kListenerVariable)) return std::nullopt;  // started here, perhaps as the only rank
  const bool launched = environment.launcher != Launcher::None;
  if (launched && options.restarts > 0 && environment.place.rank == 0)
    log_warning("--restarts has no effect under " + std::string(launcher_name(environment.launcher)) +
                ", which starts ranks again itself if it is told to");
  if (options.num_ranks > 1 && launched && environment.place.world_size != options.num_ranks) {
    throw ConfigError("launch", "--nproc contradicts " + std::string(launcher_name(environment.launcher)),
                      "expected " + std::to_string(environment.place.world_size) + " ranks, got --nproc " +
                          std::to_string(options.num_ranks),
                      "leave --nproc out");
  }
  if (launched || (options.num_ranks <= 1 && options.restarts == 0)) return std::nullopt;
  const bool by_mpi = options.library == "mpi" && options.num_ranks > 1;
  if (by_mpi && options.restarts == 0) become(mpi_command(options.num_ranks));
  const JobCommand command =
      by_mpi ? mpi_command(options.num_ranks)
             : JobCommand{.program = "/proc/self/exe", .words = own_arguments(), .num_ranks = options.num_ranks};
  return run_with_restarts(command, options.restarts);
}

}  // namespace sluice::launch
