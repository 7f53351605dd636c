// Log-likelihoods of continuations. Rows of about the same length share a pass, but each is by itself: the figures do
// not depend on which rows are scored together or in which memory.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/continuation.h"
#include "format/model_config.h"
#include "recipe/settings.h"

namespace sluice::train {

/// Summed log-likelihood of every row's continuation, meaningless where the user asked to stop. Loads the
/// model of `settings`; after `prepare_process`. Throws NumericsError for a sum that is not finite.
[[nodiscard]] std::vector<double> score_rows(const recipe::Settings& settings, const format::ModelConfig& config,
                                             std::span<const data::EncodedContinuation> rows);

struct GreedyScore {
  double log_likelihood = 0;
  bool is_greedy = false;  ///< every token of the continuation was the likeliest one
};

/// The same with whether greedy generation would write the continuation; token by token with a cache.
[[nodiscard]] std::vector<GreedyScore> score_greedily(const recipe::Settings& settings,
                                                      const format::ModelConfig& config,
                                                      std::span<const data::EncodedContinuation> rows);

}  // namespace sluice::train
