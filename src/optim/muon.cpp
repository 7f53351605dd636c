// Muon (Keller Jordan, kellerjordan.github.io/posts/muon) in the arithmetic of torch.optim.Muon, but for the products,
// which are fp32: the momentum of a hidden layer's matrix is made orthogonal and is its step. AdamW for everything
// else.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/formatted.h"
#include "base/isa.h"
#include "optim/adam_rule.h"
#include "optim/factories.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {{"momentum", 0.95, 0, 1},
                                   {"nesterov", 1, 0, 2, kSwitch},
                                   {.name = "ns_coefficients", .numbers = "3.4445,-4.775,2.0315"},
                                   {"ns_steps", 5, 1, 100},
                                   {"eps", 1e-7},
                                   {"adjust_lr_fn", 0, 0, 2, "original|match_rms_adamw"},
                                   {"adamw_lr", kNotGiven},
                                   {"beta1", 0.9, 0, 1},
                                   {"beta2", 0.999, 0, 1},
                                   {"adamw_eps", 1e-8}};

OptionValues adam_values(const OptionValues& values) {
  const auto text = [&](std::string_view name) { return formatted("%.17g", values[name]); };
  return {"optimizer",
          "muon",
          kAdamOptions,
          {{"beta1", text("beta1")}, {"beta2", text("beta2")}, {"eps", text("adamw_eps")}}};
}

/// AdamW at a rate of its own.
class RestRule final : public AdamRule {
 public:
  RestRule(const OptionValues& values, const RuleOptions& options)
      : AdamRule(AdamDecay::Decoupled, adam_values(values), options) {
    if (!values.given("adamw_lr")) return;
    if (options.lr == 0)
      throw ConfigError("optim", "optimizer muon cannot take adamw_lr",
                        "expected --lr above 0, of which it is a multiple, got 0");
    rate_factor_ = values["adamw_lr"] / options.lr;
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    UpdateArgs own = args;
    own.lr *= rate_factor_;
    AdamRule::update(part, own);
  }

 private:
  double rate_factor_ = 1;
};

/// torch's lerp: from the nearer end.
[[gnu::always_inline]] inline float lerp(float start, float end, float weight) {
  return weight < 0.5F ? std::fma(weight, end - start, start) : std::fma(weight - 1, end - start, end);
}

template <typename Words>
struct DirectLoop {
  using Word = typename Words::Word;
  const float* gradient_data;
  float* direction_data;  // may be the gradient
  Word* momentum_data;
  float gradient_scale, momentum, one_minus_momentum;
  bool nesterov;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
    const float* const gradient = gradient_data + first;
    float* const direction = direction_data + first;
    Word* __restrict const momentum_buffer = momentum_data + first;
    const BlockNoise noise(stream, first_block + first / kBlock);
#pragma GCC ivdep
    for (std::size_t i = 0; i < count; ++i) {
      const float g = gradient[i] * gradient_scale;
      const float m = lerp(Words::widen(momentum_buffer[i]), g, one_minus_momentum);
      momentum_buffer[i] = Words::narrow(m, noise(i));
      direction[i] = nesterov ? lerp(g, m, momentum) : m;
    }
  }
};

struct FollowLoop {
  float* parameter_data;
  const float* direction_data;
  float decay, minus_rate;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const direction = direction_data;
    for (std::size_t i = 0; i < count; ++i) parameter[i] = std::fma(minus_rate, direction[i], parameter[i] * decay);
  }
};

class MuonRule final : public UpdateRule {
 public:
  MuonRule(const OptionValues& values, const RuleOptions& options)
      : momentum_(values["momentum"]),
        nesterov_(values["nesterov"] != 0),
        matches_adamw_(values.choice("adjust_lr_fn") == "match_rms_adamw"),
        options_(options),
        rest_(values, {.lr = options.lr}),
        states_{{{"momentum_buffer", Extent::Matrices, options.moments},
                 {"exp_avg", Extent::Vectors},
                 {"exp_avg_sq", Extent::Vectors}}} {
    if (std::trunc(values["ns_steps"]) != values["ns_steps"])
      throw ConfigError("optim", "optimizer muon cannot take ns_steps",
                        formatted("expected a whole number, got %g", values["ns_steps"]));
    const std::vector<double> abc = values.numbers("ns_coefficients");
    iteration_ = {abc[0], abc[1], abc[2], static_cast<int>(values["ns_steps"]), values["eps"]};
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] std::optional<NewtonSchulz> orthogonalizes() const noexcept override { return iteration_; }

  void direct(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.gradient.size() == part.direction.size() && part.states.size() == states_.size());
    with_words(options_, [&]<typename Words>() {
      const DirectLoop<Words> loop{part.gradient.data(),
                                   part.direction.data(),
                                   static_cast<typename Words::Word*>(part.states[0].elements),
                                   args.gradient_scale,
                                   static_cast<float>(momentum_),
                                   static_cast<float>(1 - momentum_),
                                   nesterov_,
                                   noise_stream(args),
                                   static_cast<std::uint64_t>(part.first_in_model / kBlock)};
      run_widest(loop, part.gradient.size());
    });
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    if (num_elements(Extent::Matrices, part.shape) == 0) {
      Part vector = part;
      vector.states = part.states.subspan(1);
      return rest_.update(vector, args);
    }
    const FollowLoop loop{part.parameter.data(), part.direction.data(),
                          static_cast<float>(1 - args.lr * args.weight_decay),
                          static_cast<float>(-args.lr * rate_factor(part))};
    run_widest(loop, part.parameter.size());
  }

 private:
  /// torch's _adjust_lr.
  [[nodiscard]] double rate_factor(const Part& part) const {
    const auto rows = static_cast<double>(part.shape.front());
    const auto all = static_cast<double>(num_elements(Extent::Elements, part.shape));
    const double columns = all / rows / static_cast<double>(part.num_joined);
    return matches_adamw_ ? 0.2 * std::sqrt(std::max(rows, columns)) : std::sqrt(std::max(1.0, rows / columns));
  }

  double momentum_;
  bool nesterov_, matches_adamw_;
  RuleOptions options_;
  NewtonSchulz iteration_;
  RestRule rest_;  // of vectors
  std::array<StateSpec, 3> states_;
};

}  // namespace

RuleFactory muon_factory() {
  return {.make = construct<MuonRule>, .options = kOptions, .bf16_states = true, .make_rest = construct<RestRule>};
}

}  // namespace sluice::optim
