// The program: reads the command line, runs the verb, turns every failure into one line and an exit code. The only
// place that catches everything.
#include <iostream>
#include <new>

#include "base/error.h"
#include "cli/command_line.h"

namespace {

using sluice::ExitCode;

int fail(const std::string& message, ExitCode code) {
  std::cerr << "sluice: " + message + "\n";
  return static_cast<int>(code);
}

int run(const std::vector<std::string>& words) {
  const sluice::cli::CommandLine line = sluice::cli::read_command_line(words);
  if (line.is_complaint) {
    std::cerr << line.text;
    return static_cast<int>(ExitCode::Config);
  }
  int code = 0;
  if (line.verb == nullptr) {
    std::cout << line.text;
  } else {
    code = line.verb->make.run(line.arguments);
  }
  std::cout.flush();
  if (!std::cout) throw sluice::IoError("cli", "writing to standard output failed");
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::ios::sync_with_stdio(false);
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const sluice::Error& error) {
    return fail(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return fail("[memory] allocation failed: no memory left; close other programs or use a smaller file",
                ExitCode::Capacity);
  } catch (const std::exception& error) {
    return fail(std::string("[bug] ") + error.what() + "; this is a bug in sluice, please report it",
                ExitCode::Internal);
  } catch (...) {
    return fail("[bug] something unknown was thrown; this is a bug in sluice, please report it", ExitCode::Internal);
  }
}
