// LARS (You, Gitman and Ginsburg, arXiv 1708.03888): momentum whose step is scaled per tensor by the ratio
// eta |p| / (|g| + wd |p|), as the paper's algorithm 1 has it: the rate goes into the momentum. A tensor without weight
// decay (a norm, a bias) or with a norm of 0 takes ratio 1.
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/block_sum.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"momentum", 0.9}, {"trust_coefficient", 1e-3}};

struct MeasureLoop {
  const float* parameter;
  const float* gradient;
  double* sums;  // of squares: parameter, gradient

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock) {
      const std::size_t size = count - first < kBlock ? count - first : kBlock;
      sums[0] += block_sum_of_squares(parameter + first, size);
      sums[1] += block_sum_of_squares(gradient + first, size);
    }
  }
};

struct ApplyLoop {
  float* parameter_data;
  const float* gradient_data;
  float* buffer_data;
  float gradient_scale, weight_decay, momentum, rate;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const buffer = buffer_data;
    const ApplyLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float b = std::fma(c.rate, g, buffer[i] * c.momentum);
      buffer[i] = b;
      parameter[i] = p - b;
    }
  }
};

class LarsRule final : public UpdateRule {
 public:
  explicit LarsRule(const OptionValues& options)
      : momentum_(options["momentum"]), trust_coefficient_(options["trust_coefficient"]) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] Measuring measuring() const noexcept override { return {.passes = 1, .scalars = 2}; }

  void measure(int /*pass*/, const Part& part, const UpdateArgs& /*args*/, const Sums& sums) const override {
    run_widest(MeasureLoop{part.parameter.data(), part.gradient.data(), sums.scalars.data()}, part.parameter.size());
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size());
    const double parameter_norm = std::sqrt(part.totals.scalars[0]);
    const double gradient_norm = std::sqrt(part.totals.scalars[1]) * args.gradient_scale;
    const bool adapts = args.weight_decay != 0 && parameter_norm != 0 && gradient_norm != 0;
    const double ratio =
        adapts ? trust_coefficient_ * parameter_norm / (gradient_norm + args.weight_decay * parameter_norm) : 1;
    const ApplyLoop loop{.parameter_data = part.parameter.data(),
                         .gradient_data = part.gradient.data(),
                         .buffer_data = part.states[0].floats(),
                         .gradient_scale = args.gradient_scale,
                         .weight_decay = static_cast<float>(args.weight_decay),
                         .momentum = static_cast<float>(momentum_),
                         .rate = static_cast<float>(args.lr * ratio)};
    run_widest(loop, part.parameter.size());
  }

 private:
  double momentum_, trust_coefficient_;
  std::array<StateSpec, 1> states_ = {{{"momentum_buffer"}}};
};

}  // namespace

RuleFactory lars_factory() { return {construct<LarsRule>, kOptions}; }

}  // namespace sluice::optim
