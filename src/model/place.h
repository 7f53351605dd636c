// Where block math runs, and with which operators: the row kernels of the CPU (src/kernel), or torch's own operators,
// which run on any device. Traces on meta tensors follow it, so that a plan is made of what will run.
#pragma once
#include <c10/core/Device.h>

namespace sluice::model {

enum class Operators {
  Kernels,  ///< on the CPU alone
  Torch,    ///< anywhere, the CPU included; other bits than Kernels, the same in every budget
};

struct ComputePlace {
  c10::Device device = c10::DeviceType::CPU;
  Operators operators = Operators::Kernels;
  bool fused_attention = false;  ///< with Torch: fused_attention.h where it takes them
  int num_processors = 0;        ///< of a card: the kernels' need of memory follows from it
};

/// For the whole process, before the first trace, by one thread. Kernels for another device than the CPU are an
/// InternalError.
void compute_at(const ComputePlace& place);
[[nodiscard]] const ComputePlace& compute_place();

/// Whether computations go through torch_operators.h.
[[nodiscard]] inline bool uses_torch() { return compute_place().operators == Operators::Torch; }

}  // namespace sluice::model
