// From argv to a verb and its arguments. The only file that knows the command-line library.
#pragma once
#include <string>
#include <vector>

#include "cli/verb.h"

namespace sluice::cli {

struct CommandLine {
  const VerbRow* verb = nullptr;  ///< nullptr: `text` is all there is to do
  Arguments arguments;
  std::string text;           ///< help or version
  bool is_complaint = false;  ///< no verb was given: the text goes to standard error
};

/// Throws ConfigError for an unknown verb or flag (with the nearest known name), a missing value and a missing or
/// surplus positional.
CommandLine read_command_line(const std::vector<std::string>& words);

}  // namespace sluice::cli
