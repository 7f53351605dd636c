// Matrices made nearly orthogonal, by matrix products: what a rule leaves to whoever runs it (optim/rule.h).
#pragma once
#include <ATen/core/Tensor.h>

#include "optim/rule_set.h"
#include "plan/trace.h"

namespace sluice::exec {

/// In place, for a matrix of fp32 in this thread's workspace or elsewhere; its rows may lie apart. Beside it two
/// squares of its shorter side are allocated, and a tile of at most 1024 of its columns or rows. The bits follow from
/// shape, values and number of threads.
void orthogonalize(const optim::NewtonSchulz& iteration, at::Tensor x);
/// The same for each of `num_joined` matrices of equal width that stand side by side in x.
void orthogonalize_joined(const optim::NewtonSchulz& iteration, const at::Tensor& x, std::int64_t num_joined);

/// What updates by these rules compute of whole tensors, for the planner: StepTrace::updates and ParameterSlot::update,
/// from meta tensors. Not to be called while another thread makes tensors.
void trace_updates(plan::StepTrace& trace, const optim::RuleSet& rules);

/// A tensor of two or more dimensions as a matrix [first, all others].
[[nodiscard]] std::int64_t matrix_rows(const plan::ParameterSlot& parameter);

}  // namespace sluice::exec
