#include "train/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/random.h"

namespace sluice::train {
namespace {

constexpr std::uint64_t kStream = 0x73616d706c65;  // "sample"

// Uniform in [0, 1) with 53 bits.
double uniform53(std::uint64_t seed, std::int64_t position) {
  const auto bits = philox({seed, kStream}, static_cast<std::uint64_t>(position));
  const std::uint64_t wide = (static_cast<std::uint64_t>(bits[0]) << 32) | bits[1];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  const auto refuse = [](const char* flag, const char* expected, double got) {
    throw ConfigError("sample", std::string(flag) + " is out of range",
                      std::string("expected ") + expected + ", got " + std::to_string(got));
  };
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature))
    refuse("--temperature", "0 or more", options.temperature);
  if (!(options.top_p > 0) || options.top_p > 1) refuse("--top-p", "above 0 and at most 1", options.top_p);
  if (options.top_k < 0) refuse("--top-k", "0 or more", static_cast<double>(options.top_k));
}

std::int32_t Sampler::pick(std::span<const float> logits, std::int64_t position) {
  rank(logits);
  if (options_.temperature == 0) return candidates_[0].id;
  probabilities_.clear();
  double total = 0;
  for (const Candidate& candidate : candidates_) {
    const double gap = static_cast<double>(candidate.logit) - candidates_[0].logit;
    probabilities_.push_back(std::exp(gap / options_.temperature));
    total += probabilities_.back();
  }
  if (options_.top_p < 1) {
    const double wanted = options_.top_p * total;
    double sum = 0;
    std::size_t kept = 0;
    while (kept < probabilities_.size() && sum < wanted) sum += probabilities_[kept++];
    probabilities_.resize(kept);
    total = sum;
  }
  double left = uniform53(options_.seed, position) * total;
  for (std::size_t i = 0; i < probabilities_.size(); ++i) {
    if (left < probabilities_[i]) return candidates_[i].id;
    left -= probabilities_[i];
  }
  return candidates_[0].id;  // rounding used up the last of it
}

// The candidates, most likely first: one when greedy, top_k of them, or all.
void Sampler::rank(std::span<const float> logits) {
  candidates_.clear();
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const float logit = logits[id];
    if (std::isnan(logit) || logit == INFINITY) {
      throw NumericsError("sample", "a logit is not finite",
                          "expected finite values, got " + std::to_string(logit) + " for token " + std::to_string(id),
                          "check the weights with 'sluice inspect'");
    }
    if (logit != -INFINITY) candidates_.push_back({logit, static_cast<std::int32_t>(id)});
  }
  if (candidates_.empty()) throw NumericsError("sample", "no token is possible", "expected a finite logit, got none");
  std::size_t wanted = candidates_.size();
  if (options_.top_k > 0) wanted = std::min(wanted, static_cast<std::size_t>(options_.top_k));
  if (options_.temperature == 0) wanted = 1;
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::partial_sort(candidates_.begin(), end, candidates_.end(), before);
  candidates_.resize(wanted);
}

}  // namespace sluice::train
