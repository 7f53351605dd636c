// AdamW with moments in 8 bits (Dettmers et al., arXiv 2110.02861) by the rules of bitsandbytes' block-wise kernel:
// blocks of 256 with one fp32 scale each, the dynamic map, arithmetic in fp32, decay after the step. An element whose
// gradient is not finite is skipped. Tensors under 4096 elements keep fp32 moments.
#include <array>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "base/dynamic_map.h"
#include "base/isa.h"
#include "optim/adamw_8bit_loop.h"
#include "optim/factories.h"

namespace sluice::optim {
namespace {

using namespace adamw_8bit;

constexpr OptionSpec kOptions[] = {{"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-8}};

/// One moment of one block on its way: widened, and narrowed again by its new scale.
struct Moment {
  Codes at;
  const DynamicMap* map;

  void widen(std::size_t first, std::size_t count, float* into) const {
    map->decode(at.codes + first, count, at.scales[first / kBlock], into);
  }

  [[gnu::always_inline]] void narrow(std::size_t first, std::size_t count, const float* from) const {
    std::int32_t most = 0;  // of magnitudes, which are ordered as their bits are
    for (std::size_t i = 0; i < count; ++i) {
      const auto magnitude = std::bit_cast<std::int32_t>(from[i]) & 0x7fffffff;
      most = magnitude > most ? magnitude : most;
    }
    const auto scale = std::bit_cast<float>(most);
    map->encode(from, count, most > 0 ? scale : 1.0F, at.codes + first);
    at.scales[first / kBlock] = scale;
  }
};

struct BlockLoop {
  Blocks blocks;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for (std::size_t first = 0; first < count; first += kBlock)
      block(first, count - first < kBlock ? count - first : kBlock);
  }

  [[gnu::always_inline]] void block(std::size_t first, std::size_t count) const {
    const Moment exp_avg{blocks.exp_avg, &signed_dynamic_map()};
    const Moment exp_avg_sq{blocks.exp_avg_sq, &unsigned_dynamic_map()};
    alignas(64) std::array<float, kBlock> m;
    alignas(64) std::array<float, kBlock> v;
    exp_avg.widen(first, count, m.data());
    exp_avg_sq.widen(first, count, v.data());
    Loop{blocks.parameter + first, blocks.gradient + first, m.data(), v.data(), blocks.constants}(count);
    exp_avg.narrow(first, count, m.data());
    exp_avg_sq.narrow(first, count, v.data());
  }
};

/// Blocks from number `first` on.
Blocks from_block(const Blocks& blocks, std::size_t first) {
  const auto later = [&](const Codes& codes) { return Codes{codes.codes + first * kBlock, codes.scales + first}; };
  return {blocks.parameter + first * kBlock, blocks.gradient + first * kBlock, later(blocks.exp_avg),
          later(blocks.exp_avg_sq), blocks.constants};
}

class AdamW8BitRule final : public UpdateRule {
 public:
  explicit AdamW8BitRule(const OptionValues& options)
      : beta1_(options["beta1"]), beta2_(options["beta2"]), eps_(options["eps"]) {}

  [[nodiscard]] std::span<const StateSpec> states() const noexcept override { return states_; }

  void update(const Part& part, const UpdateArgs& args) const override {
    SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == 4 && args.step >= 1);
    float* const parameter = part.parameter.data();
    const float* const gradient = part.gradient.data();
    const auto& states = part.states;
    if (states[0].elements == nullptr) {
      run_widest(Loop{parameter, gradient, states[2].floats(), states[3].floats(), constants(args)},
                 part.parameter.size());
      return;
    }
    const auto codes = [](const StateView& state) {
      return Codes{static_cast<std::uint8_t*>(state.elements), state.scales};
    };
    const Blocks blocks{parameter, gradient, codes(states[0]), codes(states[1]), constants(args)};
    std::size_t whole = 0;
    if (usable_isa() == Isa::Avx512Vbmi) {
      whole = part.parameter.size() / kBlock;
      update_wide(blocks, whole);
    }
    run_widest(BlockLoop{from_block(blocks, whole)}, part.parameter.size() - whole * kBlock);
  }

 private:
  [[nodiscard]] Constants constants(const UpdateArgs& args) const {
    const auto step = static_cast<double>(args.step);
    const double beta1 = args.beta1.value_or(beta1_), beta2 = args.beta2.value_or(beta2_);
    const double correction1 = 1 - std::pow(beta1, step);
    const double root_correction2 = std::sqrt(1 - std::pow(beta2, step));
    return {.gradient_scale = args.gradient_scale,
            .beta1 = static_cast<float>(beta1),
            .beta2 = static_cast<float>(beta2),
            .one_minus_beta1 = static_cast<float>(1 - beta1),
            .one_minus_beta2 = static_cast<float>(1 - beta2),
            .corrected_eps = static_cast<float>(root_correction2 * eps_),
            .step_size = static_cast<float>(-args.lr * root_correction2 / correction1),
            .decay = static_cast<float>(1 - args.lr * args.weight_decay)};
  }

  double beta1_, beta2_, eps_;
  std::array<StateSpec, 4> states_ = {{{"exp_avg", Extent::LargeTensors, StateFormat::Block8},
                                       {"exp_avg_sq", Extent::LargeTensors, StateFormat::Block8},
                                       {"exp_avg", Extent::SmallTensors},
                                       {"exp_avg_sq", Extent::SmallTensors}}};
};

}  // namespace

RuleFactory adamw_8bit_factory() { return {construct<AdamW8BitRule>, kOptions}; }

}  // namespace sluice::optim
