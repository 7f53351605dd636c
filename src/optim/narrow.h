// States in fp32 or bf16 as a rule's loop sees them: words that widen on the way in and are rounded on the way out.
// Rounding at random keeps sums unbiased: a moment that moves by less than half a unit of bf16 per step would stand
// still if it were rounded to the nearest. The random bits are a function of (seed, step, element, state) and nothing
// else, so slices, threads and budgets change none of them.
#pragma once
#include <bit>
#include <cstdint>

#include "base/random.h"
#include "optim/rule.h"

namespace sluice::optim {

/// Thirty-two bits for each element of a block, sixteen for each of two states: a strong hash makes the block's key,
/// two multiplications per element spread it, which a vector unit does for eight elements at once.
class BlockNoise {
 public:
  /// `stream`: mix(seed, step). `block`: of the model, Part::first_in_model / kBlock.
  [[gnu::always_inline]] BlockNoise(std::uint64_t stream, std::uint64_t block) {
    std::uint64_t key = stream + block * 0x9E3779B97F4A7C15U;  // splitmix64
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9U;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBU;
    key ^= key >> 31;
    low_ = static_cast<std::uint32_t>(key);
    high_ = static_cast<std::uint32_t>(key >> 32);
  }

  [[gnu::always_inline]] std::uint32_t operator()(std::size_t element) const {
    std::uint32_t x = static_cast<std::uint32_t>(element) * 0x9E3779B1U + low_;
    x = (x ^ (x >> 16)) * 0x21F0AAADU;
    x = (x ^ (x >> 15) ^ high_) * 0x735A2D97U;
    return x ^ (x >> 15);
  }

 private:
  std::uint32_t low_ = 0, high_ = 0;
};

struct Fp32Words {
  using Word = float;
  static float widen(Word word) { return word; }
  static Word narrow(float value, std::uint32_t /*noise*/) { return value; }
};

struct Bf16Words {
  using Word = std::uint16_t;
  static float widen(Word word) { return std::bit_cast<float>(std::uint32_t{word} << 16); }
};

/// To the nearest, ties to even. Infinity and a processor's own NaN stay what they are.
struct NearestBf16 : Bf16Words {
  static Word narrow(float value, std::uint32_t /*noise*/) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t half = (bits & 0x7fffffffU) < 0x7f7f0000U ? 0x7fffU + (bits >> 16 & 1U) : 0U;
    return static_cast<Word>((bits + half) >> 16);
  }
};

/// Away from zero with the probability of what is cut off; the lower half of `noise` counts.
struct RandomBf16 : Bf16Words {
  static Word narrow(float value, std::uint32_t noise) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t added = (bits & 0x7fffffffU) < 0x7f7f0000U ? noise & 0xffffU : 0U;
    return static_cast<Word>((bits + added) >> 16);
  }
};

/// Calls `body` with the words of these options: body.template operator()<Words>().
template <typename Body>
void with_words(const RuleOptions& options, const Body& body) {
  if (options.moments == StateFormat::Fp32) return body.template operator()<Fp32Words>();
  if (options.stochastic_rounding) return body.template operator()<RandomBf16>();
  return body.template operator()<NearestBf16>();
}

inline std::uint64_t noise_stream(const UpdateArgs& args) {
  return mix(args.seed, static_cast<std::uint64_t>(args.step));
}

}  // namespace sluice::optim
