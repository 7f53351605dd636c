// The entry of the plugin sluice_cuda.so (base/plugin.h): all that needs a CUDA header.
#pragma once
#include "tier/device.h"

extern "C" {

/// make_cuda_device once torch's CUDA library is loaded.
__attribute__((visibility("default"))) sluice::tier::Device* sluice_open_cuda(
    const sluice::tier::DeviceOptions& options);
}
