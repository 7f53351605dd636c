// Named places where a test can make the program fail: SLUICE_FAIL="disk.write@3=ENOSPC,checkpoint.rename=KILL".
// Costs one relaxed load per place when the variable is unset.
#pragma once
#include <string_view>

namespace sluice {

/// The errno to pretend at this place on this call, or 0. `NAME@K=ERR` fires at the K-th call (from 1) only, `NAME=ERR`
/// at every call. ERR is an errno name (EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EPERM, ENOSYS, ENOMEM), SHORT (returned as
/// -1: half of the transfer), KILL (the process dies by SIGKILL here) or HANG (nothing happens until the fail points
/// are replaced; then 0). Thread-safe. Throws ConfigError when the variable cannot be read.
int fail_point(std::string_view name);

/// Replaces what the environment says (tests); an empty text switches all off.
void set_fail_points(std::string_view specification);

}  // namespace sluice
