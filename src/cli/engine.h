// The C boundary between the torch-free front and libsluice_engine.so, which is loaded only for verbs that compute.
// Settings cross it as JSON, so the two sides share no C++ object and no exception.
#pragma once
#include <cstddef>

extern "C" {

/// Runs `verb` ("train", "plan", "eval", "sample", "export", "doctor") with the settings of recipe::to_json. Returns
/// the exit code; when it is not 0, `error` holds one line, "[component] what failed ...", cut at `error_size`.
int sluice_run(const char* verb, const char* settings_json, char* error, size_t error_size);
}
