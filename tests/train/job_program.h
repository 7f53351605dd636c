// Training runs of several processes that a test starts, disturbs and waits for.
#pragma once
#include <string>

#include "launch/child_process.h"
#include "train/training_program.h"

namespace sluice::train {

class JobProgram : public TrainingProgram {
 protected:
  /// Whether this build has the library of ranks.
  [[nodiscard]] bool has_library(const std::string& library) {
    std::istringstream lines(run("list collectives").out);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(library + " ")) return line.find("not in this build") == std::string::npos;
    }
    return false;
  }

  /// `train_arguments` as words of a process.
  [[nodiscard]] std::vector<std::string> words(const std::string& output, const std::string& more) const {
    return {"/bin/sh", "-c", std::string("exec ") + SLUICE_PROGRAM + " " + train_arguments(output, more)};
  }
};

}  // namespace sluice::train
