// Gradients sent in one bit of each number: what ranks have sent and what they keep is together what they computed, in
// whole training runs, too; every stage and budget gives the same bits.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exec/forked_ranks.h"
#include "exec/small_training.h"
#include "plan/checker.h"

namespace sluice::exec {
namespace {

using Floats = std::vector<float>;

/// Of all ranks; weights and sums of gradients are those that rank 0 has.
struct Found {
  std::vector<std::vector<double>> losses;
  Floats weights, sums, kept;  // kept: added up over ranks
};

template <typename T>
void put(std::vector<std::byte>& to, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

template <typename T>
std::vector<T> take(std::span<const std::byte>& from, std::size_t count) {
  std::vector<T> values(count);
  std::memcpy(values.data(), from.data(), count * sizeof(T));
  from = from.subspan(count * sizeof(T));
  return values;
}

// In the order of the states.
Floats residuals_of(Training& training, const TracedWork& work) {
  Floats values;
  const std::vector<plan::Buffer>& buffers = training.state().buffers();
  for (const plan::PublishedTensor& tensor : plan::published_tensors(work.trace.chunks)) {
    for (const plan::PublishedTensor::Part& part : tensor.parts) {
      const auto buffer = std::ranges::find_if(buffers, [&](const plan::Buffer& other) {
        return other.kind == plan::BufferKind::Residual && other.chunk == part.chunk;
      });
      if (buffer == buffers.end()) continue;
      Floats numbers(static_cast<std::size_t>(part.num_elements));
      training.state().read(static_cast<plan::BufferId>(buffer - buffers.begin()), part.first_element * 4,
                            std::as_writable_bytes(std::span(numbers)));
      values.insert(values.end(), numbers.begin(), numbers.end());
    }
  }
  return values;
}

constexpr int kSteps = 5;

std::vector<std::byte> train(const Workload& workload, const Place& place, collective::Communicator& world) {
  at::set_num_threads(1);
  const TracedWork work(workload);
  const auto lane = world.split(0, world.rank());
  Training training(work, place, {.lane = lane.get(), .agreement = &world});
  for (const plan::Plan* plan : {&training.plans().train, &training.plans().flush, &*training.plans().evaluate}) {
    const bool is_first = plan == &training.plans().train;
    const auto wrong = plan::check_plan(*plan, training.machine(), is_first ? nullptr : &training.plans().train);
    if (!wrong.empty()) throw std::runtime_error(wrong.front());
  }
  training.step();  // nothing is pending yet, so it may send less
  training.executor().drain();
  const std::int64_t at_first = lane->traffic().total_bytes_sent();
  for (int i = 1; i < kSteps; ++i) training.step();
  training.executor().drain();
  const std::int64_t sent = lane->traffic().total_bytes_sent() - at_first;
  const bool counts = place.reduce == NumberFormat::OneBit && place.warmup_steps == 0;
  if (counts && sent != plan::bytes_sent(training.plans().train) * (kSteps - 1))
    throw std::runtime_error("bytes sent are not as planned");
  const Outcome outcome = training.finish();
  (void)training.evaluate();
  if (training.executor().arena_peak(0) != training.plans().arena_peak[0])
    throw std::runtime_error("the arena's peak is not the planned one");
  std::vector<std::byte> found;
  put(found, outcome.losses);
  put(found, outcome.weights);
  put(found, outcome.moments);
  put(found, residuals_of(training, work));
  return found;
}

Found train_on(int num_ranks, const Workload& workload, const Place& place) {
  const auto results =
      run_ranks(num_ranks, [&](collective::Communicator& world) { return train(workload, place, world); });
  const TracedWork work(workload);
  std::size_t num_weights = 0, num_numbers = 0;
  for (const plan::Chunk& chunk : work.trace.chunks) num_weights += static_cast<std::size_t>(chunk.num_elements);
  for (const plan::PublishedTensor& tensor : plan::published_tensors(work.trace.chunks))
    for (const plan::PublishedTensor::Part& part : tensor.parts)
      num_numbers += static_cast<std::size_t>(part.num_elements);
  Found all;
  for (const auto& bytes : results) {
    std::span<const std::byte> rest = bytes;
    if (rest.empty()) return all;  // it has failed and said so
    all.losses.push_back(take<double>(rest, kSteps));
    const Floats weights = take<float>(rest, num_weights);
    const bool keeps = place.reduce == NumberFormat::OneBit;
    const Floats sums = take<float>(rest, rest.size() / sizeof(float) - (keeps ? num_numbers : 0));
    const Floats kept = take<float>(rest, rest.size() / sizeof(float));
    if (all.weights.empty()) all.weights.resize(num_weights, 0.0F);
    for (std::size_t i = 0; i < num_weights; ++i)
      all.weights[i] = place.sharding.weights() ? all.weights[i] + weights[i] : weights[i];
    all.sums = sums;
    all.kept.resize(kept.size(), 0.0F);
    for (std::size_t i = 0; i < kept.size(); ++i) all.kept[i] += kept[i];
  }
  for (const auto& losses : all.losses) EXPECT_EQ(losses, all.losses.front()) << "ranks disagree";
  return all;
}

double mean_magnitude(const Floats& values) {
  double sum = 0;
  for (const float value : values) sum += std::abs(value);
  return sum / static_cast<double>(values.size());
}

// Weights stay where they are, and SGD's momentum, which nothing dampens, is the sum of all gradients that it was
// given.
TEST(ErrorFeedback, SendsOrKeepsAllOfEveryGradient) {
  const Workload still{.num_layers = 1,
                       .max_norm = 0,
                       .rule = "sgd",
                       .options = {.values = {{"momentum", "1"}}},
                       .groups = {{.pattern = "*", .lr_factor = 0, .weight_decay = 0}}};
  const plan::Sharding sharding{.num_ranks = 3, .stage = 0};
  const Found whole = train_on(3, still, {.sharding = sharding});
  const Found bits = train_on(3, still, {.sharding = sharding, .reduce = NumberFormat::OneBit});
  ASSERT_EQ(bits.sums.size(), whole.sums.size());
  ASSERT_EQ(bits.kept.size(), whole.sums.size());
  const double largest = std::abs(*std::ranges::max_element(whole.sums, {}, [](float sum) { return std::abs(sum); }));
  for (std::size_t i = 0; i < whole.sums.size(); ++i)
    ASSERT_NEAR(bits.sums[i] + bits.kept[i], whole.sums[i], 1e-6 * largest) << "number " << i;
  EXPECT_GT(mean_magnitude(bits.kept), mean_magnitude(whole.sums) / 100) << "one bit does not say everything";
}

TEST(ErrorFeedback, GivesTheSameBitsAtEveryStageAndBudget) {
  const Workload work{.num_layers = 3};
  Floats expected;
  for (int stage = 0; stage <= 3; ++stage) {
    const Place plenty{.sharding = {.num_ranks = 2, .stage = stage}, .reduce = NumberFormat::OneBit};
    Place least = plenty;
    least.store = "disk";
    least.capacity = TracedWork(work).floor(least);
    for (const Place& place : {plenty, least}) {
      const Found found = train_on(2, work, place);
      if (expected.empty()) expected = found.weights;
      EXPECT_FALSE(found.weights.empty());
      EXPECT_TRUE(found.weights == expected) << "stage " << stage << ", capacity " << place.capacity;
    }
  }
}

TEST(ErrorFeedback, BeginsAfterItsWarmup) {
  const Workload work{.update = plan::UpdateWhen::Backward, .clip = optim::ClipKind::Block};
  for (const int stage : {0, 2}) {
    Place place{.sharding = {.num_ranks = 2, .stage = stage}};
    const Found whole = train_on(2, work, place);
    place.reduce = NumberFormat::OneBit;
    place.warmup_steps = kSteps;
    const Found warming = train_on(2, work, place);
    EXPECT_EQ(warming.losses, whole.losses);
    EXPECT_TRUE(warming.weights == whole.weights);
    EXPECT_EQ(mean_magnitude(warming.kept), 0);
    place.warmup_steps = kSteps - 2;
    const Found begun = train_on(2, work, place);
    EXPECT_EQ(begun.losses.front()[kSteps - 2], whole.losses.front()[kSteps - 2]);
    EXPECT_NE(begun.losses.front()[kSteps - 1], whole.losses.front()[kSteps - 1]);
    EXPECT_GT(mean_magnitude(begun.kept), 0);
  }
}

}  // namespace
}  // namespace sluice::exec
