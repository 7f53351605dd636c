// Several ranks train as one does: losses, norms and weights at every stage, with everything in memory and at the least
// that works, and each rank's arena is what was planned.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "exec/forked_ranks.h"
#include "exec/small_training.h"
#include "optim/rule.h"
#include "plan/checker.h"

namespace sluice::exec {
namespace {

/// What a rank found.
struct Found {
  std::vector<double> losses, norms, figures;  // figures: evaluation, arena peaks, bytes sent: all, across groups
  std::vector<float> weights;
};

template <typename T>
void put(std::vector<std::byte>& to, const std::vector<T>& values) {
  const std::size_t count = values.size();
  const auto* bytes = reinterpret_cast<const std::byte*>(&count);
  to.insert(to.end(), bytes, bytes + sizeof(count));
  bytes = reinterpret_cast<const std::byte*>(values.data());
  to.insert(to.end(), bytes, bytes + count * sizeof(T));
}

template <typename T>
std::vector<T> take(std::span<const std::byte>& from) {
  std::size_t count = 0;
  if (from.size() < sizeof(count)) return {};
  std::memcpy(&count, from.data(), sizeof(count));
  std::vector<T> values(count);
  std::memcpy(values.data(), from.data() + sizeof(count), count * sizeof(T));
  from = from.subspan(sizeof(count) + count * sizeof(T));
  return values;
}

constexpr int kSteps = 4;

Found train(const Workload& workload, const Place& place, collective::Communicator* world) {
  at::set_num_threads(1);
  const TracedWork work(workload);
  const auto alone =
      world == nullptr && place.sharding.is_parallel() ? std::move(collective::make_local_world(1).front()) : nullptr;
  if (alone) world = alone.get();
  RankLinks links;
  std::unique_ptr<collective::Communicator> lane, group, replicas;
  if (world != nullptr) {
    const int rank = world->rank(), size = place.sharding.ranks_per_group();
    links.agreement = world;
    if (place.sharding.is_grouped()) {
      links.group = (group = world->split(rank / size, rank)).get();
      links.replicas = (replicas = world->split(rank % size, rank)).get();
    } else {
      links.lane = (lane = world->split(0, rank)).get();
    }
  }
  Training training(work, place, links);
  for (const plan::Plan* plan : {&training.plans().train, &training.plans().flush, &*training.plans().evaluate}) {
    const bool is_first = plan == &training.plans().train;
    const auto wrong = plan::check_plan(*plan, training.machine(), is_first ? nullptr : &training.plans().train);
    if (!wrong.empty()) throw std::runtime_error(wrong.front());
  }
  Found found;
  const auto sent_so_far = [&] {
    training.executor().drain();
    std::pair<std::int64_t, std::int64_t> sent{0, links.replicas ? links.replicas->traffic().total_bytes_sent() : 0};
    for (const auto* ranks : {links.lane, links.group, links.replicas})
      if (ranks != nullptr) sent.first += ranks->traffic().total_bytes_sent();
    return sent;
  };
  training.step();  // nothing is pending yet, so it may send less
  const auto sent_first = sent_so_far();
  for (int i = 1; i < kSteps; ++i) training.step();
  const auto sent = sent_so_far();
  const Outcome outcome = training.finish();
  found.losses = outcome.losses;
  found.norms = outcome.norms;
  found.weights = outcome.weights;
  found.figures = {training.evaluate(),
                   static_cast<double>(training.executor().arena_peak(0)),
                   static_cast<double>(training.plans().arena_peak[0]),
                   static_cast<double>(sent.first - sent_first.first),
                   static_cast<double>(plan::bytes_sent(training.plans().train)) * (kSteps - 1),
                   static_cast<double>(sent.second - sent_first.second),
                   static_cast<double>(plan::bytes_sent(training.plans().train, plan::Among::Replicas)) * (kSteps - 1)};
  return found;
}

std::vector<Found> train_on(int num_ranks, const Workload& work, const Place& place) {
  const auto results = run_ranks(num_ranks, [&](collective::Communicator& world) {
    const Found found = train(work, place, num_ranks > 1 ? &world : nullptr);
    std::vector<std::byte> bytes;
    put(bytes, found.losses);
    put(bytes, found.norms);
    put(bytes, found.figures);
    put(bytes, found.weights);
    return bytes;
  });
  std::vector<Found> all;
  for (const auto& bytes : results) {
    std::span<const std::byte> rest = bytes;
    Found found;
    found.losses = take<double>(rest);
    found.norms = take<double>(rest);
    found.figures = take<double>(rest);
    found.weights = take<float>(rest);
    all.push_back(std::move(found));
  }
  return all;
}

double relative_error(const std::vector<float>& got, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double apart = static_cast<double>(got[i]) - expected[i];
    difference += apart * apart;
    norm += static_cast<double>(expected[i]) * expected[i];
  }
  return std::sqrt(difference / norm);
}

struct Case {
  int num_ranks, stage, accumulation;
  plan::UpdateWhen update = plan::UpdateWhen::NextForward;
  const char* rule = "adamw";
  bool tied = true;
  int group_size = 0;
  NumberFormat reduce = NumberFormat::Fp32;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.num_ranks << " ranks, stage " << c.stage << ", " << c.accumulation << " micro-batches each, " << c.rule
       << ", update in the " << name(c.update);
  if (c.group_size > 0) *out << ", in groups of " << c.group_size;
  if (c.reduce != NumberFormat::Fp32) *out << ", gradients sent as " << sluice::name(c.reduce);
}

class Ranks : public testing::TestWithParam<Case> {};

TEST_P(Ranks, TrainAsOneDoes) {
  const Case& c = GetParam();
  const Workload work{
      .tied = c.tied, .num_layers = 3, .accumulation = c.accumulation, .update = c.update, .rule = c.rule};
  Workload whole = work;
  whole.accumulation = c.num_ranks * c.accumulation;
  const bool measures = c.update == plan::UpdateWhen::Backward;
  for (Workload* each : {&whole, const_cast<Workload*>(&work)})
    if (measures) each->clip = optim::ClipKind::Block;
  const Found expected = train_on(1, whole, {}).front();
  const plan::Sharding sharding{.num_ranks = c.num_ranks, .stage = c.stage, .group_size = c.group_size};
  const Place plenty{.sharding = sharding, .reduce = c.reduce};
  Place least = plenty;
  least.store = "disk";
  least.capacity = TracedWork(work).floor(least);
  Place more = least;
  more.capacity = least.capacity * 5 / 4 / 4096 * 4096;
  // Of a gradient sent in 16 bits each contribution and the sum are rounded once, by 2^-9 of it at most: so is what SGD
  // moves weights by. The first updates of AdamW are lr times the sign, so numbers near zero may go the other way.
  const bool narrow = c.reduce != NumberFormat::Fp32, by_size = std::string_view(c.rule) == "sgd";
  const double near_loss = !narrow ? 1e-5 : by_size ? 1e-3 : 5e-3;
  const double near_norm = !narrow ? 1e-5 : by_size ? 1.0 / 256 : 2e-2;
  const double near_weights = !narrow ? (by_size ? 1e-6 : 1e-5) : by_size ? 1e-3 : 3e-2;
  for (const Place& place : {plenty, least, more}) {
    SCOPED_TRACE("capacity " + std::to_string(place.capacity));
    const std::vector<Found> found = train_on(c.num_ranks, work, place);
    std::vector<float> weights(expected.weights.size(), 0.0F);
    for (const Found& rank : found) {
      ASSERT_EQ(rank.losses.size(), expected.losses.size());
      for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        EXPECT_NEAR(rank.losses[i], expected.losses[i], near_loss);
        EXPECT_NEAR(rank.norms[i], expected.norms[i], near_norm * expected.norms[i]);
      }
      EXPECT_EQ(rank.losses, found.front().losses) << "ranks disagree";
      EXPECT_EQ(rank.norms, found.front().norms) << "ranks disagree";
      EXPECT_EQ(rank.figures[1], rank.figures[2]) << "the arena's peak is not the planned one";
      EXPECT_EQ(rank.figures[3], rank.figures[4]) << "bytes sent";
      EXPECT_EQ(rank.figures[5], rank.figures[6]) << "bytes sent across groups";
      const bool has_own = &rank - found.data() < sharding.ranks_per_group();  // others hold the same as one of these
      for (std::size_t i = 0; c.stage == 3 && has_own && i < weights.size(); ++i) weights[i] += rank.weights[i];
      if (c.stage < 3) {
        EXPECT_TRUE(rank.weights == found.front().weights) << "ranks have different weights";
      }
    }
    if (c.stage < 3) weights = found.front().weights;
    EXPECT_LT(relative_error(weights, expected.weights), near_weights);
  }
}

