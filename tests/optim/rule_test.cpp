// Every row of the catalog against its formula in fp64 and against itself: slices, alignments and instruction sets must
// not change a bit.
#include "optim/rule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/isa.h"
#include "optim/rule_formulas.h"
#include "optim/tensor.h"

namespace sluice::optim {
namespace {

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
  Case(std::string rule, RuleOptions chosen, std::string shown)
      : name(std::move(rule)), options(std::move(chosen)), what(std::move(shown)) {}
};

std::span<const OptionSpec> declared_options(std::string_view name) {
  return find_row(rule_catalog(), "optimizer", name).make.options;
}

/// Every row of the catalog, with every format of its states, and some once more with their switches.
std::vector<Case> all_rules() {
  std::vector<Case> rules;
  for (const RuleRow& row : rule_catalog()) {
    const std::string name(row.name);
    rules.emplace_back(name, RuleOptions{}, name);
    if (!row.make.bf16_states) continue;
    rules.emplace_back(name, RuleOptions{.moments = StateFormat::Bf16}, name + ", bf16");
    rules.emplace_back(name, RuleOptions{.moments = StateFormat::Bf16, .stochastic_rounding = false},
                       name + ", bf16 to the nearest");
  }
  const auto add = [&](const char* name, const GivenOptions& values) {
    std::string what = name;
    for (const auto& [key, text] : values) what += " " + key + "=" + text;
    rules.emplace_back(name, RuleOptions{.values = values}, what);
  };
  add("adam", {{"beta1", "0.3"}, {"eps", "1e-4"}});
  add("adamw", {{"bias_correction", "false"}});
  add("lamb", {{"bias_correction", "false"}, {"max_coeff", "0.3"}, {"min_coeff", "0.01"}, {"use_nvlamb", "true"}});
  add("lamb", {{"min_coeff", "50"}});
  add("sgd", {{"momentum", "0.9"}, {"dampening", "0.1"}});
  add("sgd", {{"momentum", "0.9"}, {"nesterov", "true"}});
  add("adagrad", {{"lr_decay", "0.1"}, {"initial_accumulator_value", "0.2"}});
  add("rmsprop", {{"momentum", "0.9"}});
  add("rmsprop", {{"centered", "true"}, {"eps", "1e-2"}});
  add("rmsprop", {{"centered", "true"}, {"momentum", "0.5"}, {"alpha", "0.4"}, {"eps", "1e-2"}});
  add("lars", {{"momentum", "0.5"}, {"trust_coefficient", "0.02"}});
  add("adafactor", {{"beta1", "0.9"}, {"scale_parameter", "true"}});
  add("adafactor", {{"relative_step", "true"}, {"warmup_init", "true"}, {"clip_threshold", "0.5"}});
  add("adalomo", {{"decay_rate", "-0.5"}, {"eps1", "1e-6"}});
  add("muon", {{"nesterov", "false"}, {"momentum", "0.4"}, {"adjust_lr_fn", "match_rms_adamw"}});
  add("muon", {{"ns_coefficients", "2,-1.5,0.5"}, {"ns_steps", "3"}});
  return rules;
}

/// Shapes that rules treat differently: small and large vectors and matrices with ragged ends.
const std::vector<Shape>& shapes() {
  static const std::vector<Shape> kShapes = {{1031}, {9001}, {37, 29}, {131, 77}, {3, 5, 300}, {21, 512}};
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

TEST(UpdateRule, FollowsTheFp64Formula) {
  for (const Case& each : all_rules()) {
    const auto rule = make_rule(each.name, each.options);
    if (!all_fp32(*rule)) continue;
    const auto formula = reference_rules().find(each.name);
    ASSERT_NE(formula, reference_rules().end()) << each.name << " needs a function in rule_formulas.cpp";
    const OptionValues values("optimizer", each.name, declared_options(each.name), each.options.values);
    for (const Shape& shape : shapes()) {
      Tensor tensor(*rule, noise(size_of(shape), 1), shape);
      Reference reference{.shape = shape, .p = {tensor.parameter.begin(), tensor.parameter.end()}};
      for (int step = 1; step <= 6; ++step) {
        const Words gradient = noise(size_of(shape), 10 + static_cast<unsigned>(step));
        const UpdateArgs args{.lr = 0.02, .weight_decay = 0.1, .step = step, .gradient_scale = 0.25F};
        tensor.update(*rule, gradient, args);
        std::vector<double> scaled(gradient.begin(), gradient.end());
        for (double& g : scaled) g *= args.gradient_scale;
        formula->second(reference, values, scaled, args);
        for (std::size_t i = 0; i < scaled.size(); ++i) {
          const double expected = reference.p[i];
          ASSERT_NEAR(tensor.parameter[i], expected, 4e-6 * (1 + std::abs(expected))) << each.what << " step " << step;
        }
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
      for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512, Isa::Avx512Vbmi}) {
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
      limit_isa(Isa::Avx512Vbmi);
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
    // A rule that looks at the sign alone shows an infinite gradient in its state.
    bool visible = !std::isfinite(dirty.parameter[33]);
    for (const Tensor::State& state : dirty.states)
      visible = visible || (all_fp32(*rule) && !std::isfinite(state.floats()[33]));
    EXPECT_TRUE(visible) << each.what;
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

TEST(UpdateRule, TakesTheBetasOfTheStepInPlaceOfItsOwn) {
  for (const RuleRow& row : rule_catalog()) {
    const auto has = [&](const char* name) {
      return std::ranges::find(row.make.options, name, &OptionSpec::name) != row.make.options.end();
    };
    if (!has("beta1") || !has("beta2")) continue;
    const auto own = make_rule(row.name, {}),
               other = make_rule(row.name, {.values = {{"beta1", "0.7"}, {"beta2", "0.99"}}});
    Tensor given(*own, noise(5000, 1)), expected(*other, noise(5000, 1)), without(*own, noise(5000, 1));
    for (int step = 1; step <= 3; ++step) {
      const Words gradient = noise(5000, 10 + static_cast<unsigned>(step));
      const UpdateArgs args{.lr = 0.02, .weight_decay = 0.1, .step = step};
      UpdateArgs cycled = args;
      cycled.beta1 = 0.7;
      cycled.beta2 = 0.99;
      given.update(*own, gradient, cycled);
      expected.update(*other, gradient, args);
      without.update(*own, gradient, args);
    }
    EXPECT_EQ(given.parameter, expected.parameter) << row.name;
    EXPECT_NE(given.parameter, without.parameter) << row.name;
  }
}

TEST(Muon, GivesWhatIsNoMatrixToAdamwAtARateOfItsOwn) {
  const RuleOptions options{.values = {{"adamw_lr", "0.02"}, {"beta1", "0.8"}, {"adamw_eps", "1e-6"}}, .lr = 0.1};
  const auto muon = make_rule("muon", options), rest = make_rest_rule("muon", options);
  const auto adamw = make_rule("adamw", {.values = {{"beta1", "0.8"}, {"eps", "1e-6"}}});
  ASSERT_NE(rest, nullptr);
  EXPECT_EQ(make_rest_rule("adamw", {}), nullptr);
  const Shape matrix = {20, 30};
  Tensor vector(*muon, noise(600, 1)), table(*rest, noise(600, 1), matrix), expected(*adamw, noise(600, 1));
  for (int step = 1; step <= 3; ++step) {
    const Words gradient = noise(600, 5 + static_cast<unsigned>(step));
    UpdateArgs args{.lr = 0.05, .weight_decay = 0.1, .step = step};  // a schedule's half
    vector.update(*muon, gradient, args);
    table.update(*rest, gradient, args);
    args.lr = 0.01;
    expected.update(*adamw, gradient, args);
  }
  for (std::size_t i = 0; i < 600; ++i) {
    EXPECT_NEAR(vector.parameter[i], expected.parameter[i], 1e-6);
    EXPECT_NEAR(table.parameter[i], expected.parameter[i], 1e-6);
  }
}

TEST(RuleCatalog, MarksTheRulesThatUpdateInBackward) {
  for (const RuleRow& row : rule_catalog())
    EXPECT_EQ(row.make.in_backward, row.name == "lomo" || row.name == "adalomo") << row.name;
}

TEST(RuleCatalog, NamesStatesAsTorchDoes) {
  const auto names = [](std::string_view rule, const GivenOptions& values = {}) {
    std::string all;
    const auto made = make_rule(rule, {.values = values});
    for (const StateSpec& state : made->states()) all += state.name + " ";
    return all;
  };
  EXPECT_EQ(names("adamw"), "exp_avg exp_avg_sq ");
  EXPECT_EQ(names("adam"), "exp_avg exp_avg_sq ");
  EXPECT_EQ(names("sgd"), "");
  EXPECT_EQ(names("sgd", {{"momentum", "0.9"}}), "momentum_buffer ");
  EXPECT_EQ(names("adagrad"), "sum ");
  EXPECT_EQ(names("rmsprop"), "square_avg ");
  EXPECT_EQ(names("rmsprop", {{"momentum", "0.9"}, {"centered", "true"}}), "square_avg momentum_buffer grad_avg ");
  EXPECT_EQ(names("lion"), "exp_avg ");
  EXPECT_EQ(names("lars"), "momentum_buffer ");
  EXPECT_EQ(names("adafactor", {{"beta1", "0.9"}}), "exp_avg_sq_row exp_avg_sq_col exp_avg_sq exp_avg ");
  EXPECT_EQ(names("lomo"), "");
  EXPECT_EQ(names("muon"), "momentum_buffer exp_avg exp_avg_sq ");
}

TEST(RuleCatalog, RefusesUnknownNamesAndOptionsOutOfRange) {
  EXPECT_THROW(make_rule("adamv", {}), ConfigError);
  const auto refused = [](std::string_view rule, const GivenOptions& values) {
    EXPECT_THROW(make_rule(rule, {.values = values}), ConfigError) << rule;
  };
  refused("adamw", {{"beta1", "1"}});
  refused("adamw", {{"beta2", "-0.1"}});
  refused("adamw", {{"eps", "nan"}});
  refused("adamw", {{"momentum", "0.9"}});
  refused("sgd", {{"momentum", "-1"}});
  refused("sgd", {{"nesterov", "true"}});
  refused("sgd", {{"momentum", "0.9"}, {"dampening", "0.1"}, {"nesterov", "true"}});
  refused("adafactor", {{"warmup_init", "true"}});
  refused("muon", {{"ns_coefficients", "3,4"}});
  refused("muon", {{"ns_coefficients", "3,4,x"}});
  refused("muon", {{"ns_steps", "100"}});
  refused("muon", {{"ns_steps", "2.5"}});
  refused("muon", {{"adjust_lr_fn", "other"}});
  refused("muon", {{"adamw_lr", "0.1"}});
  EXPECT_THROW(make_rule("lomo", {.moments = StateFormat::Bf16}), ConfigError);
}

}  // namespace
}  // namespace sluice::optim
