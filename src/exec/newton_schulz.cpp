#include "exec/newton_schulz.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "model/op_cost.h"
#include "model/parallel.h"
#include "model/trace_recorder.h"
#include "optim/norm.h"

namespace sluice::exec {
namespace {

constexpr std::int64_t kTile = 1024;

// By loops of its own: the norm is an exact sum, so that neither threads nor the order of rows matter, and an operator
// would make tensors of its scalar that no trace on meta sees.
void normalize(const at::Tensor& x, double eps) {
  model::record_cost({.bytes = 3 * x.numel() * static_cast<Bytes>(sizeof(float))});
  if (x.is_meta()) return;
  float* const values = x.mutable_data_ptr<float>();
  const std::int64_t stride = x.stride(0), columns = x.size(1);
  std::vector<optim::SquareSum> sums(static_cast<std::size_t>(at::get_num_threads()));
  model::parallel_ranges(x.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    optim::SquareSum& sum = sums[static_cast<std::size_t>(at::get_thread_num())];
    for (std::int64_t row = begin; row < end; ++row)
      sum.add({values + row * stride, static_cast<std::size_t>(columns)});
  });
  for (std::size_t i = 1; i < sums.size(); ++i) sums[0].merge(sums[i]);
  const auto norm = static_cast<float>(std::max(std::sqrt(sums[0].value()), eps));
  model::parallel_ranges(x.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t j = 0; j < columns; ++j) values[row * stride + j] /= norm;
    }
  });
}

}  // namespace

void orthogonalize(const optim::NewtonSchulz& iteration, at::Tensor x) {
  normalize(x, iteration.eps);
  const bool tall = x.size(0) > x.size(1);
  if (tall) x = x.t();
  const std::int64_t rows = x.size(0), columns = x.size(1), num_tiles = (columns + kTile - 1) / kTile;
  const std::int64_t width = std::min(columns, round_up((columns + num_tiles - 1) / num_tiles, std::int64_t{16}));
  at::Tensor gram = at::empty({rows, rows}, x.options()), polynomial = at::empty_like(gram);
  const at::Tensor tile = tall ? at::empty({width, rows}, x.options()).t() : at::empty({rows, width}, x.options());
  for (int step = 0; step < iteration.steps; ++step) {
    at::mm_out(gram, x, x.t());
    at::addmm_out(polynomial, gram, gram, gram, iteration.b, iteration.c);
    for (std::int64_t first = 0; first < columns; first += width) {
      const std::int64_t count = std::min(width, columns - first);
      const at::Tensor part = x.narrow(1, first, count);
      at::Tensor product = tile.narrow(1, 0, count);
      at::addmm_out(product, part, polynomial, part, iteration.a);
      part.copy_(product);
    }
  }
}

void orthogonalize_joined(const optim::NewtonSchulz& iteration, const at::Tensor& x, std::int64_t num_joined) {
  const std::int64_t width = x.size(1) / num_joined;
  for (std::int64_t i = 0; i < num_joined; ++i) orthogonalize(iteration, x.narrow(1, i * width, width));
}

void trace_updates(plan::StepTrace& trace, const optim::RuleSet& rules) {
  std::map<std::array<std::int64_t, 4>, int> traced;  // rule, rows, columns, joined
  for (plan::Chunk& chunk : trace.chunks) {
    const auto iteration = rules[chunk.rule].rule->orthogonalizes();
    if (!iteration || !chunk.trained) continue;
    for (plan::ParameterSlot& parameter : chunk.parameters) {
      if (optim::num_elements(optim::Extent::Matrices, parameter.shape) == 0) continue;
      const std::int64_t rows = matrix_rows(parameter), columns = parameter.num_elements / rows;
      const auto [found, is_new] =
          traced.emplace(std::array{std::int64_t{chunk.rule}, rows, columns, parameter.num_joined},
                         static_cast<int>(trace.updates.size()));
      parameter.update = found->second;
      if (!is_new) continue;
      const at::Tensor x = at::empty({rows, columns}, at::TensorOptions().device(at::kMeta).dtype(at::kFloat));
      model::TraceRecorder recorder;
      trace.updates.push_back(recorder.record([&] { orthogonalize_joined(*iteration, x, parameter.num_joined); }));
    }
  }
}

std::int64_t matrix_rows(const plan::ParameterSlot& parameter) { return parameter.shape.front(); }

}  // namespace sluice::exec
