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

// A run inside one row: its squares go into the row's sum and each into its column's; those of the parameter, if they
// are wanted, into one sum. Both are read in turns: memory serves two streams faster than one after the other.
struct SquaresLoop {
  const float* gradient;
  const float* parameter;  // or null
  float gradient_scale;
  std::size_t first;
  double* column_sums;
  double* row_sum;
  double* parameter_sum;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double row = *row_sum, parameters = *parameter_sum;
    for_blocks(
        first, count, [&](std::size_t at, std::size_t size) __attribute__((always_inline)) {
          row += block(gradient + at, column_sums + at, size);
          if (parameter != nullptr) parameters += block_sum_of_squares(parameter + at, size);
        });
    *row_sum = row;
    *parameter_sum = parameters;
  }

 private:
  [[gnu::always_inline]] double block(const float* __restrict values, double* __restrict columns,
                                      std::size_t count) const {
    const float scale = gradient_scale;
    return block_sum(
        count, [=](std::size_t i) __attribute__((always_inline)) {
          const double g = values[i] * scale;
          columns[i] += g * g;
          return g * g;
        });
  }
};

// A run inside one row: squares of the gradient times its column's factor, then its row's.
struct UpdateSquaresLoop {
  const float* gradient;
  float gradient_scale;
  std::size_t first;
  const double* column_factors;
  double row_factor;
  double* sum;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    double total = *sum;
    for_blocks(
        first, count, [&](std::size_t at, std::size_t size) __attribute__((always_inline)) {
          total += row_factor * row_factor * block(gradient + at, column_factors + at, size);
        });
    *sum = total;
  }

 private:
  [[gnu::always_inline]] double block(const float* __restrict values, const double* __restrict factors,
                                      std::size_t count) const {
    const float scale = gradient_scale;
    return block_sum(
        count, [=](std::size_t i) __attribute__((always_inline)) {
          const double u = values[i] * scale * factors[i];
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
      total += block_sum_of_squares(values + at, std::min<std::size_t>(kBlock, count - at));
    *sum = total;
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
  const double* column_factors;
  float row_rate, gradient_scale;
  Step step;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const parameter = parameter_data;
    const float* __restrict const gradient = gradient_data;
    float* __restrict const momentum = momentum_data;
    const double* __restrict const factors = column_factors;
    const ApplyRowLoop c = *this;
    for (std::size_t i = 0; i < count; ++i) {
      const float g = gradient[i] * c.gradient_scale;
      const float quotient = c.row_rate * (static_cast<float>(factors[i]) * g);
      parameter[i] = stepped(parameter[i], quotient, momentum, i, c.step);
    }
  }
};

/// Runs of a part that lie inside one row of the tensor: use(row, column, offset, count).
template <typename Use>
void for_runs(const Part& part, const Use& use) {
  const std::int64_t columns = part.shape.back();
  const auto size = static_cast<std::int64_t>(part.parameter.size());
  std::int64_t row = part.first / columns, column = part.first % columns;
  for (std::int64_t at = 0; at < size; ++row, column = 0) {
    const std::int64_t count = std::min(columns - column, size - at);
    use(row, column, at, static_cast<std::size_t>(count));
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
  const bool squares_parameter = pass == 0 && options_.scale_parameter;
  if (is_matrix(part)) {
    for_runs(part, [&](std::int64_t row, std::int64_t column, std::int64_t at, std::size_t count) {
      const float* gradient = part.gradient.data() + at;
      const auto first = static_cast<std::size_t>(part.first + at);
      if (pass == 0) {
        run_widest(SquaresLoop{.gradient = gradient,
                               .parameter = squares_parameter ? part.parameter.data() + at : nullptr,
                               .gradient_scale = args.gradient_scale,
                               .first = first,
                               .column_sums = &sums.columns[column],
                               .row_sum = &sums.rows[row],
                               .parameter_sum = &sums.scalars[0]},
                   count);
      } else {
        run_widest(UpdateSquaresLoop{gradient, args.gradient_scale, first, &part.totals.columns[column],
                                     part.totals.rows[row], &sums.scalars[1]},
                   count);
      }
    });
    return;
  }
  if (squares_parameter) run_widest(ParameterSquaresLoop{part.parameter.data(), &sums.scalars[0]}, size);
  if (pass == 1) {
    const double beta = beta2(args);
    const float* moment = part.states[kVectorState].floats();
    for (std::size_t i = 0; i < size; ++i) {
      const double g = part.gradient[i] * args.gradient_scale;
      const double square = g * g + options_.eps1;
      sums.scalars[1] += g * g / static_cast<float>(beta * moment[i] + (1 - beta) * square);
    }
  }
}

// Sums by row and column become means, then factors whose product is one over the root of the second moment.
void FactoredRule::conclude(int pass, const Part& tensor, const UpdateArgs& args) const {
  if (pass != 0 || !is_matrix(tensor)) return;
  const double beta = beta2(args);
  const std::span<double> rows = tensor.totals.rows, columns = tensor.totals.columns;
  const auto num_rows = static_cast<double>(rows.size()), num_columns = static_cast<double>(columns.size());
  const auto take_in = [&](std::span<double> sums, double others, float* state) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      state[i] = static_cast<float>(beta * state[i] + (1 - beta) * (sums[i] / others + options_.eps1));
      sums[i] = state[i];
    }
  };
  take_in(rows, num_columns, tensor.states[kRowState].floats());
  take_in(columns, num_rows, tensor.states[kColumnState].floats());
  double sum = 0;
  for (const double row : rows) sum += row;
  const double mean = sum / num_rows;
  for (double& row : rows) row = 1.0 / std::sqrt(row / mean);
  for (double& column : columns) column = 1.0 / std::sqrt(column);
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
    for_runs(part, [&](std::int64_t row, std::int64_t column, std::int64_t at, std::size_t count) {
      run_widest(ApplyRowLoop{.parameter_data = part.parameter.data() + at,
                              .gradient_data = part.gradient.data() + at,
                              .momentum_data = momentum == nullptr ? nullptr : momentum + at,
                              .column_factors = &part.totals.columns[column],
                              .row_rate = static_cast<float>(step_rate * part.totals.rows[row]),
                              .gradient_scale = args.gradient_scale,
                              .step = step},
                 count);
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
