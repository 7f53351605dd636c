// SGD with momentum, dampening, Nesterov and L2 weight decay in the arithmetic of torch's fused CPU kernel: the same
// bits as torch on a processor with FMA. The first update sets the momentum buffer to the gradient, undampened.
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/isa.h"
#include "optim/coupled_decay.h"
#include "optim/factories.h"
#include "optim/narrow.h"

namespace sluice::optim {
namespace {

constexpr OptionSpec kOptions[] = {
    {"momentum"}, {"dampening", 0, -kUnlimited}, {.name = "nesterov", .choices = kSwitch}};

struct Constants {
  float gradient_scale, weight_decay, momentum, one_minus_dampening, minus_lr;
};

struct PlainLoop {
  float* parameter_data;
  const float* gradient_data;
  Constants constants;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    const Constants c = constants;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      parameter[i] = std::fma(coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay), c.minus_lr, p);
    }
  }
};

template <typename Words>
struct MomentumLoop {
  using Word = typename Words::Word;
  float* parameter_data;
  const float* gradient_data;
  Word* buffer_data;
  Constants constants;
  bool is_first;
  bool looks_ahead;
  std::uint64_t stream, first_block;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
    float* __restrict const parameter = parameter_data + first;
    const float* __restrict const gradient = gradient_data + first;
    Word* __restrict const buffer = buffer_data + first;
    const Constants c = constants;
    const BlockNoise noise(stream, first_block + first / kBlock);
    const bool starts = is_first;
    const bool nesterov = looks_ahead;
    for (std::size_t i = 0; i < count; ++i) {
      const float p = parameter[i];
      const float g = coupled_decay(gradient[i] * c.gradient_scale, p, c.weight_decay);
      const float b = starts ? g : std::fma(g, c.one_minus_dampening, Words::widen(buffer[i]) * c.momentum);
      buffer[i] = Words::narrow(b, noise(i));
      parameter[i] = std::fma(nesterov ? std::fma(b, c.momentum, g) : b, c.minus_lr, p);
    }
  }
};

class SgdRule final : public UpdateRule {
 public:
  SgdRule(const OptionValues& values, const RuleOptions& options)
      : momentum_(values["momentum"]),
        dampening_(values["dampening"]),
        nesterov_(values["nesterov"] != 0),
        options_(options) {
    if (nesterov_ && (momentum_ == 0 || dampening_ != 0))
      throw ConfigError("optim", "nesterov cannot be used", "expected momentum > 0 and dampening = 0",
                        "set --momentum or leave nesterov out");
    if (momentum_ != 0) states_.push_back({"momentum_buffer", Extent::Elements, options.moments});
  }

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }
  [[nodiscard]] std::optional<DeviceForm> device_form() const noexcept override {
    if (options_.moments != StateFormat::Fp32) return {};
    return DeviceForm{
        .kind = DeviceForm::Kind::Sgd, .momentum = momentum_, .dampening = dampening_, .nesterov = nesterov_};
  }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size() &&
                 args.step >= 1);
    const Constants constants{.gradient_scale = args.gradient_scale,
                              .weight_decay = static_cast<float>(args.weight_decay),
                              .momentum = static_cast<float>(momentum_),
                              .one_minus_dampening = static_cast<float>(1 - dampening_),
                              .minus_lr = static_cast<float>(-args.lr)};
    if (part.states.empty()) {
      run_widest(PlainLoop{part.parameter.data(), part.gradient.data(), constants}, part.parameter.size());
      return;
    }
    with_words(options_, [&]<typename Words>() {
      const MomentumLoop<Words> loop{.parameter_data = part.parameter.data(),
                                     .gradient_data = part.gradient.data(),
                                     .buffer_data = static_cast<typename Words::Word*>(part.states[0].elements),
                                     .constants = constants,
                                     .is_first = args.step == 1,
                                     .looks_ahead = nesterov_,
                                     .stream = noise_stream(args),
                                     .first_block = static_cast<std::uint64_t>(part.first_in_model / kBlock)};
      run_widest(loop, part.parameter.size());
    });
  }

 private:
  double momentum_, dampening_;
  bool nesterov_;
  RuleOptions options_;
  std::vector<StateSpec> states_;
};

}  // namespace

RuleFactory sgd_factory() { return {.make = construct<SgdRule>, .options = kOptions, .bf16_states = true}; }

}  // namespace sluice::optim
