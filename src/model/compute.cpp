#include "model/compute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>

#include <utility>

#include "base/check.h"

namespace sluice::model {
namespace {

// A leaf of its own version counter on the same memory: planned buffers may share one arena tensor, and a copy into one
// of them must not look like a change of another.
at::Tensor make_leaf(const at::Tensor& value, bool requires_grad) {
  at::Tensor leaf = value.variable_data();
  leaf.requires_grad_(requires_grad);
  return leaf;
}

struct Graph {
  at::Tensor output;
  SavedGraph saved;
};

enum class Values { Needed, NotNeeded };

Graph forward_with_grad(const Block& block, const BlockTensors& t, Values values) {
  SLUICE_CHECK(t.gradients.size() == t.parameters.size(), block.name(), ": one gradient per parameter");
  const at::AutoGradMode grad_mode(true);
  Graph graph;
  SavedGraph& saved = graph.saved;
  for (std::size_t i = 0; i < t.parameters.size(); ++i) {
    saved.leaves.push_back(make_leaf(t.parameters[i], t.gradients[i].defined()));
    saved.leaves.back().mutable_grad() = t.gradients[i];
  }
  if (t.input.defined()) saved.input = make_leaf(t.input, t.input_gradient.defined());
  graph.output = values == Values::Needed ? block.forward(saved.leaves, saved.input, t.batch)
                                          : block.forward_for_backward(saved.leaves, saved.input, t.batch);
  saved.root = {graph.output.grad_fn(), static_cast<std::uint32_t>(graph.output.output_nr())};
  return graph;
}

void run_backward(const BlockTensors& t, SavedGraph saved) {
  for (std::size_t i = 0; i < saved.leaves.size(); ++i) saved.leaves[i].mutable_grad() = t.gradients[i];
  if (saved.root.function != nullptr) {
    torch::autograd::Engine::get_default_engine().execute({std::move(saved.root)}, {t.output_gradient},
                                                          /*keep_graph=*/false, /*create_graph=*/false,
                                                          /*accumulate_grad=*/true);
  }
  if (!saved.input.defined() || !t.input_gradient.defined()) return;
  const at::NoGradGuard no_grad;
  if (saved.input.grad().defined()) {
    t.input_gradient.copy_(saved.input.grad());
  } else {
    t.input_gradient.zero_();
  }
}

}  // namespace

void run_forward(const Block& block, const BlockTensors& t) {
  const at::NoGradGuard no_grad;
  t.output.copy_(block.forward(t.parameters, t.input, t.batch));
}

SavedGraph run_forward_keep(const Block& block, const BlockTensors& t) {
  Graph graph = forward_with_grad(block, t, Values::Needed);
  const at::NoGradGuard no_grad;
  t.output.copy_(graph.output);
  return std::move(graph.saved);
}

void run_backward_kept(const Block&, const BlockTensors& t, SavedGraph saved) { run_backward(t, std::move(saved)); }

double run_backward_recompute(const Block& block, const BlockTensors& t) {
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) {
    return loss->loss_and_gradients(t.parameters, t.gradients, t.input, t.input_gradient, t.batch, t.scale);
  }
  run_backward(t, forward_with_grad(block, t, Values::NotNeeded).saved);
  return 0;
}

void run_generate(const Block& block, const BlockTensors& t, const KvCache& cache, PassPosition position) {
  const at::NoGradGuard no_grad;
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) {
    t.output.copy_(loss->logits(t.parameters, t.input.narrow(1, position.num_tokens - 1, 1)));
  } else {
    t.output.copy_(block.decode(t.parameters, t.input, cache, position.first, t.batch));
  }
}

double run_evaluate(const Block& block, const BlockTensors& t) {
  if (const auto* loss = dynamic_cast<const LossBlock*>(&block)) return loss->loss(t.parameters, t.input, t.batch);
  run_forward(block, t);
  return 0;
}

}  // namespace sluice::model