INSTANTIATE_TEST_SUITE_P(Stages, Ranks,
                         testing::Values(Case{2, 0, 1}, Case{2, 1, 2}, Case{2, 2, 2}, Case{2, 3, 2}, Case{3, 3, 1},
                                         Case{3, 1, 1}, Case{2, 3, 2, plan::UpdateWhen::Backward, "sgd"},
                                         Case{2, 1, 1, plan::UpdateWhen::Backward, "sgd", false},
                                         Case{2, 2, 2, plan::UpdateWhen::Sweep, "adamw", false},
                                         Case{2, 3, 1, plan::UpdateWhen::SecondPass, "sgd"},
                                         Case{2, 0, 2, plan::UpdateWhen::NextForward, "lamb"},
                                         Case{3, 2, 1, plan::UpdateWhen::NextForward, "lion"},
                                         Case{3, 3, 2, plan::UpdateWhen::NextForward, "adafactor"},
                                         Case{2, 1, 1, plan::UpdateWhen::SecondPass, "lars", false},
                                         Case{3, 2, 1, plan::UpdateWhen::NextForward, "muon"}));

// Weights of all ranks after training: what each holds, once.
std::vector<float> weights_of(const std::vector<Found>& found, const plan::Sharding& sharding) {
  if (!sharding.weights()) return found.front().weights;
  std::vector<float> weights = found.front().weights;
  for (int rank = 1; rank < sharding.ranks_per_group(); ++rank) {
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] += found[rank].weights[i];
  }
  return weights;
}

