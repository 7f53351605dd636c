#include "launch/job.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "launch/environment.h"

namespace sluice::launch {
namespace {

using Clock = std::chrono::steady_clock;

// Long enough for a rank to notice a lost one and to say so, short enough for the promise of five seconds.
constexpr std::chrono::milliseconds kLastWords{2000};

std::string make_secret() {
  std::array<unsigned char, 16> bytes = {};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw_errno("launch", "getrandom", "16 bytes", errno);
  }
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

/// A socket on loopback at any free port. It survives exec; only rank 0 keeps it.
int listen_on_loopback(int& port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener < 0 || bind(listener, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      listen(listener, 1024) != 0 || getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw_errno("launch", "listen", "127.0.0.1", errno);
  }
  port = ntohs(address.sin_port);
  return listener;
}

struct Rank {
  pid_t process = -1;
  int output = -1;   ///< its pipe; -1 for rank 0 and after its end
  std::string line;  ///< what has come without a line break
  std::string last_line;
  std::optional<int> status;
  bool ended_itself = false;  ///< before the launcher killed anyone
};

std::string describe(const std::string& who, int status) {
  if (WIFSIGNALED(status)) {
    return who + " was killed by signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")";
  }
  return who + " ended with exit code " + std::to_string(WEXITSTATUS(status));
}

class Job {
 public:
  explicit Job(const JobCommand& command)
      : command_(command), ranks_(static_cast<std::size_t>(command.are_ranks ? command.num_ranks : 1)) {}

  ~Job() {
    kill_all(SIGKILL);
    for (Rank& rank : ranks_) {
      if (rank.process > 0 && !rank.status) waitpid(rank.process, nullptr, 0);
      if (rank.output >= 0) close(rank.output);
    }
    if (signals_ >= 0) close(signals_);
    sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  }

