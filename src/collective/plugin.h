// The entry of a plugin that joins ranks (base/plugin.h).
#pragma once
#include "collective/library.h"

extern "C" {

/// Library::connect.
__attribute__((visibility("default"))) sluice::collective::Transport* sluice_connect(
    const sluice::collective::Place& place, const sluice::collective::Limits& limits);
}
