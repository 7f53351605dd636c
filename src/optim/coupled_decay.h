// Weight decay as an L2 term of the gradient, as torch's sgd, adam, adagrad and rmsprop take it.
#pragma once
#include <cmath>

namespace sluice::optim {

/// gradient + weight_decay * parameter, rounded once. Without decay the parameter is not looked at, so that its NaN or
/// infinity does not reach the state.
[[gnu::always_inline]] inline float coupled_decay(float gradient, float parameter, float weight_decay) {
  return weight_decay != 0 ? std::fma(parameter, weight_decay, gradient) : gradient;
}

}  // namespace sluice::optim
