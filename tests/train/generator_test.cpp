#include "train/generator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "model/cpu_allocator.h"
#include "plan/checker.h"
#include "train/aligned_floats.h"
#include "train/loading.h"
#include "train/sampler.h"

namespace sluice::train {
namespace {

constexpr std::int64_t kPrompt = 40, kLength = 70;  // two passes of the prompt, the second not full

std::vector<std::int32_t> prompt_of(std::int64_t vocab_size) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < kPrompt; ++i) ids.push_back(static_cast<std::int32_t>((i * i * 31 + 7) % vocab_size));
  return ids;
}

recipe::Settings tiny_settings() {
  recipe::Settings settings;
  settings.model = "llama-tiny";
  settings.init_random = true;
  settings.threads = 1;
  settings.seed = 3;
  return settings;
}

/// A session's memory and the allocator's use of it end together.
class Loaded {
 public:
  enum class Weights { Resident, Streamed };
  Loaded(const recipe::Settings& settings, Weights weights)
      : session(settings, open_config(settings), generation_shape(kLength)) {
    if (weights == Weights::Streamed) {
      session.machine.tiers[0].capacity = plan::smallest_arena(session.trace, session.machine, session.request);
      session.plans = *plan::make_plan(session.trace, session.machine, session.request).plans;
    }
    session.reserve();
    const AlignedFloats staging(1 << 20);
    load_state(session, nullptr, nullptr, staging.span());
  }
  ~Loaded() { model::use_workspace(nullptr, 0); }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  Session session;
};

struct Sequence {
  std::vector<std::int32_t> ids;
  std::vector<std::vector<float>> logits;  // after each token from the prompt's last on
};

Sequence greedy(Session& session) {
  Sequence sequence{prompt_of(session.model.vocab_size), {}};
  Generator generator(session);
  Sampler sampler({.temperature = 0});
  std::span<const float> logits = generator.feed(sequence.ids);
  for (std::int64_t n = kPrompt; n < kLength; ++n) {
    sequence.logits.emplace_back(logits.begin(), logits.end());
    sequence.ids.push_back(sampler.pick(logits, n));
    logits = generator.feed({&sequence.ids.back(), 1});
  }
  session.executor->drain();
  return sequence;
}

// Logits of every position by one pass of training's forward, on tensors of their own.
at::Tensor full_forward(Session& session, const std::vector<std::int32_t>& ids) {
  std::vector<std::vector<at::Tensor>> chunks;
  for (std::size_t c = 0; c < session.trace.chunks.size(); ++c) {
    auto& tensors = chunks.emplace_back();
    for (const plan::ParameterSlot& slot : session.trace.chunks[c].parameters) {
      tensors.push_back(at::empty(slot.shape));
      session.state->read(plan::BufferKind::Weight, static_cast<int>(c), -1, slot.first_element,
                          {tensors.back().mutable_data_ptr<float>(), static_cast<std::size_t>(slot.num_elements)});
    }
  }
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> wide(ids.begin(), ids.end());
  const auto length = static_cast<std::int64_t>(wide.size());
  const model::MicroBatch batch{at::from_blob(wide.data(), {1, length}, at::kLong), {}};
  at::Tensor x;
  for (const model::BlockEntry& entry : session.model.blocks) {
    std::vector<at::Tensor> parameters;
    for (const int chunk : entry.chunks)
      parameters.insert(parameters.end(), chunks[chunk].begin(), chunks[chunk].end());
    const auto* head = dynamic_cast<const model::LossBlock*>(entry.block.get());
    x = head != nullptr ? head->logits(parameters, x) : entry.block->forward(parameters, x, batch);
  }
  return x.squeeze(0);
}

bool fetches(const plan::Plan& plan) {
  return std::any_of(plan.actions.begin(), plan.actions.end(),
                     [](const plan::Action& action) { return action.kind == plan::ActionKind::Fetch; });
}

class GeneratorTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { prepare_process(tiny_settings()); }
};

