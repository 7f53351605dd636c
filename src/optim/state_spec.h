// What a rule remembers of a tensor between steps: how many numbers, and how they are stored.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace sluice::optim {

/// Elements that share a scale in 8 bits. Every part of a tensor that a rule sees starts at a multiple of it.
inline constexpr std::int64_t kBlock = 256;
/// Tensors with fewer elements are too small to be worth 8 bits, and too irregular.
inline constexpr std::int64_t kLargeTensor = 4096;

/// For which numbers of a tensor there is one in the state. The first three are stored in slices with the parameter's;
/// the others are small, fp32, and lie together for a whole chunk.
enum class Extent {
  Elements,      ///< one per element
  LargeTensors,  ///< one per element of a tensor with at least kLargeTensor elements
  Matrices,      ///< one per element of a tensor of two or more dimensions
  SmallTensors,  ///< one per element of a tensor with fewer than kLargeTensor elements
  Vectors,       ///< one per element of a tensor of fewer than two dimensions
  Rows,          ///< of a matrix: one per row (all dimensions but the last)
  Columns,       ///< of a matrix: one per column (the last dimension)
  Scalar,        ///< one
};

enum class StateFormat {
  Fp32,
  Bf16,
  Low16,   ///< the lower half of an fp32 number's bits
  Block8,  ///< codes of 8 bits, and an fp32 scale for every kBlock elements
};

/// What a state is before the first update.
enum class Start {
  Zero,    ///< all bytes
  Weight,  ///< Elements in fp32 or Low16: the weight itself, or its lower half, as it was loaded
};

/// One state of a rule. Names are torch's ("exp_avg", "exp_avg_sq",
/// "momentum_buffer"); two states may share one where no tensor has both.
struct StateSpec {
  std::string name;
  Extent extent = Extent::Elements;
  StateFormat format = StateFormat::Fp32;
  Start start = Start::Zero;
};

[[nodiscard]] constexpr bool is_sliced(Extent extent) {
  return extent == Extent::Elements || extent == Extent::LargeTensors || extent == Extent::Matrices;
}

/// Numbers in a state of a tensor of that shape; 0: it has none.
[[nodiscard]] std::int64_t num_elements(Extent extent, std::span<const std::int64_t> shape);

/// Where a state's numbers begin. Null: the tensor has none of it.
struct StateView {
  void* elements = nullptr;  ///< float, std::uint16_t (bf16, Low16) or std::uint8_t (codes)
  float* scales = nullptr;   ///< Block8: of the blocks from the first element on
  [[nodiscard]] float* floats() const { return static_cast<float*>(elements); }
};

}  // namespace sluice::optim
