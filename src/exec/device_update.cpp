#include "exec/device_update.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/check.h"

namespace sluice::exec {
namespace {

/// A part as torch's optimizers take it.
struct Operands {
  at::Tensor parameter, gradient;
  std::vector<at::Tensor> states;

  Operands(const TensorPlace& place, const optim::Part& part) {
    const auto count = static_cast<std::int64_t>(part.parameter.size());
    const auto view = [&](void* memory) { return place.view(static_cast<std::byte*>(memory), {count}); };
    parameter = view(part.parameter.data());
    gradient = view(const_cast<float*>(part.gradient.data()));
    for (const optim::StateView& state : part.states) states.push_back(view(state.elements));
  }
};

void adam(const Operands& on, const optim::DeviceForm& form, const optim::UpdateArgs& args) {
  const at::Tensor step = at::full({}, static_cast<double>(args.step), on.parameter.options());
  const auto run = [&](const auto& fused) {
    fused(at::TensorList(on.parameter), at::TensorList(on.gradient), at::TensorList(on.states[0]),
          at::TensorList(on.states[1]), at::TensorList(), at::TensorList(step), args.lr,
          args.beta1.value_or(form.beta1), args.beta2.value_or(form.beta2), args.weight_decay, form.eps,
          /*amsgrad=*/false, /*maximize=*/false);
  };
  if (form.kind == optim::DeviceForm::Kind::AdamW) {
    run([](const auto&... arguments) { at::_fused_adamw_(arguments...); });
  } else {
    run([](const auto&... arguments) { at::_fused_adam_(arguments...); });
  }
}

void sgd(const Operands& on, const optim::DeviceForm& form, const optim::UpdateArgs& args) {
  at::_fused_sgd_({on.parameter}, {on.gradient}, on.states, args.weight_decay, form.momentum, args.lr, form.dampening,
                  form.nesterov, /*maximize=*/false, /*is_first_step=*/args.step == 1);
}

}  // namespace

void update_on_device(const TensorPlace& place, const optim::DeviceForm& form, const optim::Part& part,
                      const optim::UpdateArgs& args) {
  Operands on(place, part);
  if (args.gradient_scale != 1) on.gradient.mul_(args.gradient_scale);
  switch (form.kind) {
    case optim::DeviceForm::Kind::Adam:
    case optim::DeviceForm::Kind::AdamW:
      return adam(on, form, args);
    case optim::DeviceForm::Kind::Sgd:
      return sgd(on, form, args);
    case optim::DeviceForm::Kind::Descent:
      if (args.weight_decay != 0) on.parameter.mul_(1 - args.lr * args.weight_decay);
      on.parameter.add_(on.gradient, -args.lr);
      return;
  }
}

optim::SquareSum square_sum_on_device(const TensorPlace& place, std::byte* numbers, std::int64_t count) {
  constexpr std::int64_t kPiece = 1 << 20;
  const at::Tensor all = place.view(numbers, {count});
  std::vector<at::Tensor> sums;
  for (std::int64_t first = 0; first < count; first += kPiece)
    sums.push_back(all.narrow(0, first, std::min(kPiece, count - first)).to(at::kDouble).square_().sum());
  const at::Tensor here = at::stack(sums).cpu();
  optim::SquareSum total;
  for (const double sum : std::span(here.const_data_ptr<double>(), sums.size())) total.add(sum);
  return total;
}

}  // namespace sluice::exec
