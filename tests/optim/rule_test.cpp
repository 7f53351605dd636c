// Update rules against torch's own results bit for bit, against an fp64 reference, and against themselves: slices,
// alignments and instruction sets must not change a bit.
#include "optim/rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "base/isa.h"
#include "optim/tensor.h"

namespace sluice::optim {
namespace {

struct Golden {
  std::string rule;
  UpdateArgs args;
  RuleOptions options;
  std::size_t elements = 0;
  std::size_t steps = 0;
  std::size_t states = 0;
  Words initial;
  std::vector<Words> gradients;
  std::vector<std::vector<Words>> after;  // per step: parameter, then states
};

Words read_words(std::istream& in, std::size_t count) {
  Words words(count);
  for (float& word : words) {
    std::uint32_t bits = 0;
    in >> std::hex >> bits >> std::dec;
    word = std::bit_cast<float>(bits);
  }
  return words;
}

std::vector<Golden> read_goldens() {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/optim/rules.txt");
  std::vector<Golden> goldens;
  std::string word;
  while (in >> word) {
    Golden g;
    auto& o = g.options;
    in >> g.rule >> g.args.lr >> g.args.weight_decay >> o.beta1 >> o.beta2 >> o.eps >> o.momentum >> o.dampening >>
        o.nesterov >> g.elements >> g.steps >> g.states;
    g.initial = read_words(in, g.elements);
    for (std::size_t step = 0; step < g.steps; ++step) g.gradients.push_back(read_words(in, g.elements));
    for (std::size_t step = 0; step < g.steps; ++step) {
      g.after.emplace_back();
      for (std::size_t i = 0; i <= g.states; ++i) g.after.back().push_back(read_words(in, g.elements));
    }
    goldens.push_back(std::move(g));
  }
  return goldens;
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

void expect_same(std::span<const float> got, std::span<const float> expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(same(got[i], expected[i])) << what << " element " << i << ": " << got[i] << " is not " << expected[i];
}

struct Case {
  std::string name;
  RuleOptions options;
  std::string what;
};

/// Every row of the catalog, with every format of its states, and SGD once more with each of its switches.
std::vector<Case> all_rules() {
  std::vector<Case> rules;
  for (const RuleRow& row : rule_catalog()) {
    const std::string name(row.name);
    rules.push_back({name, {}, name});
    if (!row.make.bf16_states) continue;
    rules.push_back({name, {.moments = StateFormat::Bf16}, name + ", bf16"});
    rules.push_back(
        {name, {.moments = StateFormat::Bf16, .stochastic_rounding = false}, name + ", bf16 to the nearest"});
  }
  rules.push_back({"sgd", {.momentum = 0.9, .dampening = 0.1}, "sgd, momentum"});
  rules.push_back({"sgd", {.momentum = 0.9, .nesterov = true}, "sgd, nesterov"});
  return rules;
}

/// Shapes that rules treat differently: small and large vectors and matrices with ragged ends.
const std::vector<Shape>& shapes() {
  static const std::vector<Shape> kShapes = {{1031}, {9001}, {37, 29}, {131, 77}, {3, 5, 300}};
  return kShapes;
}

std::size_t size_of(const Shape& shape) { return static_cast<std::size_t>(num_elements(Extent::Elements, shape)); }

bool is_element_wise(const UpdateRule& rule) {
  const bool blocks =
      std::ranges::any_of(rule.states(), [](const StateSpec& state) { return state.format == StateFormat::Block8; });
  return rule.measuring().passes == 0 && !blocks;
}

bool all_fp32(const UpdateRule& rule) {
  return std::ranges::all_of(rule.states(), [](const StateSpec& state) { return state.format == StateFormat::Fp32; });
}

TEST(UpdateRule, GivesTorchsBitsForFiveSteps) {
  const auto goldens = read_goldens();
  ASSERT_EQ(goldens.size(), 8U);
  for (const Golden& golden : goldens) {
    const auto rule = make_rule(golden.rule, golden.options);
    ASSERT_EQ(rule->states().size(), golden.states);
    Tensor tensors(*rule, golden.initial);
    UpdateArgs args = golden.args;
    for (std::size_t step = 0; step < golden.steps; ++step) {
      args.step = static_cast<std::int64_t>(step) + 1;
      tensors.update(*rule, golden.gradients[step], args);
      const std::string what = golden.rule + " step " + std::to_string(args.step);
      for (std::size_t i = 0; i < golden.states; ++i)
        expect_same(tensors.states[i].floats(), golden.after[step][i + 1], what + " " + rule->states()[i].name);
      expect_same(tensors.parameter, golden.after[step][0], what + " parameter");
    }
  }
}

// One step of the formula in fp64; `m` and `v` are the states.
void reference_step(const Case& rule, const Words& gradient, const UpdateArgs& args, std::vector<double>& p,
                    std::vector<double>& m, std::vector<double>& v) {
  const RuleOptions& o = rule.options;
  const auto step = static_cast<double>(args.step);
  std::vector<double> update(p.size());
  double p_squares = 0, update_squares = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    double g = double{gradient[i]} * args.gradient_scale;
    if (rule.name == "adamw" || rule.name == "lamb") {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
      update[i] = m[i] / (1 - std::pow(o.beta1, step)) / (std::sqrt(v[i] / (1 - std::pow(o.beta2, step))) + o.eps);
      update[i] += args.weight_decay * p[i];
    } else if (rule.name == "sgd") {
      g += args.weight_decay * p[i];
      m[i] = args.step == 1 ? g : o.momentum * m[i] + (1 - o.dampening) * g;
      update[i] = o.momentum == 0 ? g : o.nesterov ? g + o.momentum * m[i] : m[i];
    } else {
      update[i] = g + args.weight_decay * p[i];
    }
    p_squares += p[i] * p[i];
    update_squares += update[i] * update[i];
  }
  const double rate = rule.name == "lamb" ? args.lr * std::sqrt(p_squares / update_squares) : args.lr;
  for (std::size_t i = 0; i < p.size(); ++i) p[i] -= rate * update[i];
}

TEST(UpdateRule, FollowsTheFp64Formula) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    if (!all_fp32(*rule)) continue;
    for (const Shape& shape : shapes()) {
      Tensor tensor(*rule, noise(size_of(shape), 1), shape);
      std::vector<double> p(tensor.parameter.begin(), tensor.parameter.end());
      std::vector<double> m(p.size(), 0), v(p.size(), 0);
      for (int step = 1; step <= 6; ++step) {
        const Words gradient = noise(p.size(), 10 + static_cast<unsigned>(step));
        const UpdateArgs args{.lr = 0.02, .weight_decay = 0.1, .step = step, .gradient_scale = 0.25F};
        tensor.update(*rule, gradient, args);
        reference_step(each, gradient, args, p, m, v);
        for (std::size_t i = 0; i < p.size(); ++i)
          ASSERT_NEAR(tensor.parameter[i], p[i], 4e-6 * (1 + std::abs(p[i]))) << each.what << " step " << step;
      }
    }
  }
}

