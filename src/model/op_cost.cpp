#include "model/op_cost.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#include <memory>
#include <optional>
#include <string>

#include "base/check.h"

namespace sluice::model {
namespace {

thread_local std::vector<plan::OpCost>* t_ops = nullptr;
thread_local int t_depth = 0;  // of operators that cost: what they call inside is part of them

// Inputs can be read only when the call begins, outputs only when it ends.
struct Call : at::ObserverContext {
  bool counts = false;
  bool has_out_argument = false;  // stands among the inputs but is not read
  std::optional<plan::OpCost> product;
  Bytes input_bytes = 0;
};

Bytes bytes_of(const c10::IValue& value) {
  if (!value.isTensor() || !value.toTensor().defined()) return 0;
  const at::Tensor& tensor = value.toTensor();
  std::int64_t elements = 1;  // expanded dimensions are read once
  for (std::int64_t d = 0; d < tensor.dim(); ++d) elements *= tensor.stride(d) == 0 ? 1 : tensor.size(d);
  return elements * static_cast<Bytes>(tensor.element_size());
}

// Operators that are costed by hand still hide what they call inside.
bool hides_inner(const std::string& name) { return name == "aten::index_select"; }

bool has_cost(const at::RecordFunction& call, const std::string& name) {
  if (name.starts_with("aten::empty") || name.starts_with("aten::_local_scalar")) return false;
  // Recorded by hand, on meta too: see attention.cpp and embedding.cpp.
  if (hides_inner(name)) return false;
  const auto operator_name = call.operator_name();
  if (!operator_name) return false;
  const auto found = c10::Dispatcher::singleton().findOp(*operator_name);
  if (!found || !found->hasSchema()) return false;
  if (found->hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd)) return false;
  const auto& returns = found->schema().returns();
  const bool is_view = !returns.empty() && returns[0].alias_info() != nullptr && !returns[0].alias_info()->isWrite();
  return !is_view;
}

std::optional<plan::OpCost> product_cost(const std::string& name, c10::ArrayRef<const c10::IValue> inputs) {
  const bool adds =
      name == "aten::addmm" || name == "aten::addmm_" || name == "aten::baddbmm" || name == "aten::baddbmm_";
  if (!adds && name != "aten::mm" && name != "aten::bmm") return std::nullopt;
  const at::Tensor a = inputs[adds ? 1 : 0].toTensor(), b = inputs[adds ? 2 : 1].toTensor();
  plan::OpCost cost;
  cost.kind = plan::OpClass::MatMul;
  const std::int64_t batches = a.dim() == 3 ? a.size(0) : 1;
  cost.m = a.numel() / a.size(-1);
  cost.k = a.size(-1);
  cost.n = b.size(-1);
  cost.flops = 2.0 * static_cast<double>(cost.m) * static_cast<double>(cost.k) * static_cast<double>(cost.n);
  const std::int64_t elements = cost.m * cost.k + batches * cost.k * cost.n + cost.m * cost.n * (adds ? 2 : 1);
  cost.bytes = elements * static_cast<Bytes>(a.element_size());
  return cost;
}

std::unique_ptr<at::ObserverContext> on_enter(const at::RecordFunction& function) {
  auto call = std::make_unique<Call>();
  const std::string name = function.name();
  call->counts = has_cost(function, name) || hides_inner(name);
  if (!call->counts || ++t_depth > 1) return call;
  const auto operator_name = function.operator_name();
  call->has_out_argument = operator_name && operator_name->overload_name.find("out") != std::string::npos;
  call->product = product_cost(name, function.inputs());
  for (const auto& input : function.inputs()) call->input_bytes += bytes_of(input);
  return call;
}

void on_exit(const at::RecordFunction& function, at::ObserverContext* context) {
  const auto* call = static_cast<Call*>(context);
  if (call == nullptr || !call->counts) return;
  if (--t_depth > 0 || t_ops == nullptr || hides_inner(function.name())) return;
  if (call->product) {
    t_ops->push_back(*call->product);
    return;
  }
  Bytes written = 0;
  for (const auto& output : function.outputs()) written += bytes_of(output);
  plan::OpCost cost;
  cost.bytes = call->input_bytes + (call->has_out_argument ? 0 : written);
  cost.flops = static_cast<Flops>(written) / sizeof(float);
  t_ops->push_back(cost);
}

}  // namespace

OpCostRecording::OpCostRecording(std::vector<plan::OpCost>& ops) {
  SLUICE_CHECK(t_ops == nullptr, "this thread records already");
  t_ops = &ops;
  t_depth = 0;
  callback_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&on_enter, &on_exit)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
}

OpCostRecording::~OpCostRecording() {
  at::removeCallback(callback_);
  t_ops = nullptr;
}

void record_cost(const plan::OpCost& cost) {
  if (t_ops != nullptr) t_ops->push_back(cost);
}

}  // namespace sluice::model
