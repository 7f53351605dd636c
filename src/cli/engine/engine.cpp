// The engine's side of the boundary: settings back from JSON, the verb, and every exception as a code and one line.
#include "cli/engine.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/stop.h"
#include "recipe/settings.h"
#include "train/verbs.h"

namespace {

using sluice::ExitCode;

struct EngineVerb {
  std::string_view name;
  int (*run)(const sluice::recipe::Settings& settings);
};

constexpr EngineVerb kVerbs[] = {
    {"train", sluice::train::run_train},   {"plan", sluice::train::run_plan},
    {"eval", sluice::train::run_eval},     {"sample", sluice::train::run_sample},
    {"export", sluice::train::run_export}, {"doctor", sluice::train::run_doctor_compute},
};

/// `message` up to its first line break into the caller's buffer.
int fail(std::string message, ExitCode code, char* error, size_t error_size) {
  message.resize(std::min(message.find('\n'), message.size()));
  if (error != nullptr && error_size > 0) {
    const size_t length = std::min(message.size(), error_size - 1);
    std::memcpy(error, message.data(), length);
    error[length] = '\0';
  }
  return static_cast<int>(code);
}

int run(std::string_view verb, const char* settings_json) {
  for (const EngineVerb& row : kVerbs) {
    if (row.name != verb) continue;
    // Here and not in the front, which has its own copy of the counters.
    if (verb == "train") sluice::install_stop_handlers();
    return row.run(sluice::recipe::from_json(settings_json));
  }
  throw sluice::InternalError("engine", "no such verb: " + std::string(verb));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int sluice_run(const char* verb, const char* settings_json,
                                                                 char* error, size_t error_size) {
  try {
    return run(verb, settings_json);
  } catch (const sluice::Error& e) {
    return fail(e.what(), e.exit_code(), error, error_size);
  } catch (const c10::OutOfMemoryError& e) {
    return fail(std::string("[torch] out of memory: ") + e.what_without_backtrace(), ExitCode::Capacity, error,
                error_size);
  } catch (const c10::Error& e) {
    return fail(std::string("[torch] ") + e.what_without_backtrace(), ExitCode::Internal, error, error_size);
  } catch (const std::bad_alloc&) {
    return fail("[memory] allocation failed: no memory left; raise --host-memory or use a smaller batch",
                ExitCode::Capacity, error, error_size);
  } catch (const std::exception& e) {
    return fail(std::string("[engine] ") + e.what(), ExitCode::Internal, error, error_size);
  } catch (...) {
    return fail("[engine] something unknown was thrown", ExitCode::Internal, error, error_size);
  }
}