TEST(UpdateRule, GivesTheSameBitsForAnySplit) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    for (const Shape& shape : shapes()) {
      const std::size_t count = size_of(shape);
      Tensor whole(*rule, noise(count, 2), shape);
      std::vector<std::size_t> runs = {kBlock, 3 * kBlock, 16 * kBlock};
      if (is_element_wise(*rule) && all_fp32(*rule)) runs.insert(runs.end(), {7, 100, 333});
      std::vector<Tensor> cut(runs.size(), whole);
      for (std::int64_t step = 1; step <= 4; ++step) {
        const Words gradient = noise(count, static_cast<unsigned>(step));
        const UpdateArgs args{.lr = 1e-2, .weight_decay = 0.1, .step = step};
        whole.update(*rule, gradient, args);
        for (std::size_t i = 0; i < runs.size(); ++i) cut[i].update(*rule, gradient, args, runs[i]);
      }
      for (const Tensor& tensor : cut) {
        expect_same(tensor.parameter, whole.parameter, each.what);
        EXPECT_TRUE(tensor.states == whole.states) << each.what;
      }
    }
  }
}

TEST(UpdateRule, GivesTheSameBitsWithEveryInstructionSet) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    for (const Shape& shape : shapes()) {
      std::vector<Tensor> results;
      for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
        limit_isa(isa);
        Tensor tensor(*rule, noise(size_of(shape), 3), shape);
        for (std::int64_t step = 1; step <= 5; ++step) {
          Words gradient = noise(size_of(shape), static_cast<unsigned>(step), step == 3 ? 1e18F : 1e-3F);
          gradient[7] = std::numeric_limits<float>::denorm_min();
          gradient[8] = -0.0F;
          tensor.update(*rule, gradient, {.lr = 1e-2, .weight_decay = 0.1, .step = step, .gradient_scale = 0.3F});
        }
        results.push_back(std::move(tensor));
      }
      limit_isa(Isa::Avx512);
      for (std::size_t k = 1; k < results.size(); ++k) {
        expect_same(results[k].parameter, results[0].parameter, each.what);
        EXPECT_TRUE(results[k].states == results[0].states) << each.what;
      }
    }
  }
}