TEST_F(GeneratorTest, GreedyContinuationIsTheArgmaxOfAFullForward) {
  const recipe::Settings settings = tiny_settings();
  Loaded loaded(settings, Loaded::Weights::Resident);
  EXPECT_FALSE(fetches(loaded.session.plans.generate.back()));
  const Sequence sequence = greedy(loaded.session);
  model::use_workspace(nullptr, 0);
  const at::Tensor logits = full_forward(loaded.session, sequence.ids);
  for (std::int64_t n = kPrompt; n < kLength; ++n) {
    const std::vector<float>& got = sequence.logits[static_cast<std::size_t>(n - kPrompt)];
    const at::Tensor wanted = logits[n - 1];
    const at::Tensor difference = at::tensor(got) - wanted;
    EXPECT_LT(difference.abs().max().item<float>(), 1e-4F * wanted.abs().max().item<float>()) << n;
    EXPECT_EQ(sequence.ids[static_cast<std::size_t>(n)], wanted.argmax().item<std::int64_t>()) << n;
  }
}

TEST_F(GeneratorTest, TheSmallestArenaGivesTheSameBitsAsEverythingResident) {
  Sequence resident, streamed;
  {
    const recipe::Settings settings = tiny_settings();
    Loaded loaded(settings, Loaded::Weights::Resident);
    resident = greedy(loaded.session);
  }
  const auto folder = std::filesystem::path(testing::TempDir()) / "sluice_generator_test";
  {
    recipe::Settings settings = tiny_settings();
    settings.spill_dir = {folder.string()};
    Loaded loaded(settings, Loaded::Weights::Streamed);
    for (const plan::Plan& plan : loaded.session.plans.generate) {
      EXPECT_TRUE(fetches(plan));
      EXPECT_TRUE(plan::check_plan(plan, loaded.session.machine).empty());
    }
    streamed = greedy(loaded.session);
    EXPECT_LE(loaded.session.executor->arena_peak(0), loaded.session.machine.tiers[0].capacity);
  }
  std::filesystem::remove_all(folder);
  EXPECT_EQ(resident.ids, streamed.ids);
  EXPECT_EQ(resident.logits, streamed.logits);
}

TEST_F(GeneratorTest, AnEmulatedDeviceGivesTheSameBits) {
  Sequence resident, behind;
  {
    const recipe::Settings settings = tiny_settings();
    Loaded loaded(settings, Loaded::Weights::Resident);
    resident = greedy(loaded.session);
  }
  recipe::Settings settings = tiny_settings();
  settings.device = "emulated";
  settings.device_memory = GiB;
  Loaded loaded(settings, Loaded::Weights::Streamed);
  for (const plan::Plan& plan : loaded.session.plans.generate) {
    EXPECT_TRUE(fetches(plan));
    EXPECT_TRUE(plan::check_plan(plan, loaded.session.machine).empty());
  }
  behind = greedy(loaded.session);
  EXPECT_EQ(loaded.session.executor->arena_peak(0), loaded.session.plans.arena_peak[0]);
  EXPECT_EQ(resident.ids, behind.ids);
  EXPECT_EQ(resident.logits, behind.logits);
}

TEST_F(GeneratorTest, APromptInOnePassAgreesWithTokenByToken) {
  const recipe::Settings settings = tiny_settings();
  Loaded loaded(settings, Loaded::Weights::Resident);
  const std::vector<std::int32_t> ids = prompt_of(loaded.session.model.vocab_size);
  const auto run = [&](std::size_t at_once) {
    Generator generator(loaded.session);
    std::span<const float> logits;
    for (std::size_t i = 0; i < ids.size(); i += at_once)
      logits = generator.feed(std::span(ids).subspan(i, std::min(at_once, ids.size() - i)));
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> together = run(ids.size()), single = run(1), uneven = run(7);
  for (std::size_t i = 0; i < together.size(); ++i) {
    ASSERT_NEAR(together[i], single[i], 1e-4F);
    ASSERT_NEAR(together[i], uneven[i], 1e-4F);
  }
}

}  // namespace
}  // namespace sluice::train
