#include "optim/factored.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/isa.h"
#include "optim/block_sum.h"

namespace sluice::optim {
namespace {

// Positions among the states; a momentum stands behind them.
constexpr std::size_t kRowState = 0, kColumnState = 1, kVectorState = 2, kMomentum = 3;

/// Cuts a run that begins `first` elements after the start of its tensor at the ends of the tensor's blocks:
/// use(offset, size). Slices end there too, so that they change no sum.
template <typename Use>
[[gnu::always_inline]] inline void for_blocks(std::size_t first, std::size_t count, const Use& use) {
  for (std::size_t at = 0; at < count;) {
    const std::size_t size = std::min<std::size_t>(kBlock - (first + at) % kBlock, count - at);
    use(at, size);
    at += size;
  }
}

/// Of a block's numbers times `scale`.
[[gnu::always_inline]] inline float sum_of_squares(const float* values, float scale, std::size_t count) {
  return block_sum<float>(
      count, [=](std::size_t i) __attribute__((always_inline)) {
        const float x = values[i] * scale;
        return x * x;
      });
}

// Runs inside kRows rows, one below another: squares go into the sums of their rows and, row after row, into those of
// their columns. A column's sum is fetched once for all rows. Squares are fp32 as transformers takes them, sums fp64.
template <std::size_t kRows>
struct SquaresLoop {
  const float* gradient;
  std::size_t row_length;
  float gradient_scale;
  std::size_t first;  // of the run, in the tensor
  double* column_sums;
  double* row_sums;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    for_blocks(
        first, count, [&](std::size_t at, std::size_t size) __attribute__((always_inline)) {
          add_to_columns(at, size);
          for (std::size_t row = 0; row < kRows; ++row) {
            row_sums[row] += sum_of_squares(gradient + row * row_length + at, gradient_scale, size);
          }
        });
  }

 private:
  [[gnu::always_inline]] void add_to_columns(std::size_t at, std::size_t count) const {
    const float* __restrict const values = gradient + at;
    double* __restrict const columns = column_sums + at;
    const std::size_t length = row_length;
    const float scale = gradient_scale;
    for (std::size_t i = 0; i < count; ++i) {
      double sum = columns[i];
      for (std::size_t row = 0; row < kRows; ++row) {
        const float g = values[row * length + i] * scale;
        sum += double{g * g};
      }
      columns[i] = sum;
    }
  }
};

// A run inside one row: squares of the gradient times its column's factor, then its row's; and squares of the
// parameter, if they are wanted. Both are read in turns: memory serves two streams faster than one after the other.
struct UpdateSquaresLoop {
  const float* gradient;
  const float* parameter;  // or null
  float gradient_scale;
  std::size_t first;
  const float* column_factors;
  double row_factor;
  double* parameter_sum;
  double* update_sum;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double parameters = *parameter_sum, updates = *update_sum;
    for_blocks(
        first, count, [&](std::size_t at, std::size_t size) __attribute__((always_inline)) {
          updates += row_factor * row_factor * block(gradient + at, column_factors + at, size);
          if (parameter != nullptr) parameters += sum_of_squares(parameter + at, 1.0F, size);
        });
    *parameter_sum = parameters;
    *update_sum = updates;
  }

 private:
  [[gnu::always_inline]] float block(const float* __restrict values, const float* __restrict factors,
                                     std::size_t count) const {
    const float scale = gradient_scale;
    return block_sum<float>(
        count, [=](std::size_t i) __attribute__((always_inline)) {
          const float u = values[i] * scale * factors[i];
          return u * u;
        });
  }
};

// From the start of a block on.
struct ParameterSquaresLoop {
  const float* values;
  double* sum;
  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double total = *sum;
    for (std::size_t at = 0; at < count; at += kBlock)
      total += sum_of_squares(values + at, 1.0F, std::min<std::size_t>(kBlock, count - at));
    *sum = total;
  }
};

// Sums of squares into the moment of means, which replaces them.
struct MeansLoop {
  double* sum_data;
  float* state_data;
  double beta, others, eps;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double* __restrict const sums = sum_data;
    float* __restrict const state = state_data;
    const MeansLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      state[i] = static_cast<float>(c.beta * double{state[i]} + (1 - c.beta) * (sums[i] / c.others + c.eps));
      sums[i] = state[i];
    }
  }
};

