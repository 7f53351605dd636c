#include "optim/clip.h"

#include <algorithm>
#include <cmath>

#include "optim/norm.h"

namespace sluice::optim {

float clipped_scale(double sum_of_squares, float unscale, double max_norm) {
  return clip_coefficient(std::sqrt(sum_of_squares) * unscale, max_norm) * unscale;
}

void clamp_values(std::span<float> values, float bound) {
  for (float& value : values) value = std::clamp(value, -bound, bound);
}

}  // namespace sluice::optim
