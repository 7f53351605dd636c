// A program that a test starts, listens to and signals.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::launch {

class ChildProcess {
 public:
  /// `variables`: "NAME=value" beside the environment of the test. Standard output and error come together.
  ChildProcess(const std::vector<std::string>& words, const std::vector<std::string>& variables = {}) {
    std::array<int, 2> ends = {};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    process_ = fork();
    if (process_ == 0) {
      for (const std::string& variable : variables) putenv(const_cast<char*>(variable.c_str()));
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
  }

  ~ChildProcess() {
    if (!code_) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
    close(output_);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  [[nodiscard]] pid_t process() const { return process_; }
  [[nodiscard]] const std::string& text() const { return text_; }

  /// Reads until `expected` has come, behind position `from`; false when the program ends or 60 seconds pass first.
  bool read_until(const std::string& expected, std::size_t from = 0) {
    while (text_.find(expected, from) == std::string::npos) {
      if (!read_more()) return false;
    }
    return true;
  }

  /// Reads to the end and returns the exit code; -N for signal N.
  int wait() {
    while (read_more()) {
    }
    int status = 0;
    waitpid(process_, &status, 0);
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return *code_;
  }

 private:
  bool read_more() {
    pollfd event = {output_, POLLIN, 0};
    if (poll(&event, 1, 60'000) <= 0) return false;
    std::array<char, 4096> bytes;
    const ssize_t size = read(output_, bytes.data(), bytes.size());
    if (size > 0) text_.append(bytes.data(), static_cast<std::size_t>(size));
    return size > 0;
  }

  pid_t process_ = -1;
  int output_ = -1;
  std::string text_;
  std::optional<int> code_;
};

}  // namespace sluice::launch
