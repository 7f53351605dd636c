// The global gradient norm, independent of how gradients are sliced, ordered or threaded: blocks of 4096 elements are
// summed in a fixed order in fp64, and the blocks' sums are added exactly, so that their order cannot matter.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::optim {

/// Slices of one tensor must start at multiples of this many elements to keep the bits.
inline constexpr std::size_t kNormBlock = 4096;

/// Exact sum of the blocks' sums of squares. A plain value: keep one per thread or tensor and merge them in any order.
class SquareSum {
 public:
  /// Adds the squares of `values`, a tensor or a slice of one that starts at a multiple of kNormBlock.
  void add(std::span<const float> values);
  /// Adds a sum of squares that was made elsewhere, in an order of its own; not negative unless it is NaN.
  void add(double sum);
  void merge(const SquareSum& other);
  /// The sum rounded once to double; infinity or NaN if such an element was added.
  [[nodiscard]] double value() const;

 private:
  void add_limb(std::size_t index, std::uint64_t amount);

  // Fixed point: bit 0 stands for 2^-298, the square of the smallest float. Squares end below 2^256, sums of 2^64
  // blocks below 2^332: 640 bits hold them.
  std::array<std::uint64_t, 10> limbs_{};
  double nonfinite_ = 0;
};

/// Sum of squares of a whole tensor. Not finite if and only if an element is not.
double sum_of_squares(std::span<const float> values);

/// Factor on all gradients as torch.nn.utils.clip_grad_norm_ computes it: max_norm / (total_norm + 1e-6), at most 1.
/// `max_norm` 0 switches clipping off (1). NaN if the norm is NaN, 0 if it is infinite.
float clip_coefficient(double total_norm, double max_norm);

}  // namespace sluice::optim
