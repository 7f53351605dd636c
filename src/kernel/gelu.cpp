#include "kernel/gelu.h"

#include "base/isa.h"
#include "kernel/lanes.h"

namespace sluice::kernel {
namespace {

// gelu(x) = x * share(x), and `both` gives the share and the derivative share(x) + x * share'(x).
struct Shares {
  float share, derivative;
};

struct ByTanh {
  static constexpr float kTwoZ = 1.5957691216F, kCube = 0.044715F;  // 2 * sqrt(2 / pi)
  [[gnu::always_inline]] static float share(float x) { return fast_sigmoid(kTwoZ * (x + kCube * x * x * x)); }
  [[gnu::always_inline]] static Shares both(float x) {
    const float s = share(x);
    return {s, s + x * (s * (1.0F - s)) * (kTwoZ * (1.0F + 3.0F * kCube * x * x))};
  }
};

struct Exact {
  // Phi(-|x|), by the rational approximation of erf in Abramowitz and Stegun, 7.1.26.
  [[gnu::always_inline]] static float tail(float magnitude, float density) {
    const float t = 1.0F / (1.0F + 0.3275911F * 0.70710678F * magnitude);
    float p = 1.061405429F;
    p = p * t - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - 0.284496736F;
    p = p * t + 0.254829592F;
    return 0.5F * p * t * density;
  }
  [[gnu::always_inline]] static float share(float x, float density) {
    const float below = tail(x < 0 ? -x : x, density);
    return x < 0 ? below : 1.0F - below;
  }
  [[gnu::always_inline]] static float share(float x) { return share(x, fast_exp(-0.5F * x * x)); }
  [[gnu::always_inline]] static Shares both(float x) {
    const float density = fast_exp(-0.5F * x * x);
    const float s = share(x, density);
    return {s, s + x * (0.3989422804F * density)};
  }
};

template <typename Form>
struct Forward {
  const GeluRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    const float* const bias = rows.bias;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const float* const x = rows.x + row * width;
      float* const out = rows.out + row * width;
#pragma GCC ivdep
      for (std::size_t i = 0; i < width; ++i) {
        const float value = x[i] + bias[i];
        out[i] = value * Form::share(value);
      }
    }
  }
};

template <typename Form>
struct Backward {
  const GeluBackwardRows& rows;
  [[gnu::always_inline]] void operator()(std::size_t num_rows) const {
    const std::size_t width = rows.width;
    const float* __restrict const bias = rows.bias;
    for (std::size_t row = 0; row < num_rows; ++row) {
      float* __restrict const x = rows.x + row * width;
      float* __restrict const dy = rows.dy + row * width;
      for (std::size_t i = 0; i < width; ++i) {
        const float value = x[i] + bias[i];
        const Shares shares = Form::both(value);
        x[i] = dy[i] * shares.derivative;
        dy[i] = value * shares.share;
      }
      if (rows.bias_gradient != nullptr) add_bias_gradient(x);
    }
  }
  [[gnu::always_inline]] void add_bias_gradient(const float* dx) const {
    float* __restrict const gradient = rows.bias_gradient;
    for (std::size_t i = 0; i < rows.width; ++i) gradient[i] += dx[i];
  }
};

}  // namespace

void gelu(const GeluRows& rows, Gelu form) {
  if (form == Gelu::Tanh) {
    run_widest(Forward<ByTanh>{rows}, rows.num_rows);
  } else {
    run_widest(Forward<Exact>{rows}, rows.num_rows);
  }
}

void gelu_backward(const GeluBackwardRows& rows, Gelu form) {
  if (form == Gelu::Tanh) {
    run_widest(Backward<ByTanh>{rows}, rows.num_rows);
  } else {
    run_widest(Backward<Exact>{rows}, rows.num_rows);
  }
}

}  // namespace sluice::kernel
