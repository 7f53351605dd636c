// The next token from logits: temperature, top-k, top-p. A choice is a function of logits, options and position alone.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::train {

struct SamplerOptions {
  double temperature = 1.0;  ///< 0: the most likely token
  std::int64_t top_k = 0;    ///< only the k most likely; 0: all
  double top_p = 1.0;        ///< of those only the fewest whose probabilities sum to p
  std::uint64_t seed = 0;
};

/// Not thread-safe: it keeps its list of candidates between calls.
class Sampler {
 public:
  /// Throws ConfigError for options out of range.
  explicit Sampler(const SamplerOptions& options);
  /// The token at `position`. Equally likely tokens rank by id. Throws NumericsError when no logit is finite or one is
  /// NaN or +infinity.
  [[nodiscard]] std::int32_t pick(std::span<const float> logits, std::int64_t position);

 private:
  struct Candidate {
    float logit = 0;
    std::int32_t id = 0;
  };
  void rank(std::span<const float> logits);

  SamplerOptions options_;
  std::vector<Candidate> candidates_;  // most likely first
  std::vector<double> probabilities_;  // of the candidates, not normalised
};

}  // namespace sluice::train
