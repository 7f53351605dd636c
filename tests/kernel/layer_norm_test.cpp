// Layer normalisation and GELU against their formulas in double precision, and against themselves on other instruction
// sets.
#include "kernel/layer_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>
#include <random>
#include <vector>

#include "base/isa.h"
#include "kernel/gelu.h"

namespace sluice::kernel {
namespace {

using Floats = std::vector<float>;

Floats noise(std::size_t count, unsigned seed, float scale = 1.0F, float mean = 0.0F) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, scale);
  Floats values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

void expect_near(const Floats& got, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], tolerance * largest) << i;
}

class Limited {
 public:
  explicit Limited(Isa isa) { limit_isa(isa); }
  ~Limited() { limit_isa(Isa::Avx512Vbmi); }
};

void expect_same_bits_everywhere(const std::function<std::vector<Floats>()>& compute) {
  const auto on = [&](Isa isa) {
    const Limited limited(isa);
    return compute();
  };
  const std::vector<Floats> baseline = on(Isa::Baseline);
  EXPECT_EQ(on(Isa::Avx2), baseline);
  EXPECT_EQ(on(Isa::Avx512), baseline);
}

constexpr std::size_t kRows = 5;
constexpr float kEps = 1e-5F;

struct NormCase {
  explicit NormCase(std::size_t row_width)
      : width(row_width),
        x(noise(kRows * width, 1, 2.0F, 3.0F)),
        weight(noise(width, 2)),
        bias(noise(width, 3)),
        dy(noise(kRows * width, 4)),
        mean(kRows),
        rstd(kRows) {}
  Floats forward() {
    Floats y(x.size());
    layer_norm(rows(y), kEps);
    return y;
  }
  Floats again() {
    Floats y(x.size());
    layer_norm_again(rows(y));
    return y;
  }
  // dx, dw, db
  std::vector<Floats> backward(const Floats* residual) {
    Floats dx = dy, dw(width, 1.0F), db(width, 1.0F);
    layer_norm_backward({.num_rows = kRows,
                         .width = width,
                         .dy = dx.data(),
                         .x = x.data(),
                         .mean = mean.data(),
                         .rstd = rstd.data(),
                         .weight = weight.data(),
                         .residual = residual != nullptr ? residual->data() : nullptr,
                         .dx = dx.data(),
                         .weight_gradient = dw.data(),
                         .bias_gradient = db.data()});
    return {dx, dw, db};
  }
  LayerNormRows rows(Floats& y) {
    return {kRows, width, x.data(), weight.data(), bias.data(), mean.data(), rstd.data(), y.data()};
  }
  std::size_t width;
  Floats x, weight, bias, dy, mean, rstd;
};

TEST(LayerNorm, GivesItsFormulaAndGradients) {
  for (const std::size_t width : {7UL, 32UL, 71UL, 768UL}) {
    SCOPED_TRACE(width);
    NormCase c(width);
    const Floats y = c.forward();
    EXPECT_EQ(c.again(), y);
    const std::vector<Floats> gradients = c.backward(nullptr), with_residual = c.backward(&c.x);
    std::vector<double> expected_y, dx, dx_residual, dw(width, 1.0), db(width, 1.0);
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* const x = c.x.data() + r * width;
      const float* const dy = c.dy.data() + r * width;
      double mean = 0, squares = 0, share = 0, slope = 0;
      for (std::size_t i = 0; i < width; ++i) mean += x[i] / static_cast<double>(width);
      for (std::size_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean) / static_cast<double>(width);
      const double rstd = 1 / std::sqrt(squares + static_cast<double>(kEps));
      for (std::size_t i = 0; i < width; ++i) {
        const double n = (x[i] - mean) * rstd, scaled = static_cast<double>(dy[i]) * c.weight[i];
        expected_y.push_back(n * c.weight[i] + c.bias[i]);
        share += scaled / static_cast<double>(width);
        slope += scaled * n / static_cast<double>(width);
        dw[i] += dy[i] * n;
        db[i] += dy[i];
      }
      for (std::size_t i = 0; i < width; ++i) {
        const double n = (x[i] - mean) * rstd;
        dx.push_back(rstd * (static_cast<double>(dy[i]) * c.weight[i] - share - n * slope));
        dx_residual.push_back(dx.back() + x[i]);
      }
    }
    expect_near(y, expected_y, 1e-6);
    expect_near(gradients[0], dx, 5e-6);
    expect_near(with_residual[0], dx_residual, 5e-6);
    expect_near(gradients[1], dw, 2e-6);
    expect_near(gradients[2], db, 1e-6);
    expect_same_bits_everywhere([&] {
      std::vector<Floats> all = c.backward(&c.x);
      all.push_back(c.forward());
      return all;
    });
  }
}

TEST(LayerNorm, DoesNotLoseTheVarianceBesideALargeMean) {
  NormCase c(64);
  for (float& x : c.x) x += 1000.0F;
  const Floats y = c.forward();
  NormCase centred(64);
  for (std::size_t i = 0; i < c.x.size(); ++i) centred.x[i] = c.x[i] - 1000.0F;
  const Floats expected = centred.forward();
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], expected[i], 2e-3);
}

double exact_gelu(double x) { return x * 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double tanh_gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

TEST(Gelu, GivesBothFormsAndTheirDerivatives) {
  for (const auto& [form, function] : {std::pair{Gelu::Exact, &exact_gelu}, std::pair{Gelu::Tanh, &tanh_gelu}}) {
    const std::size_t width = 71;
    Floats x = noise(kRows * width, 1, 3.0F);
    x[0] = 40;
    x[1] = -40;
    x[2] = 0;
    const Floats bias = noise(width, 2, 0.1F), dy = noise(kRows * width, 3);
    Floats out(x.size());
    gelu({kRows, width, x.data(), bias.data(), out.data()}, form);
    Floats activation = dy, dx = x, db(width);
    gelu_backward({kRows, width, bias.data(), activation.data(), dx.data(), db.data()}, form);
    EXPECT_EQ(activation, out);
    std::vector<double> sums(width);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(x[i] + bias[i % width]), h = 1e-5;
      EXPECT_NEAR(out[i], function(value), 3e-7 * (1 + std::abs(value))) << value;
      const double slope = (function(value + h) - function(value - h)) / (2 * h);
      EXPECT_NEAR(dx[i], dy[i] * slope, 2e-6 * std::abs(dy[i])) << value;
      sums[i % width] += dy[i] * slope;
    }
    expect_near(db, sums, 2e-6);
    expect_same_bits_everywhere([&] {
      Floats a = dy, d = x, b(width), o(x.size());
      gelu({kRows, width, x.data(), bias.data(), o.data()}, form);
      gelu_backward({kRows, width, bias.data(), a.data(), d.data(), b.data()}, form);
      return std::vector{a, d, b, o};
    });
  }
}

}  // namespace
}  // namespace sluice::kernel
