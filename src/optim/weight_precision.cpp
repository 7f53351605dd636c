#include "optim/weight_precision.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/isa.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

// A rule with one state more than the rule that it wraps.
class WrappedRule : public UpdateRule {
 public:
  WrappedRule(std::unique_ptr<UpdateRule> rule, NumberFormat weights) : rule_(std::move(rule)), weights_(weights) {
    states_.assign(rule_->states().begin(), rule_->states().end());
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept final { return states_; }
  [[nodiscard]] Measuring measuring() const noexcept final { return rule_->measuring(); }
  void measure(int pass, const Part& part, const UpdateArgs& args, const Sums& sums) const final {
    rule_->measure(pass, inner(part), args, sums);
  }
  void conclude(int pass, const Part& tensor, const UpdateArgs& args) const final {
    rule_->conclude(pass, inner(tensor), args);
  }
  [[nodiscard]] std::optional<NewtonSchulz> orthogonalizes() const noexcept final { return rule_->orthogonalizes(); }
  void direct(const Part& part, const UpdateArgs& args) const final { rule_->direct(inner(part), args); }

 protected:
  void add_state(StateSpec state) { states_.push_back(std::move(state)); }
  [[nodiscard]] Part inner(Part part) const {
    part.states = part.states.first(rule_->states().size());
    return part;
  }
  [[nodiscard]] const UpdateRule& rule() const { return *rule_; }
  [[nodiscard]] NumberFormat weights() const { return weights_; }

 private:
  const std::unique_ptr<UpdateRule> rule_;
  const NumberFormat weights_;
  std::vector<StateSpec> states_;
};

// A stream of its own beside those of the states.
constexpr std::uint64_t kWeightStream = 0x77656967;

struct RandomRoundLoop {
  float* weight;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* const numbers = weight;
    for (std::size_t first = 0; first < count; first += kBlock) {
      const BlockNoise noise(stream, first_block + first / kBlock);
      const std::size_t end = count - first < kBlock ? count - first : kBlock;
      for (std::size_t i = 0; i < end; ++i)
        numbers[first + i] = RandomBf16::widen(RandomBf16::narrow(numbers[first + i], noise(i)));
    }
  }
};

class RoundedRule final : public WrappedRule {
 public:
  RoundedRule(std::unique_ptr<UpdateRule> wrapped, const WeightPrecision& precision)
      : WrappedRule(std::move(wrapped), precision.weights),
        stochastic_(precision.stochastic_rounding && precision.weights == NumberFormat::Bf16) {}

  void update(const Part& part, const UpdateArgs& args) const override {
    rule().update(part, args);
    if (stochastic_) {
      run_widest(RandomRoundLoop{part.parameter.data(), mix(noise_stream(args), kWeightStream),
                                 static_cast<std::uint64_t>(part.first_in_model / kBlock)},
                 part.parameter.size());
    } else {
      round_to(weights(), part.parameter);
    }
  }

 private:
  const bool stochastic_;
};

class MasterRule final : public WrappedRule {
 public:
  MasterRule(std::unique_ptr<UpdateRule> wrapped, NumberFormat weights) : WrappedRule(std::move(wrapped), weights) {
    add_state({.name = "master", .start = Start::Weight});
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    Part exact = inner(part);
    exact.parameter = {part.states.back().floats(), part.parameter.size()};
    rule().update(exact, args);
    std::ranges::copy(exact.parameter, part.parameter.begin());
    round_to(format_of(weights(), part.shape.size()), part.parameter);
  }
};

struct JoinLoop {
  float* weight;
  const std::uint16_t* low;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const numbers = weight;
    const std::uint16_t* __restrict const lost = low;
    for (std::size_t i = 0; i < count; ++i) numbers[i] = join_weight(numbers[i], lost[i]);
  }
};

struct SplitLoop {
  float* weight;
  std::uint16_t* low;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const numbers = weight;
    std::uint16_t* __restrict const lost = low;
    for (std::size_t i = 0; i < count; ++i) {
      const float exact = numbers[i];
      lost[i] = low_half(exact);
      numbers[i] = high_half(exact);
    }
  }
};

class SplitRule final : public WrappedRule {
 public:
  explicit SplitRule(std::unique_ptr<UpdateRule> wrapped) : WrappedRule(std::move(wrapped), NumberFormat::Bf16) {
    add_state({.name = "master_low", .format = StateFormat::Low16, .start = Start::Weight});
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    auto* const low = static_cast<std::uint16_t*>(part.states.back().elements);
    run_widest(JoinLoop{part.parameter.data(), low}, part.parameter.size());
    rule().update(inner(part), args);
    run_widest(SplitLoop{part.parameter.data(), low}, part.parameter.size());
  }
};

}  // namespace

void round_loaded(const WeightPrecision& precision, std::span<float> weights) {
  if (precision.weights != NumberFormat::Fp32 && precision.master == Master::Split) {
    for (float& weight : weights) weight = high_half(weight);
  } else {
    round_to(precision.weights, weights);
  }
}

void lower_halves(std::span<const float> weights, std::span<std::uint16_t> low) {
  SLUICE_CHECK(weights.size() == low.size());
  for (std::size_t i = 0; i < weights.size(); ++i) low[i] = low_half(weights[i]);
}

std::unique_ptr<UpdateRule> with_weight_precision(std::unique_ptr<UpdateRule> rule, const WeightPrecision& precision) {
  if (precision.weights == NumberFormat::Fp32) return rule;
  switch (precision.master) {
    case Master::None:
      SLUICE_CHECK(precision.weights != NumberFormat::Fp8, "fp8 weights without a master");
      return std::make_unique<RoundedRule>(std::move(rule), precision);
    case Master::Fp32:
      return std::make_unique<MasterRule>(std::move(rule), precision.weights);
    case Master::Split:
      SLUICE_CHECK(precision.weights == NumberFormat::Bf16, "a split master of ", name(precision.weights), " weights");
      return std::make_unique<SplitRule>(std::move(rule));
  }
  return rule;
}

}  // namespace sluice::optim