// Rules that look at whole tensors, too: what a rank adds up goes on where the one before has stopped. The tables are
// several pieces, and several slices of a rank's part.
class RanksByRule : public testing::TestWithParam<std::string_view> {};

TEST_P(RanksByRule, GiveTheSameBitsAtEveryStage) {
  const std::string rule(GetParam());
  const bool in_backward = find_row(optim::rule_catalog(), "optimizer", rule).make.in_backward;
  const Workload work{.tied = false,
                      .vocab_size = 13000,
                      .update = in_backward ? plan::UpdateWhen::Backward : plan::UpdateWhen::NextForward,
                      .rule = rule};
  const auto weights_at = [&](const plan::Sharding& sharding) {
    return weights_of(train_on(sharding.num_ranks, work, {.sharding = sharding}), sharding);
  };
  const std::vector<float> expected = weights_at({.num_ranks = 3, .stage = 0});
  EXPECT_TRUE(weights_at({.num_ranks = 3, .stage = 1}) == expected) << "stage 1";
  EXPECT_TRUE(weights_at({.num_ranks = 3, .stage = 3}) == expected) << "stage 3";
  EXPECT_TRUE(weights_at({.num_ranks = 4, .stage = 1, .group_size = 2}) ==
              weights_at({.num_ranks = 4, .stage = 0, .group_size = 2}))
      << "stage 1 in groups of two";
}

