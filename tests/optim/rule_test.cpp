// Update rules against torch's own results bit for bit, against an fp64 reference, and against themselves: slices,
// alignments and instruction sets must not change a bit.
#include "optim/rule.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/isa.h"

namespace sluice::optim {
namespace {

using Words = std::vector<float>;

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

/// A parameter with its states.
struct Tensors {
  Words parameter;
  std::vector<Words> states;

  Tensors(const UpdateRule& rule, Words initial) : parameter(std::move(initial)) {
    states.assign(rule.states().size(), Words(parameter.size(), 0.0F));
  }

  void update(const UpdateRule& rule, const Words& gradient, const UpdateArgs& args) {
    update_slice(rule, gradient, args, 0, parameter.size());
  }

  void update_slice(const UpdateRule& rule, const Words& gradient, const UpdateArgs& args, std::size_t first,
                    std::size_t count) {
    std::vector<float*> pointers;
    for (Words& state : states) pointers.push_back(state.data() + first);
    rule.update(std::span(parameter).subspan(first, count), std::span(gradient).subspan(first, count), pointers, args);
  }
};

Words noise(std::size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Words words(count);
  for (float& word : words) word = normal(generator);
  return words;
}

/// Every row of the catalog, and SGD once more with each of its switches.
std::vector<std::pair<std::string, RuleOptions>> all_rules() {
  std::vector<std::pair<std::string, RuleOptions>> rules;
  for (const RuleRow& row : rule_catalog()) rules.emplace_back(row.name, RuleOptions{});
  rules.emplace_back("sgd", RuleOptions{.momentum = 0.9, .dampening = 0.1});
  rules.emplace_back("sgd", RuleOptions{.momentum = 0.9, .nesterov = true});
  return rules;
}

TEST(UpdateRule, GivesTorchsBitsForFiveSteps) {
  const auto goldens = read_goldens();
  ASSERT_EQ(goldens.size(), 8U);
  for (const Golden& golden : goldens) {
    const auto rule = make_rule(golden.rule, golden.options);
    ASSERT_EQ(rule->states().size(), golden.states);
    Tensors tensors(*rule, golden.initial);
    UpdateArgs args = golden.args;
    for (std::size_t step = 0; step < golden.steps; ++step) {
      args.step = static_cast<std::int64_t>(step) + 1;
      tensors.update(*rule, golden.gradients[step], args);
      const std::string what = golden.rule + " step " + std::to_string(args.step);
      for (std::size_t i = 0; i < golden.states; ++i)
        expect_same(tensors.states[i], golden.after[step][i + 1], what + " " + rule->states()[i].name);
      expect_same(tensors.parameter, golden.after[step][0], what + " parameter");
    }
  }
}

TEST(UpdateRule, FollowsTheFp64Formula) {
  constexpr double kLr = 0.02;
  constexpr double kDecay = 0.1;
  constexpr float kScale = 0.25F;
  for (const auto& [name, o] : all_rules()) {
    const auto rule = make_rule(name, o);
    Tensors tensors(*rule, noise(101, 1));
    std::vector<double> p(tensors.parameter.begin(), tensors.parameter.end());
    std::vector<double> m(p.size(), 0);
    std::vector<double> v(p.size(), 0);
    for (int step = 1; step <= 6; ++step) {
      const Words gradient = noise(p.size(), 10 + static_cast<unsigned>(step));
      tensors.update(*rule, gradient, {.lr = kLr, .weight_decay = kDecay, .step = step, .gradient_scale = kScale});
      for (std::size_t i = 0; i < p.size(); ++i) {
        double g = double{gradient[i]} * kScale;
        if (name == "adamw") {
          m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
          v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
          const double root = std::sqrt(v[i] / (1 - std::pow(o.beta2, step)));
          p[i] = p[i] * (1 - kLr * kDecay) - kLr * m[i] / (1 - std::pow(o.beta1, step)) / (root + o.eps);
        } else if (name == "sgd") {
          g += kDecay * p[i];
          m[i] = step == 1 ? g : o.momentum * m[i] + (1 - o.dampening) * g;
          p[i] -= kLr * (o.momentum == 0 ? g : o.nesterov ? g + o.momentum * m[i] : m[i]);
        } else {
          p[i] = p[i] * (1 - kLr * kDecay) - kLr * g;
        }
        ASSERT_NEAR(tensors.parameter[i], p[i], 2e-6 * (1 + std::abs(p[i]))) << name << " step " << step;
      }
    }
  }
}

TEST(UpdateRule, GivesTheSameBitsForAnySplitAndAlignment) {
  constexpr std::size_t kCount = 1031;
  for (const auto& [name, options] : all_rules()) {
    const auto rule = make_rule(name, options);
    Tensors whole(*rule, noise(kCount, 2));
    Tensors sliced = whole;
    for (std::size_t step = 1; step <= 4; ++step) {
      const Words gradient = noise(kCount, static_cast<unsigned>(step));
      const UpdateArgs args{.lr = 1e-2, .weight_decay = 0.1, .step = static_cast<std::int64_t>(step)};
      whole.update(*rule, gradient, args);
      std::size_t first = 0;
      for (std::size_t width = step; first < kCount; width = width * 2 + 1) {
        const std::size_t count = std::min(width, kCount - first);
        sliced.update_slice(*rule, gradient, args, first, count);
        first += count;
      }
    }
    expect_same(sliced.parameter, whole.parameter, name);
    for (std::size_t i = 0; i < whole.states.size(); ++i) expect_same(sliced.states[i], whole.states[i], name);
  }
}

TEST(UpdateRule, GivesTheSameBitsWithEveryInstructionSet) {
  constexpr std::size_t kCount = 517;
  for (const auto& [name, options] : all_rules()) {
    const auto rule = make_rule(name, options);
    std::vector<Tensors> results;
    for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
      limit_isa(isa);
      Tensors tensors(*rule, noise(kCount, 3));
      for (std::int64_t step = 1; step <= 5; ++step) {
        Words gradient = noise(kCount, static_cast<unsigned>(step), step == 3 ? 1e18F : 1e-3F);
        gradient[7] = std::numeric_limits<float>::denorm_min();
        gradient[8] = -0.0F;
        tensors.update(*rule, gradient, {.lr = 1e-2, .weight_decay = 0.1, .step = step, .gradient_scale = 0.3F});
      }
      results.push_back(std::move(tensors));
    }
    limit_isa(Isa::Avx512);
    for (std::size_t k = 1; k < results.size(); ++k) {
      expect_same(results[k].parameter, results[0].parameter, name);
      for (std::size_t i = 0; i < results[0].states.size(); ++i)
        expect_same(results[k].states[i], results[0].states[i], name);
    }
  }
}

TEST(UpdateRule, KeepsNanAndInfinityInTheElementsTheyCameIn) {
  for (const auto& [name, options] : all_rules()) {
    const auto rule = make_rule(name, options);
    Words gradient = noise(67, 4);
    Tensors clean(*rule, noise(67, 5));
    Tensors dirty = clean;
    const UpdateArgs args{.lr = 1e-2, .weight_decay = 0.1, .step = 1};
    clean.update(*rule, gradient, args);
    gradient[0] = std::numeric_limits<float>::quiet_NaN();
    gradient[33] = std::numeric_limits<float>::infinity();
    gradient[66] = -std::numeric_limits<float>::max();
    dirty.update(*rule, gradient, args);
    EXPECT_TRUE(std::isnan(dirty.parameter[0])) << name;
    EXPECT_FALSE(std::isfinite(dirty.parameter[33])) << name;
    for (const std::size_t i : {0, 33, 66}) dirty.parameter[i] = clean.parameter[i];
    expect_same(dirty.parameter, clean.parameter, name);
  }
}

TEST(UpdateRule, AcceptsAnEmptySlice) {
  for (const auto& [name, options] : all_rules()) {
    const auto rule = make_rule(name, options);
    Tensors tensors(*rule, {});
    EXPECT_NO_THROW(tensors.update(*rule, {}, {.lr = 1}));
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
}

}  // namespace
}  // namespace sluice::optim
