// The one family of errors. A message is one line: `[component] what failed: expected X, got Y; what to try`.
// A normal "no" (it does not fit, no such row) is a value, not an error. `main` is the only catch-all.
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice {

/// Process exit codes (contract): scripts rely on them.
enum class ExitCode : int {
  Done = 0,
  Config = 2,
  Capacity = 3,
  Io = 4,
  Communication = 5,
  Numerics = 6,
  Internal = 70,
  Preempted = 75,
  Interrupted = 130,
};

/// Root of all errors that Sluice throws. `component` is the folder or unit that noticed ("tier.disk").
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, std::string_view component, std::string_view what_failed, std::string_view expected_got,
        std::string_view try_this);
  [[nodiscard]] ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// The user can fix it: a flag, a key, a config file (exit code 2).
struct ConfigError : Error {
  ConfigError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
              std::string_view try_this = {})
      : Error(ExitCode::Config, component, what_failed, expected_got, try_this) {}
};

/// It does not fit: the tier, what was asked and what was free (exit code 3).
struct CapacityError : Error {
  CapacityError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
                std::string_view try_this = {})
      : Error(ExitCode::Capacity, component, what_failed, expected_got, try_this) {}
};

/// The operating system refused or a device failed; the text holds path and errno (exit code 4).
struct IoError : Error {
  IoError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
          std::string_view try_this = {})
      : Error(ExitCode::Io, component, what_failed, expected_got, try_this) {}
};

/// A file holds what it must not: truncated, contradictory, corrupt (exit code 4).
struct FormatError : Error {
  FormatError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
              std::string_view try_this = {})
      : Error(ExitCode::Io, component, what_failed, expected_got, try_this) {}
};

/// A rank is lost or does not answer in time (exit code 5).
struct CommError : Error {
  CommError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
            std::string_view try_this = {})
      : Error(ExitCode::Communication, component, what_failed, expected_got, try_this) {}
};

/// NaN or infinity where the policy says stop (exit code 6).
struct NumericsError : Error {
  NumericsError(std::string_view component, std::string_view what_failed, std::string_view expected_got = {},
                std::string_view try_this = {})
      : Error(ExitCode::Numerics, component, what_failed, expected_got, try_this) {}
};

/// A broken invariant: a bug of ours (exit code 70). Thrown by SLUICE_CHECK.
struct InternalError : Error {
  InternalError(std::string_view component, std::string_view what_failed)
      : Error(ExitCode::Internal, component, what_failed, {}, "this is a bug in sluice, please report it") {}
};

/// IoError from the current `errno`: "open failed: /path: No space left on device (errno 28)".
[[noreturn]] void throw_errno(std::string_view component, std::string_view operation, std::string_view path,
                              int error_number, std::string_view try_this = {});

}  // namespace sluice
