// Asking a long run to stop: the signals only count, the trainer looks at step boundaries and saves.
#pragma once

namespace sluice {

/// SIGINT and SIGTERM are counted from here on. A second SIGINT ends the process at once with exit code 130.
void install_stop_handlers();

/// How often the process was asked to stop since `install_stop_handlers`. Thread-safe; costs one relaxed load.
int stop_requests();

/// Counts one more request, as a signal would (tests, time limits).
void request_stop();

}  // namespace sluice