// One over the root of each number's share of `of`, in its place and, if that is not null, in fp32.
struct FactorsLoop {
  double* number_data;
  double of;
  float* narrow_data;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double* __restrict const numbers = number_data;
    float* __restrict const narrow = narrow_data;
    const double whole = of;
    for (std::size_t i = 0; i < count; ++i) numbers[i] = 1.0 / std::sqrt(numbers[i] / whole);
    if (narrow == nullptr) return;
    for (std::size_t i = 0; i < count; ++i) narrow[i] = static_cast<float>(numbers[i]);
  }
};

/// How an element changes once its quotient is known.
struct Step {
  float decay, beta1, one_minus_beta1;
};

[[gnu::always_inline]] inline float stepped(float parameter, float quotient, float* momentum, std::size_t i,
                                            const Step& step) {
  if (momentum == nullptr) return parameter * step.decay - quotient;
  momentum[i] = std::fma(quotient, step.one_minus_beta1, momentum[i] * step.beta1);
  return parameter * step.decay - momentum[i];
}

// A run inside one row.
struct ApplyRowLoop {
  float* parameter_data;
  const float* gradient_data;
  float* momentum_data;
  const float* column_factors;
  float row_rate, gradient_scale;
  Step step;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const momentum = momentum_data;
    const float* __restrict const factors = column_factors;
    const ApplyRowLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float g = gradient[i] * c.gradient_scale;
      const float quotient = c.row_rate * (factors[i] * g);
      parameter[i] = stepped(parameter[i], quotient, momentum, i, c.step);
    }
  }
};

/// A run of a part's elements that lie inside one row of the tensor.
struct Run {
  std::int64_t row, column;
  std::int64_t offset;  ///< in the part
  std::size_t count;
};

/// use(run) for the run in every row, from the top.
template <typename Use>
void for_runs(const Part& part, const Use& use) {
  const std::int64_t columns = part.shape.back();
  const auto size = static_cast<std::int64_t>(part.parameter.size());
  std::int64_t row = part.first / columns, column = part.first % columns;
  for (std::int64_t at = 0; at < size; ++row, column = 0) {
    const std::int64_t count = std::min(columns - column, size - at);
    use(Run{row, column, at, static_cast<std::size_t>(count)});
    at += count;
  }
}

bool is_matrix(const Part& part) { return part.shape.size() >= 2; }

double tensor_elements(const Part& part) { return static_cast<double>(num_elements(Extent::Elements, part.shape)); }

}  // namespace

FactoredRule::FactoredRule(const FactoredOptions& options) : options_(options) {
  states_ = {{"exp_avg_sq_row", Extent::Rows}, {"exp_avg_sq_col", Extent::Columns}, {"exp_avg_sq", Extent::Vectors}};
  if (options.beta1) states_.push_back({"exp_avg"});
}

double FactoredRule::beta2(const UpdateArgs& args) const {
  return 1.0 - std::pow(static_cast<double>(args.step), options_.decay_rate);
}

double FactoredRule::scaled_lr(const Part& part, const UpdateArgs& args) const {
  double lr = args.lr;
  if (options_.relative_step) {
    const auto step = static_cast<double>(args.step);
    lr = std::min(options_.warmup_init ? 1e-6 * step : 1e-2, 1.0 / std::sqrt(step));
  }
  if (!options_.scale_parameter) return lr;
  return lr * std::max(options_.eps2, std::sqrt(part.totals.scalars[0] / tensor_elements(part)));
}

double FactoredRule::rate(const Part& part, const UpdateArgs& args) const {
  const double root_mean_square = std::sqrt(part.totals.scalars[1] / tensor_elements(part));
  return scaled_lr(part, args) / std::max(1.0, root_mean_square / options_.clip_threshold);
}

void FactoredRule::measure(int pass, const Part& part, const UpdateArgs& args, const Sums& sums) const {
  SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size());
  const std::size_t size = part.parameter.size();
  if (is_matrix(part)) return pass == 0 ? measure_squares(part, args, sums) : measure_update(part, args, sums);
  if (pass == 0) return;
  if (options_.scale_parameter) run_widest(ParameterSquaresLoop{part.parameter.data(), &sums.scalars[0]}, size);
  const double beta = beta2(args);
  const float* moment = part.states[kVectorState].floats();
  for (std::size_t i = 0; i < size; ++i) {
    const double g = part.gradient[i] * args.gradient_scale;
    const double square = g * g + options_.eps1;
    sums.scalars[1] += g * g / static_cast<float>(beta * moment[i] + (1 - beta) * square);
  }
}

