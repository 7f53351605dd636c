#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "optim/norm.h"

namespace sluice::optim {
namespace {

TEST(ClippedScale, IsTheClipCoefficientWithoutALossScale) {
  for (const double sum : {0.0, 0.3, 1.0, 7.5, 1e30}) {
    for (const double bound : {0.0, 0.5, 1.0}) {
      EXPECT_EQ(clipped_scale(sum, 1.0F, bound), clip_coefficient(std::sqrt(sum), bound));
    }
  }
}

TEST(ClippedScale, TakesALossScaleOutOfNormAndGradient) {
  const double sum = 7.5;
  for (const float scale : {2.0F, 1024.0F, 0x1p16F}) {
    const double scaled_sum = sum * scale * scale;
    EXPECT_EQ(clipped_scale(scaled_sum, 1 / scale, 1.0) * scale, clipped_scale(sum, 1.0F, 1.0));
    EXPECT_EQ(clipped_scale(scaled_sum, 1 / scale, 0), 1 / scale);
  }
}

TEST(ClampValues, CutsElementsAndLeavesNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {-3, -0.5, -0.0F, 0.25, 0.5, 2, kInfinity, -kInfinity, std::nanf("")};
  clamp_values(values, 0.5F);
  const std::vector<float> expected = {-0.5, -0.5, -0.0F, 0.25, 0.5, 0.5, 0.5, -0.5};
  EXPECT_EQ(std::vector<float>(values.begin(), values.end() - 1), expected);
  EXPECT_TRUE(std::isnan(values.back()));
}

}  // namespace
}  // namespace sluice::optim
