// Orthogonal matrices by matrix products: right values, in the memory that the trace says, the same bits anywhere.
#include "exec/newton_schulz.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "exec/small_training.h"
#include "model/trace_recorder.h"
#include "optim/newton_schulz.h"

namespace sluice::exec {
namespace {

using Shape = std::pair<std::int64_t, std::int64_t>;

// Wide and tall, in one tile and in several, and down to single rows.
const std::vector<Shape> kShapes = {{37, 53}, {53, 37}, {64, 64}, {3, 2500}, {2500, 3}, {1, 40}, {40, 1}, {20, 1040}};

at::Tensor noise(std::int64_t rows, std::int64_t columns, std::uint64_t seed = 1) {
  at::Tensor x = at::empty({rows, columns});
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data_ptr<float>()[i] = static_cast<float>(mix(seed, static_cast<std::uint64_t>(i)) >> 40) / float{1 << 23} - 1;
  return x;
}

TEST(Orthogonalize, GivesTheNumbersOfPlainLoopsInFp64) {
  model::install_cpu_allocator();
  for (const auto& [rows, columns] : kShapes) {
    at::Tensor x = noise(rows, columns);
    const float* const values = x.const_data_ptr<float>();
    const std::vector<double> expected =
        optim::orthogonalized({}, {values, values + x.numel()}, static_cast<std::size_t>(rows));
    orthogonalize({}, x);
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(values[i], expected[i], 2e-6) << rows << " x " << columns << " element " << i;
  }
}

TEST(Orthogonalize, BringsSingularValuesNearOne) {
  model::install_cpu_allocator();
  at::Tensor x = noise(40, 90) * 1e-12;
  orthogonalize({.eps = 0}, x);
  const at::Tensor gram = at::mm(x, x.t());
  EXPECT_NEAR(gram.trace().item<double>() / 40, 0.8, 0.3) << "squares of singular values between 0.5 and 1.5";
  orthogonalize({.a = 1.5, .b = -0.5, .c = 0, .steps = 40}, x);  // the cubic iteration converges
  EXPECT_LT((at::mm(x, x.t()) - at::eye(40)).abs().max().item<double>(), 1e-5);
}

TEST(Orthogonalize, LeavesZerosAlone) {
  at::Tensor x = at::zeros({5, 9});
  orthogonalize({}, x);
  EXPECT_TRUE(x.equal(at::zeros({5, 9})));
}

TEST(Orthogonalize, TakesEachOfTheJoinedMatricesByItself) {
  const at::Tensor parts[] = {noise(48, 48, 1), noise(48, 48, 2) * 100, noise(48, 48, 3)};
  const at::Tensor joined = at::cat({parts[0], parts[1], parts[2]}, 1);
  orthogonalize_joined({}, joined, 3);
  for (int i = 0; i < 3; ++i) {
    orthogonalize({}, parts[i]);
    EXPECT_LT((joined.narrow(1, 48 * i, 48) - parts[i]).abs().max().item<double>(), 1e-5) << i;
  }
}

TEST(Orthogonalize, GivesTheSameBitsAtEveryAddressOfAnArena) {
  for (const auto& [rows, columns] : kShapes) {
    const at::Tensor start = noise(rows, columns), expected = start.clone();
    orthogonalize({}, expected);
    for (const std::int64_t page : {0, 1, 3}) {
      const tier::Arena arena(round_up(start.numel() * Bytes{4} + 4096, 4096) + 4 * 4096);
      const at::Tensor x = at::from_blob(arena.data() + page * 4096 + 1024, {rows, columns}, at::kFloat);
      x.copy_(start);
      orthogonalize({}, x);
      EXPECT_TRUE(x.equal(expected)) << rows << " x " << columns;
    }
  }
}

plan::StepTrace one_chunk(const Shape& shape, std::int64_t joined) {
  plan::StepTrace trace;
  const std::int64_t elements = shape.first * shape.second;
  trace.chunks = {
      {.name = "chunk",
       .parameters =
           {{.name = "w", .shape = {shape.first, shape.second}, .num_elements = elements, .num_joined = joined},
            {.name = "b", .shape = {7}, .num_elements = 7}},
       .num_elements = round_up(elements, 2048) + 2048}};
  return trace;
}

TEST(TraceUpdates, SaysWhatIsAllocatedAndWhatItCosts) {
  model::install_cpu_allocator();
  optim::RuleSet rules;
  rules.push_back({.rule = optim::make_rule("muon", {})});
  for (const auto& [rows, columns] : kShapes) {
    for (const std::int64_t joined : {std::int64_t{1}, columns % 3 == 1 ? std::int64_t{1} : std::int64_t{2}}) {
      if (columns % joined != 0) continue;
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns) + ", joined " + std::to_string(joined));
      plan::StepTrace trace = one_chunk({rows, columns}, joined);
      trace_updates(trace, rules);
      EXPECT_EQ(trace.chunks[0].parameters[0].update, 0);
      EXPECT_EQ(trace.chunks[0].parameters[1].update, -1);
      const at::Tensor x = noise(rows, columns);
      model::TraceRecorder recorder;
      const plan::ComputeTrace real = recorder.record([&] { orthogonalize_joined({}, x, joined); });
      ASSERT_EQ(trace.updates[0].events.size(), real.events.size());
      for (std::size_t i = 0; i < real.events.size(); ++i) {
        EXPECT_EQ(trace.updates[0].events[i].id, real.events[i].id);
        EXPECT_EQ(trace.updates[0].events[i].bytes, real.events[i].bytes);
      }
      Flops flops = 0;
      for (const plan::OpCost& op : trace.updates[0].ops) flops += op.kind == plan::OpClass::MatMul ? op.flops : 0;
      const auto width = static_cast<double>(columns / joined);
      const double small = std::min<double>(static_cast<double>(rows), width),
                   large = std::max<double>(static_cast<double>(rows), width);
      EXPECT_DOUBLE_EQ(flops,
                       static_cast<double>(joined) * 5 * (4 * small * small * large + 2 * small * small * small));
    }
  }
}

}  // namespace
}  // namespace sluice::exec
