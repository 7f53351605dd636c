#include "model/explicit_backward.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>
#include <utility>

namespace sluice::model {
namespace {

class ExplicitNode final : public torch::autograd::Node {
 public:
  ExplicitNode(SavedTensors saved, ExplicitBackward backward, std::vector<at::Tensor> parameters)
      : saved_(std::move(saved)), backward_(std::move(backward)), parameters_(std::move(parameters)) {}
  std::string name() const override { return "SluiceExplicitBackward"; }
  void release_variables() override {
    saved_.clear();
    backward_ = nullptr;
    parameters_.clear();
  }

 protected:
  torch::autograd::variable_list apply(torch::autograd::variable_list&& outputs_gradients) override {
    TORCH_CHECK(backward_ != nullptr, torch::autograd::ERR_BACKWARD_TWICE);
    const at::NoGradGuard no_grad;
    torch::autograd::variable_list results(1 + parameters_.size());
    std::vector<at::Tensor> gradients(parameters_.size());
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& parameter = parameters_[i];
      if (!parameter.requires_grad()) continue;
      if (parameter.is_leaf() && parameter.grad().defined()) {
        gradients[i] = parameter.grad();
      } else {
        gradients[i] = results[i + 1] = at::zeros_like(parameter);
      }
    }
    results[0] = backward_(saved_, outputs_gradients[0], gradients);
    return results;
  }

 private:
  SavedTensors saved_;
  ExplicitBackward backward_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace

at::Tensor SavedTensors::take(std::size_t index) {
  at::Tensor tensor = saved_.at(index).unpack();
  saved_[index].reset_data();
  return tensor;
}

bool needs_backward(const at::Tensor& input, std::span<const at::Tensor> parameters) {
  if (!at::GradMode::is_enabled()) return false;
  if (input.defined() && input.requires_grad()) return true;
  for (const auto& parameter : parameters) {
    if (parameter.requires_grad()) return true;
  }
  return false;
}

at::Tensor attach_backward(at::Tensor output, const at::Tensor& input, std::span<const at::Tensor> parameters,
                           SavedTensors saved, ExplicitBackward backward) {
  std::vector<at::Tensor> kept(parameters.begin(), parameters.end());
  torch::autograd::edge_list edges;
  edges.push_back(input.defined() ? torch::autograd::impl::gradient_edge(input) : torch::autograd::Edge());
  for (const auto& parameter : kept) edges.push_back(torch::autograd::impl::gradient_edge(parameter));
  std::shared_ptr<ExplicitNode> node(new ExplicitNode(std::move(saved), std::move(backward), std::move(kept)),
                                     torch::autograd::deleteNode);
  node->set_next_edges(std::move(edges));
  torch::autograd::set_history(output, node);
  return output;
}

at::Tensor placeholder_output(at::IntArrayRef shape, const at::TensorOptions& options) {
  return at::empty({}, options).expand(shape);
}

}  // namespace sluice::model