std::vector<std::string_view> all_rules() {
  std::vector<std::string_view> names;
  for (const optim::RuleRow& row : optim::rule_catalog()) names.push_back(row.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Rules, RanksByRule, testing::ValuesIn(all_rules()), [](const auto& info) {
  std::string name(info.param);
  std::ranges::replace(name, '-', '_');
  return name;
});

// What is clipped is the gradient, not the direction that takes its place.
TEST(RanksByMuon, ClipValuesBeforeDirectionsAreMade) {
  const Workload work{.tied = false, .max_norm = 1e-3, .clip = optim::ClipKind::Value, .rule = "muon"};
  const Found whole = train_on(2, work, {.sharding = {.num_ranks = 2, .stage = 0}}).front();
  const Found divided = train_on(2, work, {.sharding = {.num_ranks = 2, .stage = 2}}).front();
  EXPECT_EQ(divided.losses, whole.losses);
  EXPECT_TRUE(divided.weights == whole.weights);
}

// One global batch of 12 micro-batches, dealt out to 1, 2, 3 and 4 ranks.
class FixedOrder : public testing::TestWithParam<std::string_view> {};

TEST_P(FixedOrder, GivesTheSameBitsForAnyNumberOfRanks) {
  const std::string rule(GetParam());
  const bool in_backward = find_row(optim::rule_catalog(), "optimizer", rule).make.in_backward;
  Found expected;
  for (const auto [num_ranks, stage] : {std::pair(1, 1), {2, 0}, {2, 1}, {3, 2}, {4, 3}}) {
    const Workload work{.tied = !in_backward,
                        .accumulation = 12 / num_ranks,
                        .update = in_backward ? plan::UpdateWhen::Backward : plan::UpdateWhen::NextForward,
                        .rule = rule};
    const plan::Sharding sharding{.num_ranks = num_ranks, .stage = stage, .fixed_order = true};
    SCOPED_TRACE(std::to_string(num_ranks) + " ranks, stage " + std::to_string(stage));
    std::vector<Found> found = train_on(num_ranks, work, {.sharding = sharding});
    Found& first = found.front();
    EXPECT_EQ(first.figures[3], first.figures[4]) << "bytes sent";
    first.weights = weights_of(found, sharding);
    if (num_ranks == 1) expected = first;
    EXPECT_EQ(first.losses, expected.losses);
    EXPECT_EQ(first.norms, expected.norms);
    EXPECT_TRUE(first.weights == expected.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, FixedOrder, testing::ValuesIn(all_rules()), [](const auto& info) {
  std::string name(info.param);
  std::ranges::replace(name, '-', '_');
  return name;
});

constexpr auto kNext = plan::UpdateWhen::NextForward, kBackward = plan::UpdateWhen::Backward;

INSTANTIATE_TEST_SUITE_P(SixteenBits, Ranks,
                         testing::Values(Case{2, 0, 1, kNext, "sgd", true, 0, NumberFormat::Bf16},
                                         Case{4, 0, 1, kNext, "sgd", true, 0, NumberFormat::Bf16},
                                         Case{2, 1, 1, kBackward, "sgd", true, 0, NumberFormat::Bf16},
                                         Case{2, 2, 2, kNext, "sgd", false, 0, NumberFormat::Fp16},
                                         Case{3, 3, 1, kNext, "adamw", true, 0, NumberFormat::Bf16}));

INSTANTIATE_TEST_SUITE_P(Groups, Ranks,
                         testing::Values(Case{4, 0, 1, kNext, "adamw", true, 2}, Case{4, 1, 1, kNext, "sgd", true, 2},
                                         Case{4, 2, 1, kBackward, "sgd", false, 2},
                                         Case{4, 3, 1, kNext, "adamw", true, 2},
                                         Case{4, 0, 1, kNext, "sgd", true, 2, NumberFormat::Bf16},
                                         Case{4, 1, 1, kNext, "sgd", true, 2, NumberFormat::Bf16},
                                         Case{4, 3, 1, kNext, "adamw", true, 2, NumberFormat::Bf16}));

TEST(Ranks, GiveTheSameBitsAtEveryStageWhateverIsSent) {
  const Workload work{.num_layers = 3};
  for (const int group_size : {0, 2}) {
    const int num_ranks = group_size == 0 ? 2 : 4;
    std::vector<float> at_zero;
    for (int stage = 0; stage <= 3; ++stage) {
      const Place place{.sharding = {.num_ranks = num_ranks, .stage = stage, .group_size = group_size},
                        .reduce = NumberFormat::Bf16};
      const std::vector<float> weights = weights_of(train_on(num_ranks, work, place), place.sharding);
      if (stage == 0) at_zero = weights;
      EXPECT_TRUE(weights == at_zero) << "stage " << stage << ", groups of " << group_size;
    }
  }
}

TEST(RanksThatFail, EndTheOthersWaitingAndTheirOwn) {
  const auto start = std::chrono::steady_clock::now();
  const auto results = run_ranks(2, [](collective::Communicator& world) {
    at::set_num_threads(1);
    const TracedWork work(Workload{});
    const auto agreement = world.split(0, 0);
    Training training(work, {.sharding = {.num_ranks = 2, .stage = 3}}, {.lane = &world, .agreement = agreement.get()});
    training.step();
    plan::Plan broken = training.plans().train;
    auto& backward = *std::ranges::find(broken.actions, plan::ActionKind::Backward, &plan::Action::kind);
    backward.kind = plan::ActionKind::Convert;  // nobody plays it
    Tokens tokens(1, work.work.vocab_size);
    const std::vector<model::MicroBatch> batch = {tokens.batch()};
    std::string said = "nothing";
    try {
      const bool fails = world.rank() == 1;
      training.executor().run(fails ? broken : training.plans().train, {.micro_batches = batch, .update = {}});
      training.executor().drain();
    } catch (const Error& error) {
      said = error.what();
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(said.data());
    return std::vector<std::byte>(bytes, bytes + said.size());
  });
  const std::string first(reinterpret_cast<const char*>(results[0].data()), results[0].size());
  const std::string second(reinterpret_cast<const char*>(results[1].data()), results[1].size());
  EXPECT_NE(first.find("rank 1"), std::string::npos) << first;
  EXPECT_NE(second.find("no backend for the action"), std::string::npos) << second;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30)) << "they waited for the deadline";
}

}  // namespace
}  // namespace sluice::exec
