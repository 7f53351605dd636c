// Every kernel against the same formula in double precision, and against itself on other instruction sets.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "base/isa.h"
#include "kernel/column_sum.h"
#include "kernel/cross_entropy.h"
#include "kernel/lanes.h"
#include "kernel/rms_norm.h"
#include "kernel/rope.h"
#include "kernel/swiglu.h"

namespace sluice::kernel {
namespace {

using Floats = std::vector<float>;

Floats noise(std::size_t count, unsigned seed, float scale = 1.0F) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
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

// Runs `compute` with every instruction set that is here and compares bits.
void expect_same_bits_everywhere(const std::function<Floats()>& compute) {
  limit_isa(Isa::Baseline);
  const Floats baseline = compute();
  for (const Isa isa : {Isa::Avx2, Isa::Avx512}) {
    limit_isa(isa);
    EXPECT_EQ(compute(), baseline);
  }
}

constexpr std::size_t kRows = 5;
const std::size_t kWidths[] = {1, 7, 32, 71, 576};

TEST(FastExp, StaysWithinItsBound) {
  double worst = 0;
  for (double x = -87.3; x < 88.3; x += 1.7e-4) {
    const double exact = std::exp(static_cast<double>(static_cast<float>(x)));
    worst = std::max(worst, std::abs(fast_exp(static_cast<float>(x)) - exact) / exact);
  }
  EXPECT_LT(worst, 1.3e-7);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_LT(fast_exp(-infinity), 1.3e-38F);
  EXPECT_GT(fast_exp(infinity), 2e38F);
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
}

TEST(RmsNorm, GivesTheFormulaForwardsAndBack) {
  for (const std::size_t width : kWidths) {
    SCOPED_TRACE(width);
    const Floats x = noise(kRows * width, 1), w = noise(width, 2), dy = noise(kRows * width, 3),
                 residual = noise(kRows * width, 4);
    Floats y(x.size()), again(x.size()), rstd(kRows), dx(x.size()), dw(width, 0.0F);
    rms_norm({kRows, width, x.data(), w.data(), rstd.data(), y.data()}, 1e-5F);
    rms_norm_again({kRows, width, x.data(), w.data(), rstd.data(), again.data()});
    rms_norm_backward(
        {kRows, width, dy.data(), x.data(), rstd.data(), w.data(), residual.data(), dx.data(), dw.data()});
    EXPECT_EQ(again, y);
    std::vector<double> y_exact, dx_exact, dw_exact(width, 0.0);
    for (std::size_t row = 0; row < kRows; ++row) {
      const std::size_t from = row * width;
      double squares = 0, mean = 0;
      for (std::size_t i = 0; i < width; ++i) squares += double{x[from + i]} * x[from + i];
      const double r = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
      for (std::size_t i = 0; i < width; ++i) mean += double{dy[from + i]} * w[i] * x[from + i] * r;
      mean /= static_cast<double>(width);
      for (std::size_t i = 0; i < width; ++i) {
        const double n = x[from + i] * r;
        y_exact.push_back(n * w[i]);
        dx_exact.push_back(residual[from + i] + r * (double{dy[from + i]} * w[i] - n * mean));
        dw_exact[i] += dy[from + i] * n;
      }
    }
    expect_near(y, y_exact, 1e-6);
    expect_near(dx, dx_exact, 1e-6);
    expect_near(dw, dw_exact, 1e-6);
  }
}

TEST(RmsNorm, BackwardWorksInThePlaceOfEitherInput) {
  const std::size_t width = 71;
  const Floats x = noise(kRows * width, 1), w = noise(width, 2), dy = noise(kRows * width, 3),
               residual = noise(kRows * width, 4);
  Floats y(x.size()), rstd(kRows), apart(x.size());
  rms_norm({kRows, width, x.data(), w.data(), rstd.data(), y.data()}, 1e-5F);
  const auto backward = [&](const float* from, const float* added, float* to) {
    rms_norm_backward({kRows, width, from, x.data(), rstd.data(), w.data(), added, to, nullptr});
  };
  backward(dy.data(), residual.data(), apart.data());
  Floats over_dy = dy, over_residual = residual;
  backward(over_dy.data(), residual.data(), over_dy.data());
  backward(dy.data(), over_residual.data(), over_residual.data());
  EXPECT_EQ(over_dy, apart);
  EXPECT_EQ(over_residual, apart);
}

TEST(RmsNorm, GivesTheSameBitsWithEveryInstructionSet) {
  for (const std::size_t width : kWidths) {
    expect_same_bits_everywhere([width] {
      const Floats x = noise(kRows * width, 1), w = noise(width, 2);
      Floats all(x.size()), rstd(kRows), dx(x.size()), dw(width, 0.0F);
      rms_norm({kRows, width, x.data(), w.data(), rstd.data(), all.data()}, 1e-5F);
      rms_norm_backward({kRows, width, all.data(), x.data(), rstd.data(), w.data(), x.data(), dx.data(), dw.data()});
      for (const Floats* part : {&rstd, &dx, &dw}) all.insert(all.end(), part->begin(), part->end());
      return all;
    });
  }
}

// Gate and up as halves of rows [kRows, 2 * width], as one product leaves them.
TEST(Swiglu, GivesTheFormulaForwardsAndBackOnHalvesOfRows) {
  for (const std::size_t width : kWidths) {
    SCOPED_TRACE(width);
    Floats both = noise(kRows * 2 * width, 5, 3.0F), out(kRows * width);
    const Floats before = both, dy = noise(kRows * width, 6);
    swiglu({kRows, width, 2 * width, both.data(), both.data() + width, out.data()});
    EXPECT_EQ(both, before);
    Floats back = dy;
    swiglu_backward({kRows, width, 2 * width, both.data(), both.data() + width, back.data()});
    EXPECT_EQ(back, out);
    std::vector<double> exact, gradients(both.size());
    for (std::size_t row = 0; row < kRows; ++row) {
      for (std::size_t i = 0; i < width; ++i) {
        const double g = before[row * 2 * width + i], u = before[row * 2 * width + width + i], d = dy[row * width + i];
        const double sigmoid = 1 / (1 + std::exp(-g));
        exact.push_back(g * sigmoid * u);
        gradients[row * 2 * width + i] = d * u * sigmoid * (1 + g * (1 - sigmoid));
        gradients[row * 2 * width + width + i] = d * g * sigmoid;
      }
    }
    expect_near(out, exact, 1e-6);
    expect_near(both, gradients, 1e-6);
  }
}

TEST(Swiglu, GivesTheSameBitsWithEveryInstructionSet) {
  expect_same_bits_everywhere([] {
    const std::size_t width = 71;
    Floats all = noise(kRows * 2 * width, 5, 30.0F), out = noise(kRows * width, 6);
    swiglu_backward({kRows, width, 2 * width, all.data(), all.data() + width, out.data()});
    all.insert(all.end(), out.begin(), out.end());
    return all;
  });
}

TEST(Rotate, TurnsEveryHeadByItsPositionAndBack) {
  const std::size_t seq_len = 3, num_rows = 6, heads = 2, half = 5, width = heads * 2 * half, to_stride = width + 4;
  const Floats x = noise(num_rows * width, 7);
  Floats cosine, sine;
  for (std::size_t i = 0; i < seq_len * half; ++i) {
    cosine.push_back(std::cos(0.1F * static_cast<float>(i)));
    sine.push_back(std::sin(0.1F * static_cast<float>(i)));
  }
  Floats turned(num_rows * to_stride, 0.0F), back = x;
  rotate({seq_len, heads, half, cosine.data(), sine.data(), x.data(), width, turned.data(), to_stride}, 0, 2);
  rotate({seq_len, heads, half, cosine.data(), sine.data(), x.data(), width, turned.data(), to_stride}, 2, num_rows);
  for (std::size_t row = 0; row < num_rows; ++row) {
    for (std::size_t pair = 0; pair < heads * half; ++pair) {
      const std::size_t i = pair / half * 2 * half + pair % half, angle = row % seq_len * half + pair % half;
      const double a = x[row * width + i], b = x[row * width + i + half], c = cosine[angle], s = sine[angle];
      EXPECT_NEAR(turned[row * to_stride + i], a * c - b * s, 1e-6);
      EXPECT_NEAR(turned[row * to_stride + i + half], b * c + a * s, 1e-6);
    }
  }
  rotate_back({seq_len, heads, half, cosine.data(), sine.data(), turned.data(), to_stride, back.data(), width}, 0,
              num_rows);
  expect_near(back, std::vector<double>(x.begin(), x.end()), 1e-6);
}

struct Losses {
  Floats gradient;
  std::vector<double> losses;
};

// In pieces of the vocabulary that end at `ends`.
Losses cross_entropy_of(const Floats& logits, const std::vector<std::int64_t>& targets, std::vector<std::size_t> ends,
                        float scale) {
  const std::size_t num_rows = targets.size(), width = ends.back();
  Floats known(3 * num_rows, std::numeric_limits<float>::quiet_NaN());
  std::vector<Floats> pieces;
  std::vector<SoftmaxRows> rows;
  std::size_t first = 0;
  for (const std::size_t end : ends) {
    Floats& piece = pieces.emplace_back();
    for (std::size_t row = 0; row < num_rows; ++row) {
      for (std::size_t i = first; i < end; ++i) piece.push_back(logits[row * width + i]);
    }
    rows.push_back({num_rows, end - first, static_cast<std::int64_t>(first), nullptr, targets.data(), known.data(),
                    known.data() + num_rows, known.data() + 2 * num_rows});
    first = end;
  }
  Losses result{Floats(logits.size()), {}};
  for (std::size_t p = 0; p < rows.size(); ++p) {
    rows[p].logits = pieces[p].data();
    add_to_softmax(rows[p]);
  }
  for (std::size_t row = 0; row < num_rows; ++row) result.losses.push_back(cross_entropy(rows[0], row));
  for (const SoftmaxRows& piece : rows) {
    softmax_gradient(piece, scale);
    for (std::size_t row = 0; row < num_rows; ++row) {
      std::copy_n(piece.logits + row * piece.width, piece.width,
                  result.gradient.data() + row * width + static_cast<std::size_t>(piece.first_column));
    }
  }
  return result;
}

TEST(CrossEntropy, GivesLossesAndGradients) {
  for (const std::size_t width : kWidths) {
    SCOPED_TRACE(width);
    const Floats logits = noise(kRows * width, 8, 4.0F);
    const auto last = static_cast<std::int64_t>(width) - 1;
    const std::vector<std::int64_t> targets{0, last, -100, last / 2, 0};
    const Losses result = cross_entropy_of(logits, targets, {width}, 0.25F);
    std::vector<double> gradients;
    for (std::size_t row = 0; row < kRows; ++row) {
      const float* const x = logits.data() + row * width;
      double sum = 0;
      for (std::size_t i = 0; i < width; ++i) sum += std::exp(double{x[i]});
      const bool counts = targets[row] >= 0;
      const auto target = static_cast<std::size_t>(counts ? targets[row] : 0);
      EXPECT_NEAR(result.losses[row], counts ? std::log(sum) - x[target] : 0, 2e-6);
      for (std::size_t i = 0; i < width; ++i) {
        gradients.push_back(counts ? 0.25 * (std::exp(double{x[i]}) / sum - (i == target ? 1 : 0)) : 0);
      }
    }
    if (width > 1) expect_near(result.gradient, gradients, 1e-6);
  }
}

TEST(CrossEntropy, GivesTheSameBitsWithEveryInstructionSet) {
  for (const std::size_t width : kWidths) {
    expect_same_bits_everywhere([width] {
      Losses result = cross_entropy_of(noise(2 * width, 9, 20.0F), {0, 0}, {width}, 0.5F);
      for (const double loss : result.losses) result.gradient.push_back(static_cast<float>(loss));
      return result.gradient;
    });
  }
}

TEST(CrossEntropy, LetsANaNReachTheLoss) {
  Floats logits = noise(71, 10);
  logits[40] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(cross_entropy_of(logits, {3}, {71}, 0.5F).losses[0]));
  EXPECT_TRUE(std::isnan(cross_entropy_of(logits, {3}, {40, 71}, 0.5F).losses[0]));
  EXPECT_TRUE(std::isnan(cross_entropy_of(logits, {3}, {10, 20, 71}, 0.5F).losses[0]));
}

// Largest logits in any piece, one of them far above all others.
TEST(CrossEntropy, IsThatOfTheWholeInPieces) {
  for (const std::size_t peak : {0U, 30U, 31U, 70U}) {
    Floats logits = noise(kRows * 71, 12, 4.0F);
    for (std::size_t row = 0; row < kRows; ++row) logits[row * 71 + peak] = row % 2 == 0 ? 20.0F : 300.0F;
    const std::vector<std::int64_t> targets{0, 70, -100, 31, 45};
    const Losses whole = cross_entropy_of(logits, targets, {71}, 0.5F);
    for (const std::vector<std::size_t>& ends : {std::vector<std::size_t>{31, 71}, {1, 32, 46, 71}}) {
      const Losses pieces = cross_entropy_of(logits, targets, ends, 0.5F);
      for (std::size_t row = 0; row < kRows; ++row)
        EXPECT_NEAR(pieces.losses[row], whole.losses[row], 2e-6 + 2e-7 * whole.losses[row]);
      expect_near(pieces.gradient, {whole.gradient.begin(), whole.gradient.end()}, 1e-6);
    }
  }
}

TEST(ColumnSums, AreAddedInTheOrderOfTheRows) {
  const Floats x = noise(kRows * 71, 11);
  Floats sums(70, 1.0F), expected(70, 1.0F);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 71 > 0) expected[i % 71 - 1] += x[i];
  }
  add_column_sums({kRows, 70, 71, x.data() + 1}, sums.data());
  EXPECT_EQ(sums, expected);
}

}  // namespace
}  // namespace sluice::kernel
