// Updates and norms on a device whose memory the host may not touch: torch's operators, where on the host the rules'
// own loops run.
#pragma once
#include <cstddef>
#include <cstdint>

#include "exec/tensor_place.h"
#include "optim/norm.h"
#include "optim/rule.h"

namespace sluice::exec {

/// Updates a part, whose addresses are the device's, as `form` says. The gradient is multiplied by its scale in place.
/// The same bits for every cut of a tensor; those of torch's fused optimizers, which need not be the host's.
void update_on_device(const TensorPlace& place, const optim::DeviceForm& form, const optim::Part& part,
                      const optim::UpdateArgs& args);

/// Of `count` fp32 numbers there: each 2^20 of them in fp64 in torch's order, these sums exactly. Waits for them.
[[nodiscard]] optim::SquareSum square_sum_on_device(const TensorPlace& place, std::byte* numbers, std::int64_t count);

}  // namespace sluice::exec
