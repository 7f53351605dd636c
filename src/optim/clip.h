// Clipping: what a gradient is multiplied by, or cut to, before a rule sees it. Norms come from optim/norm.h; when they
// are known is the plan's business.
#pragma once
#include <span>

namespace sluice::optim {

enum class ClipKind {
  None,
  Total,  ///< by the norm over all parameters
  Block,  ///< by the norm over one block's parameters
  Value,  ///< every element by itself
};

struct Clipping {
  ClipKind kind = ClipKind::None;
  double bound = 0;  ///< the largest norm, or magnitude of an element, after the loss scale is taken out
};

/// Factor on a gradient that carries a loss scale of 1 / `unscale`: takes the scale out and clips by the norm, as
/// clip_coefficient does it; `max_norm` 0: takes the scale out. `sum_of_squares` is that of the gradient as it is,
/// scale included.
float clipped_scale(double sum_of_squares, float unscale, double max_norm);

/// Cuts every element to [-bound, bound], as torch.nn.utils.clip_grad_value_. NaN stays NaN.
void clamp_values(std::span<float> values, float bound);

}  // namespace sluice::optim