  JobEnd run() {
    sigset_t mask;
    sigemptyset(&mask);
    for (const int number : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&mask, number);
    sigprocmask(SIG_BLOCK, &mask, &old_mask_);
    signals_ = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) throw_errno("launch", "signalfd", "signals", errno);
    int port = 0;
    const int listener = listen_on_loopback(port);
    const std::string secret = make_secret();
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) start(static_cast<int>(rank), listener, port, secret);
    close(listener);
    while (num_running() > 0) watch();
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) drain(static_cast<int>(rank));
    return end();
  }

 private:
  void start(int rank, int listener, int port, const std::string& secret) {
    std::array<int, 2> ends = {-1, -1};
    if (rank > 0 && pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("launch", "pipe", "a rank's output", errno);
    std::vector<std::string> variables;
    if (command_.are_ranks)
      variables = {
          "RANK=" + std::to_string(rank),
          "LOCAL_RANK=" + std::to_string(rank),
          "WORLD_SIZE=" + std::to_string(ranks_.size()),
          "LOCAL_WORLD_SIZE=" + std::to_string(ranks_.size()),
          "MASTER_ADDR=127.0.0.1",
          "MASTER_PORT=" + std::to_string(port),
          std::string(kSecretVariable) + "=" + secret,
          // The others need no socket, but the variable says who launched them.
          std::string(kListenerVariable) + "=" + std::to_string(listener),
      };
    std::vector<char*> words;
    for (const std::string& word : command_.words) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const pid_t parent = getpid();
    const pid_t process = fork();
    if (process < 0) throw_errno("launch", "fork", "rank " + std::to_string(rank), errno);
    if (process == 0) {
      become_rank(rank, parent, listener, ends[1], variables, words);
    }
    Rank& entry = ranks_[static_cast<std::size_t>(rank)];
    entry.process = process;
    if (rank > 0) {
      close(ends[1]);
      entry.output = ends[0];
      fcntl(entry.output, F_SETFL, O_NONBLOCK);
    }
  }

  /// In the child. Its own group: Ctrl-C reaches the launcher alone, which passes it on once.
  [[noreturn]] void become_rank(int rank, pid_t parent, int listener, int output, std::vector<std::string>& variables,
                                std::vector<char*>& words) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(static_cast<int>(ExitCode::Communication));
    sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    for (std::string& variable : variables) putenv(variable.data());
    if (rank > 0) {
      close(listener);
      dup2(output, STDOUT_FILENO);
      dup2(output, STDERR_FILENO);
    }
    if (!command_.are_ranks) {  // in a group of its own it may not read from the terminal
      const int nothing = open("/dev/null", O_RDONLY);
      dup2(nothing, STDIN_FILENO);
    }
    execvp(command_.program.c_str(), words.data());
    dprintf(STDERR_FILENO, "sluice: [launch] %s cannot be started: %s\n", command_.program.c_str(), strerror(errno));
    _exit(static_cast<int>(ExitCode::Internal));
  }

  [[nodiscard]] std::size_t num_running() const {
    std::size_t number = 0;
    for (const Rank& rank : ranks_) number += rank.status ? 0 : 1;
    return number;
  }

  void kill_all(int signal_number) {
    for (const Rank& rank : ranks_) {
      if (rank.process > 0 && !rank.status) kill(rank.process, signal_number);
    }
  }

  void watch() {
    std::vector<pollfd> events = {{signals_, POLLIN, 0}};
    for (const Rank& rank : ranks_) events.push_back({rank.output, POLLIN, 0});  // -1 is passed over
    int timeout = -1;
    if (first_failed_ >= 0 && !is_killed_) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(kill_at_ - Clock::now()).count();
      timeout = left > 0 ? static_cast<int>(left) + 1 : 0;
    }
    poll(events.data(), events.size(), timeout);
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (events[rank + 1].revents != 0) drain(static_cast<int>(rank));
    }
    if ((events[0].revents & POLLIN) != 0) take_signals();
    reap();
    if (first_failed_ >= 0 && !is_killed_ && Clock::now() >= kill_at_) {
      is_killed_ = true;
      kill_all(SIGKILL);  // a stopped process ends by no other signal
    }
  }

  void take_signals() {
    signalfd_siginfo info = {};
    while (read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD) continue;
      was_stopped_ = true;
      kill_all(static_cast<int>(info.ssi_signo));
    }
  }

  void reap() {
    for (std::size_t index = 0; index < ranks_.size(); ++index) {
      Rank& rank = ranks_[index];
      int status = 0;
      if (rank.status || waitpid(rank.process, &status, WNOHANG) != rank.process) continue;
      rank.status = status;
      rank.ended_itself = !is_killed_;
      const bool is_good = WIFEXITED(status) &&
                           (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == static_cast<int>(ExitCode::Preempted));
      if (is_good || first_failed_ >= 0) continue;
      first_failed_ = static_cast<int>(index);
      kill_at_ = Clock::now() + kLastWords;
    }
  }

  /// What a rank has written, line by line.
  void drain(int index) {
    Rank& rank = ranks_[static_cast<std::size_t>(index)];
    std::array<char, 4096> bytes;
    ssize_t size = 0;
    while (rank.output >= 0 && (size = read(rank.output, bytes.data(), bytes.size())) > 0) {
      rank.line.append(bytes.data(), static_cast<std::size_t>(size));
      for (std::size_t end; (end = rank.line.find('\n')) != std::string::npos; rank.line.erase(0, end + 1)) {
        print_line(index, rank.line.substr(0, end));
      }
    }
    if (rank.output >= 0 && size == 0) {
      if (!rank.line.empty()) print_line(index, rank.line);
      rank.line.clear();
      close(rank.output);
      rank.output = -1;
    }
  }

  void print_line(int index, const std::string& line) {
    const std::string text = "[rank " + std::to_string(index) + "] " + line + "\n";
    // A full pipe behind us must not end the job.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    ranks_[static_cast<std::size_t>(index)].last_line = line;
  }

  [[nodiscard]] std::string name_of(int index) const {
    if (!command_.are_ranks) return command_.program;
    return command_.num_ranks == 1 ? "the run" : "rank " + std::to_string(index);
  }

  JobEnd end() {
    if (first_failed_ < 0) {
      for (const Rank& rank : ranks_) {
        if (WEXITSTATUS(*rank.status) != 0) return {.code = WEXITSTATUS(*rank.status), .was_stopped = was_stopped_};
      }
      return {.was_stopped = was_stopped_};
    }
    const int index = find_culprit();
    const Rank& culprit = ranks_[static_cast<std::size_t>(index)];
    const int status = *culprit.status;
    std::string why = describe(name_of(index), status);
    if (!culprit.last_line.empty()) why += ", its last line: " + culprit.last_line;
    return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::Communication),
            .why = command_.num_ranks == 1 ? why
                                           : why + "; all " + std::to_string(command_.num_ranks) + " ranks have ended",
            .was_stopped = was_stopped_};
  }

  /// A rank that ended because it missed another is not the one that failed.
  [[nodiscard]] int find_culprit() const {
    constexpr int kMissedAnother = static_cast<int>(ExitCode::Communication);
    const auto follows = [](const Rank& rank) {
      const int code = WIFEXITED(*rank.status) ? WEXITSTATUS(*rank.status) : -1;
      return code == 0 || code == kMissedAnother || code == static_cast<int>(ExitCode::Preempted);
    };
    if (!follows(ranks_[static_cast<std::size_t>(first_failed_)])) return first_failed_;
    for (std::size_t index = 0; index < ranks_.size(); ++index) {
      if (ranks_[index].ended_itself && !follows(ranks_[index])) return static_cast<int>(index);
    }
    return first_failed_;
  }

  const JobCommand& command_;
  std::vector<Rank> ranks_;
  sigset_t old_mask_ = {};
  int signals_ = -1;
  int first_failed_ = -1;
  Clock::time_point kill_at_;
  bool is_killed_ = false;
  bool was_stopped_ = false;
};

}  // namespace

JobEnd run_job(const JobCommand& command) { return Job(command).run(); }

}  // namespace sluice::launch
