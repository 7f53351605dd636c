// Runs the built program as a user does and keeps what it said.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace sluice::cli {

struct ProgramResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

inline std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A folder of one test process, gone at its end.
class Scratch {
 public:
  Scratch() {
    folder_ = std::filesystem::temp_directory_path() / ("sluice-cli-test-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~Scratch() { std::filesystem::remove_all(folder_); }
  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }

 private:
  std::filesystem::path folder_;
};

/// `sluice ARGUMENTS` through the shell; `before` stands in front of it ("VARIABLE=x"). The machine is a file with
/// fixed rates, so that plans do not depend on a measurement.
inline ProgramResult run_program(const Scratch& scratch, const std::string& arguments, const std::string& input = {},
                                 const std::string& before = {}) {
  const std::string in = scratch.write("stdin", input);
  const std::string out = scratch.file("stdout").string();
  const std::string err = scratch.file("stderr").string();
  const std::string home = " XDG_CACHE_HOME=" + scratch.file("cache").string() +
                           " XDG_CONFIG_HOME=" + scratch.file("config").string() +
                           " SLUICE_MACHINE=" SLUICE_TEST_DATA "/cli/machine.json ";
  const std::string command =
      home + before + " " + SLUICE_PROGRAM + " " + arguments + " <" + in + " >" + out + " 2>" + err;
  const int status = std::system(command.c_str());
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .out = read_whole(out), .err = read_whole(err)};
}

}  // namespace sluice::cli
