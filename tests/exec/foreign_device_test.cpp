// Three tiers with a device whose memory the host cannot touch, as a card's: every address that the executor, the lanes
// and the state take goes through torch's operators or a line of copies, or the test dies.
#include "foreign_device/foreign_device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "exec/small_training.h"
#include "model/place.h"

namespace sluice::exec {
namespace {

class ForeignMemory final : public tier::DeviceMemory {
 public:
  explicit ForeignMemory(Bytes bytes) : memory_(static_cast<std::size_t>(bytes)) {}
  [[nodiscard]] std::byte* data() const override { return memory_.data(); }

 private:
  foreign::Memory memory_;
};

class ForeignLine final : public tier::CopyEngine {
 public:
  void copy(std::byte* destination, const std::byte* source, Bytes bytes) override {
    const foreign::Access access;
    std::memcpy(destination, source, static_cast<std::size_t>(bytes));
  }
};

// Its temporaries lie anywhere.
class ForeignDevice final : public tier::Device {
 public:
  [[nodiscard]] std::string torch_name() const override { return foreign::device().str(); }
  [[nodiscard]] Bytes capacity() const override { return kPlenty; }
  std::unique_ptr<tier::DeviceMemory> reserve(Bytes bytes) override { return std::make_unique<ForeignMemory>(bytes); }
  std::unique_ptr<tier::CopyEngine> open_line() override { return std::make_unique<ForeignLine>(); }
};

class OnDevice : public testing::TestWithParam<Workload> {
 protected:
  OnDevice() { model::compute_at({.device = foreign::device(), .operators = model::Operators::Torch}); }
  ~OnDevice() override { model::compute_at({}); }
  ForeignDevice device_;
};

TEST_P(OnDevice, TrainsToTheSameBitsInEveryMemory) {
  model::compute_at({});
  const TracedWork by_kernels(GetParam());
  const Outcome expected = Training(by_kernels, {}).run();
  model::compute_at({.device = foreign::device(), .operators = model::Operators::Torch});
  const TracedWork work(GetParam());
  Place place{.activations = plan::Activations::Recompute, .host = kPlenty, .device = &device_};
  Training in_plenty(work, place);
  const Outcome found = in_plenty.run();
  const double loss = in_plenty.evaluate();
  for (std::size_t i = 0; i < expected.losses.size(); ++i)
    EXPECT_NEAR(found.losses[i], expected.losses[i], 1e-4 * expected.losses[i]) << "step " << i;
  for (const auto activations : {plan::Activations::Keep, plan::Activations::Spill, plan::Activations::Recompute}) {
    place.activations = activations;
    place.store.clear();
    for (const Bytes capacity : {kPlenty, work.floor(place)}) {
      place.capacity = capacity;
      place.store = capacity == kPlenty ? "" : "disk";
      Training training(work, place);
      EXPECT_TRUE(training.run() == found) << "activations " << static_cast<int>(activations) << " in " << capacity;
      EXPECT_EQ(training.evaluate(), loss);
      EXPECT_LE(training.plans().arena_peak[0], place.capacity);
    }
  }
}

// Every rule that has a form for devices: near the host's numbers, and the same bits in every memory.
TEST_P(OnDevice, UpdatesThereToTheSameBitsInEveryMemory) {
  int num_rules = 0;
  for (const optim::RuleRow& row : optim::rule_catalog()) {
    Workload work = GetParam();
    work.rule = row.name;
    if (row.name == "sgd") work.options.values = {{"momentum", "0.9"}};
    work.weights = {};
    if (!optim::make_rule(row.name, work.options)->device_form()) continue;
    num_rules += 1;
    SCOPED_TRACE(row.name);
    const TracedWork traced(work);
    Place place{.host = kPlenty, .device = &device_};
    const Outcome by_host = Training(traced, place).run();
    place.update_tier = 0;
    const Outcome found = Training(traced, place).run();
    for (std::size_t i = 0; i < found.losses.size(); ++i) {
      EXPECT_NEAR(found.losses[i], by_host.losses[i], 1e-4 * by_host.losses[i]) << "step " << i;
      EXPECT_NEAR(found.norms[i], by_host.norms[i], 1e-3 * by_host.norms[i]) << "step " << i;
    }
    place.store = "disk";
    place.capacity = traced.floor(place);
    EXPECT_TRUE(Training(traced, place).run() == found);
  }
  EXPECT_GE(num_rules, 4);
}

// By a rule that follows the size of a gradient.
TEST_P(OnDevice, CutsGradientsThereAsOnTheHost) {
  const auto weights = [&](optim::ClipKind clip, int update_tier) {
    Workload work = GetParam();
    work.rule = "lomo";
    work.weights = {};
    work.clip = clip;
    work.max_norm = 1e-3;
    const TracedWork traced(work);
    return at::tensor(
        Training(traced, {.host = kPlenty, .update_tier = update_tier, .device = &device_}).run().weights);
  };
  const at::Tensor found = weights(optim::ClipKind::Value, 0);
  const double off = (found - weights(optim::ClipKind::Value, 1)).abs().max().item<double>();
  const double cut = (found - weights(optim::ClipKind::None, 0)).abs().max().item<double>();
  EXPECT_LT(off, cut / 100);
}

INSTANTIATE_TEST_SUITE_P(
    Workloads, OnDevice,
    testing::Values(Workload{.tied = true, .accumulation = 2}, Workload{.family = "gpt2", .num_layers = 3},
                    Workload{.update = plan::UpdateWhen::Backward, .adapter = true},
                    Workload{.compute = NumberFormat::Bf16, .weights = {NumberFormat::Bf16}},
                    Workload{.family = "gpt2", .weights = {NumberFormat::Fp8, optim::Master::Fp32}}));

}  // namespace
}  // namespace sluice::exec