TEST(UpdateRule, LeavesAllZerosAlone) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    for (const Shape& shape : shapes()) {
      Tensor tensor(*rule, Words(size_of(shape)), shape);
      for (std::int64_t step = 1; step <= 3; ++step)
        tensor.update(*rule, Words(size_of(shape)), {.lr = 1e-2, .weight_decay = 0.1, .step = step});
      EXPECT_TRUE(std::ranges::all_of(tensor.parameter, [](float p) { return p == 0; })) << each.what;
    }
  }
}

TEST(UpdateRule, KeepsNanAndInfinityInTheElementsTheyCameIn) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    if (!is_element_wise(*rule)) continue;
    Words gradient = noise(67, 4);
    Tensor clean(*rule, noise(67, 5));
    Tensor dirty = clean;
    const UpdateArgs args{.lr = 1e-2, .weight_decay = 0.1, .step = 1};
    clean.update(*rule, gradient, args);
    gradient[0] = std::numeric_limits<float>::quiet_NaN();
    gradient[33] = std::numeric_limits<float>::infinity();
    gradient[66] = -std::numeric_limits<float>::max();
    dirty.update(*rule, gradient, args);
    EXPECT_TRUE(std::isnan(dirty.parameter[0])) << each.what;
    EXPECT_FALSE(std::isfinite(dirty.parameter[33])) << each.what;
    for (const std::size_t i : {0, 33, 66}) dirty.parameter[i] = clean.parameter[i];
    expect_same(dirty.parameter, clean.parameter, each.what);
  }
}

TEST(UpdateRule, AcceptsAnEmptyTensor) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    Tensor tensor(*rule, {});
    EXPECT_NO_THROW(tensor.update(*rule, {}, {.lr = 1}));
  }
}

TEST(Lamb, ScalesTheStepOnlyWhereThereIsDecay) {
  const auto rule = make_rule("lamb", {});
  for (const float factor : {1.0F, 100.0F}) {
    Words initial = noise(500, 6);
    for (float& word : initial) word *= factor;
    Tensor decayed(*rule, initial), plain = decayed;
    const Words gradient = noise(500, 7);
    decayed.update(*rule, gradient, {.lr = 1e-3, .weight_decay = 1e-9, .step = 1});
    plain.update(*rule, gradient, {.lr = 1e-3, .step = 1});
    EXPECT_NEAR(std::abs(plain.parameter[0] - initial[0]), 1e-3, 1e-5 * factor);
    EXPECT_NEAR(std::abs(decayed.parameter[0] - initial[0]), 1e-3 * factor, 5e-5 * factor);
  }
}

TEST(RuleCatalog, MarksLomoAsUpdatingInBackward) {
  for (const RuleRow& row : rule_catalog()) EXPECT_EQ(row.make.in_backward, row.name == "lomo") << row.name;
}

TEST(RuleCatalog, NamesStatesAsTorchDoes) {
  EXPECT_EQ(make_rule("adamw", {})->states()[0].name, "exp_avg");
  EXPECT_EQ(make_rule("adamw", {})->states()[1].name, "exp_avg_sq");
  EXPECT_EQ(make_rule("sgd", {.momentum = 0.9})->states()[0].name, "momentum_buffer");
  EXPECT_TRUE(make_rule("sgd", {})->states().empty());
  EXPECT_TRUE(make_rule("lomo", {})->states().empty());
}

TEST(RuleCatalog, RefusesUnknownNamesAndOptionsOutOfRange) {
  EXPECT_THROW(make_rule("adamv", {}), ConfigError);
  EXPECT_THROW(make_rule("adamw", {.beta1 = 1}), ConfigError);
  EXPECT_THROW(make_rule("adamw", {.beta2 = -0.1}), ConfigError);
  EXPECT_THROW(make_rule("adamw", {.eps = std::nan("")}), ConfigError);
  EXPECT_THROW(make_rule("sgd", {.momentum = -1}), ConfigError);
  EXPECT_THROW(make_rule("sgd", {.nesterov = true}), ConfigError);
  EXPECT_THROW(make_rule("sgd", {.momentum = 0.9, .dampening = 0.1, .nesterov = true}), ConfigError);
  EXPECT_THROW(make_rule("lomo", {.moments = StateFormat::Bf16}), ConfigError);
}

}  // namespace
}  // namespace sluice::optim
