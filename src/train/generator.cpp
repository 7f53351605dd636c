#include "train/generator.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "base/units.h"

namespace sluice::train {
namespace {

// A weight that is streamed serves so many tokens of the prompt, and a matrix product of so many rows is efficient.
constexpr std::int64_t kPromptPass = 32;

}  // namespace

model::GenerationShape generation_shape(std::int64_t num_tokens) {
  return {.max_length = round_up(num_tokens, kPromptPass), .pass_tokens = {kPromptPass, 1}};
}

Generator::Generator(Session& session) : session_(session) {
  for (std::size_t i = 0; i < session.model.blocks.size(); ++i) {
    const std::vector<std::int64_t> shape = session.model.blocks[i].block->cache_shape();
    if (!shape.empty())
      max_length_ = session.trace.cache_bytes[i] / (2 * shape[0] * shape[1] * static_cast<Bytes>(sizeof(float)));
  }
}

std::span<const float> Generator::feed(std::span<const std::int32_t> ids) {
  SLUICE_CHECK(!ids.empty(), "nothing to feed");
  SLUICE_CHECK(num_tokens_ + static_cast<std::int64_t>(ids.size()) <= max_length_, "the sequence is planned for ",
               max_length_, " tokens");
  std::span<const float> logits;
  while (!ids.empty()) {
    const std::size_t pass = pass_for(static_cast<std::int64_t>(ids.size()));
    const std::size_t count = std::min(ids.size(), static_cast<std::size_t>(session_.trace.pass_tokens[pass]));
    logits = run_pass(pass, ids.first(count));
    ids = ids.subspan(count);
  }
  return logits;
}

// The smallest that takes all that is left, else the largest; one that still has room in the caches.
std::size_t Generator::pass_for(std::int64_t left) const {
  const std::vector<std::int64_t>& sizes = session_.trace.pass_tokens;
  std::size_t best = sizes.size() - 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (num_tokens_ + sizes[i] > max_length_) continue;
    const bool enough = sizes[best] >= left;
    if (enough ? (sizes[i] >= left && sizes[i] < sizes[best]) : sizes[i] > sizes[best]) best = i;
  }
  return best;
}

std::span<const float> Generator::run_pass(std::size_t pass, std::span<const std::int32_t> ids) {
  pass_ids_.assign(static_cast<std::size_t>(session_.trace.pass_tokens[pass]), 0);
  std::copy(ids.begin(), ids.end(), pass_ids_.begin());
  const auto count = static_cast<std::int64_t>(ids.size());
  const auto size = static_cast<std::int64_t>(pass_ids_.size());
  const std::vector<model::MicroBatch> batch = {{at::from_blob(pass_ids_.data(), {1, size}, at::kLong), {}}};
  const exec::StepInputs inputs{.micro_batches = batch, .update = {}, .position = {num_tokens_, count}};
  num_tokens_ += count;
  return session_.executor->run(session_.plans.generate[pass], inputs).logits;
}

}  // namespace sluice::train
