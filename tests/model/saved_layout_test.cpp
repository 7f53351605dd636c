#include "model/saved_layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "model/cpu_allocator.h"
#include "model/small_models.h"
#include "model/tracer.h"

namespace sluice::model {
namespace {

TEST(SavedLayout, PlacesEachStorageOnceAndBindsItsViews) {
  install_cpu_allocator();
  const at::Tensor both = at::arange(12, at::kFloat).view({3, 4}), other = at::arange(5, at::kLong);
  const SavedTensors saved = {{both.narrow(1, 0, 1), both.narrow(1, 1, 3).t()}, {}, {other}};
  const SavedLayout layout(saved);
  EXPECT_EQ(layout.storages().size(), 2U);
  EXPECT_EQ(layout.bytes(0), 64);
  EXPECT_EQ(layout.bytes(1), 0);
  EXPECT_EQ(layout.bytes(2), 64);
  std::vector<std::byte> first(64), third(64);
  std::memcpy(first.data(), both.const_data_ptr(), 48);
  std::memcpy(third.data(), other.const_data_ptr(), 40);
  const SavedTensors bound = layout.bind({first.data(), nullptr, third.data()}, at::kCPU);
  EXPECT_TRUE(at::equal(bound[0][0], saved[0][0]));
  EXPECT_TRUE(at::equal(bound[0][1], saved[0][1]));
  EXPECT_TRUE(bound[1].empty());
  EXPECT_TRUE(at::equal(bound[2][0], other));
  EXPECT_FALSE(layout.stands_in({first.data(), nullptr, third.data()}));
}

TEST(SavedLayout, RefusesAStorageInTwoClasses) {
  const at::Tensor shared = at::ones({4});
  EXPECT_THROW(SavedLayout({{shared}, {shared.view({2, 2})}}), InternalError);
}

class SavedInPlace : public testing::TestWithParam<format::ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Catalog, SavedInPlace, testing::ValuesIn(small_configs()),
                         [](const auto& test) { return test.param.model_type; });

// As the executor does it: saved where the plan wants it, dropped, moved elsewhere, bound again.
TEST_P(SavedInPlace, MayMoveBeforeTheBackward) {
  SmallModel small(GetParam());
  const MicroBatch batch = random_batch(61, 2, 19);
  small.forward(batch);
  const Block& block = *small.model.blocks[1].block;
  BlockTensors t = small.tensors(1, batch);
  t.output = at::empty_like(t.input);
  t.output_gradient = at::randn_like(t.input);
  t.input_gradient = at::empty_like(t.input);
  run_backward(block, t);
  std::vector<at::Tensor> expected{t.input_gradient.clone()};
  for (auto& gradient : t.gradients) {
    expected.push_back(gradient.clone());
    gradient.zero_();
  }
  const plan::BlockTrace trace = trace_block(small.model, 1, {2, 19}, c10::DeviceType::Meta);
  constexpr Bytes kWorkspace = 4 * MiB, kEach = MiB;
  const at::Tensor memory = at::empty({kWorkspace + 4 * kEach + 64}, at::kByte);
  auto* base = static_cast<std::byte*>(memory.mutable_data_ptr());
  base += (64 - reinterpret_cast<std::uintptr_t>(base) % 64) % 64;
  use_workspace(base, kWorkspace);
  const SavedBuffers there = {base + kWorkspace, base + kWorkspace + kEach};
  const SavedBuffers here = {base + kWorkspace + 3 * kEach, base + kWorkspace + 2 * kEach};
  SavedLayout layout;
  {
    std::vector<PlannedAllocation> allocations;
    for (const plan::SavedAllocation& saved : trace.forward[3].saved)
      allocations.push_back({saved.id, there[saved.saved_class] + saved.offset});
    const PlannedAllocations planned(std::move(allocations));
    layout = SavedLayout(run_forward_saving(block, t, 3));
  }
  EXPECT_TRUE(layout.stands_in(there));
  EXPECT_EQ(workspace_live(), 0);
  for (int c : {0, 1}) {
    EXPECT_EQ(layout.bytes(c), trace.saved_bytes[c]);
    std::memcpy(here[c], there[c], static_cast<std::size_t>(layout.bytes(c)));
    std::memset(there[c], 0xff, kEach);
  }
  run_backward(block, t, layout.bind(here, at::kCPU));
  EXPECT_EQ(workspace_live(), 0);
  use_workspace(nullptr, 0);
  EXPECT_TRUE(same_bits(t.input_gradient, expected[0]));
  for (std::size_t i = 0; i < t.gradients.size(); ++i) EXPECT_TRUE(same_bits(t.gradients[i], expected[i + 1])) << i;
}

}  // namespace
}  // namespace sluice::model
