// Quotients of many numbers by one divisor without the divider, on which update rules would wait: a processor divides
// sixteen floats in six to ten cycles, one after the other, and multiplies them in half of one.
#pragma once
#include <cmath>

namespace sluice::optim {

/// x / divisor with the bits of a division, for every x that is +0, infinite, NaN or of a magnitude from 2^-100 on, and
/// divisors from 2^-20 to 2^20. The product with one over the divisor is off by less than two units; one correction by
/// the exact remainder leaves less than one, the second rounds right (Markstein, Computation of elementary functions on
/// the IBM RISC System/6000 processor, IBM J. Res. Dev. 34, 1990).
class ConstantDivisor {
 public:
  explicit ConstantDivisor(float divisor) : divisor_(divisor), reciprocal_(1.0F / divisor) {}

  [[nodiscard]] float divisor() const { return divisor_; }
  [[gnu::always_inline]] float quotient(float x) const {
    const float product = x * reciprocal_;
    const float near = std::fma(std::fma(-divisor_, product, x), reciprocal_, product);
    const float rounded = std::fma(std::fma(-divisor_, near, x), reciprocal_, near);
    return rounded == rounded ? rounded : product;  // of infinity there is no remainder
  }

 private:
  float divisor_, reciprocal_;
};

}  // namespace sluice::optim
