// Update rules against what torch, transformers and reference codes compute (tools/oracles/optim_golden.py): bit for
// bit where torch has a kernel of the same arithmetic, closely where the order of a sum differs.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "optim/tensor.h"

namespace sluice::optim {
namespace {

struct Golden {
  std::string rule;
  UpdateArgs args;
  GivenOptions options;
  Shape shape;
  Words initial;
  std::vector<Words> gradients;
  std::vector<std::vector<Words>> after;  // per step: parameter, then states
};

Words read_line(std::istream& in) {
  std::string line;
  std::getline(in, line);
  std::istringstream words(line);
  Words values;
  std::uint32_t bits = 0;
  while (words >> std::hex >> bits) values.push_back(std::bit_cast<float>(bits));
  return values;
}

Golden read_case(std::istream& in) {
  Golden golden;
  std::size_t steps = 0, states = 0;
  std::string shape, pairs;
  in >> golden.rule >> golden.args.lr >> golden.args.weight_decay >> shape >> steps >> states >> pairs >> std::ws;
  std::istringstream sizes(shape), options(pairs == "-" ? "" : pairs);
  for (std::string size; std::getline(sizes, size, 'x');) golden.shape.push_back(std::stoll(size));
  for (std::string pair; std::getline(options, pair, ',');) {
    std::string text = pair.substr(pair.find('=') + 1);
    std::ranges::replace(text, ';', ',');
    golden.options[pair.substr(0, pair.find('='))] = text;
  }
  golden.initial = read_line(in);
  for (std::size_t step = 0; step < steps; ++step) golden.gradients.push_back(read_line(in));
  for (std::size_t step = 0; step < steps; ++step) {
    golden.after.emplace_back();
    for (std::size_t i = 0; i <= states; ++i) golden.after.back().push_back(read_line(in));
  }
  return golden;
}

/// Equal bits, or for whole-tensor rules as near as two orders of a sum are.
void expect_equal(const Words& got, const Words& expected, bool exact, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (exact) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected[i]))
          << what << " element " << i << ": " << got[i] << " is not " << expected[i];
    } else {
      ASSERT_NEAR(got[i], expected[i], 3e-6 * std::abs(expected[i]) + 2e-6) << what << " element " << i;
    }
  }
}

/// A reference that rounds to bf16 in five steps of three products, each by up to 2^-9: a hundredth or two of the step.
void expect_rough(const Words& got, const Words& expected, const Words& initial, const std::string& what) {
  double error = 0, step = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += std::pow(got[i] - expected[i], 2);
    step += std::pow(expected[i] - initial[i], 2);
  }
  EXPECT_LT(std::sqrt(error / step), 0.02) << what;
  EXPECT_GT(error, 0) << what << ": nothing was rounded";
}

TEST(RuleGolden, GivesTheReferencesNumbersStepByStep) {
  std::ifstream in(std::string(SLUICE_TEST_DATA) + "/optim/rules.txt");
  std::set<std::string> seen;
  for (std::string word; in >> word;) {
    Golden golden = read_case(in);
    seen.insert(golden.rule);
    const auto rule = make_rule(golden.rule, {.values = golden.options});
    Tensor tensor(*rule, golden.initial, golden.shape);
    for (std::size_t step = 0; step < golden.gradients.size(); ++step) {
      golden.args.step = static_cast<std::int64_t>(step) + 1;
      tensor.update(*rule, golden.gradients[step], golden.args);
      // torch's rmsprop takes MKL's square root, which is not always the nearest number.
      const bool exact = rule->measuring().passes == 0 && golden.rule != "rmsprop";
      const bool products = rule->orthogonalizes() && golden.shape.size() >= 2;
      const std::string what = golden.rule + " step " + std::to_string(golden.args.step);
      std::size_t written = 0;
      for (std::size_t s = 0; s < rule->states().size(); ++s) {
        const Words state = tensor.states[s].floats();
        if (state.empty()) continue;
        ASSERT_LT(++written, golden.after[step].size()) << what;
        expect_equal(state, golden.after[step][written], exact, what + " " + rule->states()[s].name);
      }
      ASSERT_EQ(written + 1, golden.after[step].size()) << what;
      if (word == "rough") {
        expect_rough(tensor.parameter, golden.after[step][0], golden.initial, what);
      } else {
        expect_equal(tensor.parameter, golden.after[step][0], exact && !products, what + " parameter");
      }
    }
  }
  for (const RuleRow& row : rule_catalog()) {
    const auto rule = make_rule(row.name, {});
    bool exact_states = true;
    for (const StateSpec& spec : rule->states()) exact_states = exact_states && spec.format == StateFormat::Fp32;
    // lomo is sgd without momentum; narrow states have tests of their own.
    if (!exact_states || row.name == "lomo") continue;
    EXPECT_EQ(seen.count(std::string(row.name)), 1U) << row.name;
  }
}

}  // namespace
}  // namespace sluice::optim