void FactoredRule::measure_squares(const Part& part, const UpdateArgs& args, const Sums& sums) {
  const auto use = [&]<std::size_t kRows>(const Run& run) {
    run_widest(SquaresLoop<kRows>{.gradient = part.gradient.data() + run.offset,
                                  .row_length = static_cast<std::size_t>(part.shape.back()),
                                  .gradient_scale = args.gradient_scale,
                                  .first = static_cast<std::size_t>(part.first + run.offset),
                                  .column_sums = &sums.columns[run.column],
                                  .row_sums = &sums.rows[run.row]},
               run.count);
  };
  const std::int64_t columns = part.shape.back();
  const auto size = static_cast<std::int64_t>(part.gradient.size());
  std::int64_t taken = 0;  // elements, by rows above
  for_runs(part, [&](const Run& run) {
    if (run.offset < taken) return;
    const bool four = run.column == 0 && columns % kBlock == 0 && size - run.offset >= 4 * columns;
    four ? use.template operator()<4>(run) : use.template operator()<1>(run);
    if (four) taken = run.offset + 4 * columns;
  });
}

void FactoredRule::measure_update(const Part& part, const UpdateArgs& args, const Sums& sums) const {
  for_runs(part, [&](const Run& run) {
    run_widest(UpdateSquaresLoop{.gradient = part.gradient.data() + run.offset,
                                 .parameter = options_.scale_parameter ? part.parameter.data() + run.offset : nullptr,
                                 .gradient_scale = args.gradient_scale,
                                 .first = static_cast<std::size_t>(part.first + run.offset),
                                 .column_factors = &part.totals.column_factors[run.column],
                                 .row_factor = part.totals.rows[run.row],
                                 .parameter_sum = &sums.scalars[0],
                                 .update_sum = &sums.scalars[1]},
               run.count);
  });
}

// Sums by row and column become means, then factors whose product is one over the root of the second moment.
void FactoredRule::conclude(int pass, const Part& tensor, const UpdateArgs& args) const {
  if (pass != 0 || !is_matrix(tensor)) return;
  const Sums& totals = tensor.totals;
  const std::size_t num_rows = totals.rows.size(), num_columns = totals.columns.size();
  const auto take_in = [&](std::span<double> sums, std::size_t others, float* state) {
    run_widest(MeansLoop{sums.data(), state, beta2(args), static_cast<double>(others), options_.eps1}, sums.size());
  };
  take_in(totals.rows, num_columns, tensor.states[kRowState].floats());
  take_in(totals.columns, num_rows, tensor.states[kColumnState].floats());
  double sum = 0;
  for (const double row : totals.rows) sum += row;
  const double mean = sum / static_cast<double>(num_rows);
  run_widest(FactorsLoop{totals.rows.data(), mean, nullptr}, num_rows);
  run_widest(FactorsLoop{totals.columns.data(), 1, totals.column_factors.data()}, num_columns);
}

void FactoredRule::update(const Part& part, const UpdateArgs& args) const {
  SLUICE_CHECK(part.parameter.size() == part.gradient.size() && part.states.size() == states_.size());
  const double step_rate = rate(part, args);
  const double beta1 = options_.beta1.value_or(0);
  const Step step{.decay = static_cast<float>(1 - scaled_lr(part, args) * args.weight_decay),
                  .beta1 = static_cast<float>(beta1),
                  .one_minus_beta1 = static_cast<float>(1 - beta1)};
  float* momentum = options_.beta1 ? part.states[kMomentum].floats() : nullptr;
  if (is_matrix(part)) {
    for_runs(part, [&](const Run& run) {
      run_widest(ApplyRowLoop{.parameter_data = part.parameter.data() + run.offset,
                              .gradient_data = part.gradient.data() + run.offset,
                              .momentum_data = momentum == nullptr ? nullptr : momentum + run.offset,
                              .column_factors = &part.totals.column_factors[run.column],
                              .row_rate = static_cast<float>(step_rate * part.totals.rows[run.row]),
                              .gradient_scale = args.gradient_scale,
                              .step = step},
                 run.count);
    });
    return;
  }
  const double beta = beta2(args);
  float* moment = part.states[kVectorState].floats();
  for (std::size_t i = 0; i < part.parameter.size(); ++i) {
    const double g = part.gradient[i] * args.gradient_scale;
    moment[i] = static_cast<float>(beta * moment[i] + (1 - beta) * (g * g + options_.eps1));
    const auto quotient = static_cast<float>(step_rate * (g / std::sqrt(double{moment[i]})));
    part.parameter[i] = stepped(part.parameter[i], quotient, momentum, i, step);
  }
}

}  // namespace sluice::optim
