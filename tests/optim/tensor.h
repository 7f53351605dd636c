// A tensor with a rule's states and sums in memory of its own, updated whole or in runs: what the program's executor
// does with arenas, threads and pieces.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "optim/newton_schulz.h"
#include "optim/rule.h"

namespace sluice::optim {

using Words = std::vector<float>;
using Shape = std::vector<std::int64_t>;

inline Words noise(std::size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Words words(count);
  for (float& word : words) word = normal(generator);
  return words;
}

class Tensor {
 public:
  struct State {
    std::vector<std::byte> elements;
    Words scales;
    bool operator==(const State& other) const {
      return elements == other.elements && std::ranges::equal(scales, other.scales, {}, bits, bits);
    }
    static std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
    [[nodiscard]] Words floats() const {
      Words values(elements.size() / sizeof(float));
      std::copy(elements.begin(), elements.end(), reinterpret_cast<std::byte*>(values.data()));
      return values;
    }
  };

  Words parameter;
  std::vector<State> states;

  Tensor(const UpdateRule& rule, Words initial, Shape shape = {})
      : parameter(std::move(initial)), shape_(std::move(shape)) {
    if (shape_.empty()) shape_ = {static_cast<std::int64_t>(parameter.size())};
    for (const StateSpec& spec : rule.states()) {
      const auto count = static_cast<std::size_t>(num_elements(spec.extent, shape_));
      states.push_back({std::vector<std::byte>(count * width(spec)), {}});
      if (spec.format == StateFormat::Block8) states.back().scales.resize((count + kBlock - 1) / kBlock);
    }
  }

  /// All passes in runs of `run` elements, a multiple of kBlock (or, without sums and blocks, any number); 0: whole.
  void update(const UpdateRule& rule, const Words& gradient, const UpdateArgs& args, std::size_t run = 0) {
    if (rule.orthogonalizes() && num_elements(Extent::Matrices, shape_) > 0) {
      update_whole(rule, gradient, args, run);
      return;
    }
    const Measuring measuring = rule.measuring();
    scalars_.assign(measuring.scalars, 0);
    rows_.assign(measuring.rows ? num_elements(Extent::Rows, shape_) : 0, 0);
    columns_.assign(measuring.columns ? num_elements(Extent::Columns, shape_) : 0, 0);
    factors_.assign(columns_.size(), 0);
    if (measuring.advanced > 0) direction_ = gradient;
    const Words& read = measuring.advanced > 0 ? direction_ : gradient;
    for (int pass = 0; pass < measuring.passes; ++pass) {
      for_each_run(rule, read, run, [&](const Part& part) { rule.measure(pass, part, args, part.totals); });
      with_part(rule, read, 0, 0, [&](const Part& part) { rule.conclude(pass, part, args); });
    }
    for_each_run(rule, read, run, [&](const Part& part) { rule.update(part, args); });
  }

 private:
  void update_whole(const UpdateRule& rule, const Words& gradient, const UpdateArgs& args, std::size_t run) {
    direction_.resize(gradient.size());
    for_each_run(rule, gradient, run, [&](const Part& part) { rule.direct(part, args); });
    const std::vector<double> step = orthogonalized(*rule.orthogonalizes(), {direction_.begin(), direction_.end()},
                                                    static_cast<std::size_t>(shape_[0]));
    std::ranges::copy(step, direction_.begin());
    for_each_run(rule, gradient, run, [&](const Part& part) { rule.update(part, args); });
  }

  static std::size_t width(const StateSpec& spec) {
    switch (spec.format) {
      case StateFormat::Fp32:
        return sizeof(float);
      case StateFormat::Bf16:
      case StateFormat::Low16:
        return sizeof(std::uint16_t);
      case StateFormat::Block8:
        break;
    }
    return 1;
  }

  template <typename Use>
  void for_each_run(const UpdateRule& rule, const Words& gradient, std::size_t run, Use use) {
    if (run == 0) run = std::max<std::size_t>(parameter.size(), 1);
    for (std::size_t first = 0; first == 0 || first < parameter.size(); first += run)
      with_part(rule, gradient, first, std::min(run, parameter.size() - first), use);
  }

  template <typename Use>
  void with_part(const UpdateRule& rule, const Words& gradient, std::size_t first, std::size_t count, Use use) {
    std::vector<StateView> views;
    for (std::size_t s = 0; s < states.size(); ++s) {
      const StateSpec& spec = rule.states()[s];
      StateView view;
      if (!states[s].elements.empty()) {
        const bool whole =
            spec.extent == Extent::Rows || spec.extent == Extent::Columns || spec.extent == Extent::Scalar;
        view.elements = states[s].elements.data() + (whole ? 0 : first * width(spec));
        if (spec.format == StateFormat::Block8) view.scales = states[s].scales.data() + first / kBlock;
      }
      views.push_back(view);
    }
    use(Part{.parameter = std::span(parameter).subspan(first, count),
             .gradient = std::span(gradient).subspan(first, count),
             .states = views,
             .shape = shape_,
             .first = static_cast<std::int64_t>(first),
             .first_in_model = static_cast<std::int64_t>(first),
             .totals = {scalars_, rows_, columns_, factors_},
             .direction = direction_.empty() ? std::span<float>() : std::span(direction_).subspan(first, count)});
  }

  Shape shape_;
  std::vector<double> scalars_, rows_, columns_;
  Words factors_;
  Words direction_;  // of a matrix that is updated whole, or the gradient that a rule writes over
};

}  // namespace sluice::optim
