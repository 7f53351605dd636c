// Tokens in, logits of the next one out, by the session's generation plans.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "train/session.h"

namespace sluice::train {

/// Room for `num_tokens` tokens: a prompt in passes of many tokens, then one at a time.
[[nodiscard]] model::GenerationShape generation_shape(std::int64_t num_tokens);

/// One sequence. Borrows a session made for generation whose weights are loaded.
class Generator {
 public:
  explicit Generator(Session& session);
  /// Appends `ids` (at least one, below the vocabulary's size) to the sequence. Returns the logits of what follows,
  /// valid until the next call. InternalError beyond the planned length.
  std::span<const float> feed(std::span<const std::int32_t> ids);
  [[nodiscard]] std::int64_t num_tokens() const { return num_tokens_; }

 private:
  std::size_t pass_for(std::int64_t left) const;
  std::span<const float> run_pass(std::size_t pass, std::span<const std::int32_t> ids);

  Session& session_;
  std::int64_t max_length_ = 0;
  std::int64_t num_tokens_ = 0;
  std::vector<std::int64_t> pass_ids_;
};

}  // namespace sluice::train
