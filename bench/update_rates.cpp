// How fast do update rules run? Every rule of the catalog, and those with moments in bf16 once more, over arrays that
// no cache holds; beside them an in-place read-modify-write loop over the same arrays (what memory allows) and torch's
// fused AdamW, all in turns within each round, so that a drift of the machine meets all of them. The arrays are one
// matrix or many, or the tensors of a model one after the other as a step updates them: rules with sums over a tensor
// read a small one a second time from a cache. Prints a Markdown table of medians; the limit is the GB/s of the first
// row.
//   bench_update_rates [threads] [rounds] [million elements] [rows of a matrix of 4096 columns]
//   bench_update_rates [threads] [rounds] smollm2
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/isa.h"
#include "base/units.h"
#include "exec/tensor_sums.h"
#include "model/parallel.h"
#include "optim/rule.h"

namespace {

using namespace sluice;
using optim::Part;

constexpr std::int64_t kRun = std::int64_t{1} << 17;  // elements that a loop takes at a time
constexpr std::size_t kMostStates = 4;
constexpr std::size_t kLargeStates = 2;  // as long as the parameter; the others are smaller than 2^16

/// One tensor among those of the arrays.
struct Matrix {
  std::vector<std::int64_t> shape;
  std::int64_t first = 0;  ///< its first element
  [[nodiscard]] std::int64_t elements() const { return optim::num_elements(optim::Extent::Elements, shape); }
  [[nodiscard]] std::int64_t rows() const { return optim::num_elements(optim::Extent::Rows, shape); }
  [[nodiscard]] std::int64_t columns() const { return optim::num_elements(optim::Extent::Columns, shape); }
  [[nodiscard]] std::int64_t piece() const { return exec::piece_elements(shape); }
};

std::vector<Matrix> equal_matrices(std::int64_t elements, std::int64_t rows) {
  constexpr std::int64_t kColumns = 4096;
  if (rows <= 0) rows = elements / kColumns;
  return std::vector<Matrix>(static_cast<std::size_t>(elements / kColumns / rows), {{rows, kColumns}});
}

/// SmolLM2-135M in the order of its layers: queries, keys, values, their output, the three maps of the MLP, two norms.
std::vector<Matrix> smollm2() {
  std::vector<Matrix> tensors = {{{49152, 576}}};
  for (int layer = 0; layer < 30; ++layer) {
    for (const std::vector<std::int64_t>& shape : std::initializer_list<std::vector<std::int64_t>>{
             {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}, {576}, {576}})
      tensors.push_back({shape});
  }
  return tensors;
}

/// The arrays that all contestants share: parameter, gradient and states.
struct Arrays {
  std::vector<Matrix> matrices;
  at::Tensor parameter, gradient, given_gradient;
  std::vector<at::Tensor> states;

  explicit Arrays(std::vector<Matrix> all) : matrices(std::move(all)) {
    std::int64_t end = 0;
    for (Matrix& matrix : matrices) {
      matrix.first = end;
      end = round_up(end + matrix.elements(), optim::kBlock);
    }
    parameter = at::randn({end});
    given_gradient = at::randn({end});
    gradient = given_gradient.clone();
    for (std::size_t s = 0; s < kMostStates; ++s) states.push_back(at::zeros({s < kLargeStates ? end : 1 << 16}));
  }
  [[nodiscard]] std::int64_t elements() const { return parameter.numel(); }
  /// As before the first step; some rules write over the gradient.
  void start() {
    gradient.copy_(given_gradient);
    for (at::Tensor& state : states) state.zero_();
  }
};

/// p, s0, s1, ... each read and written, g read: the traffic of a rule with `num_states` states and no arithmetic.
struct TrafficLoop {
  float* parameter;
  const float* gradient;
  std::array<float*, 2> states;
  int num_states;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    float* __restrict const p = parameter;
    const float* __restrict const g = gradient;
    float* __restrict const a = states[0];
    float* __restrict const b = states[1];
    if (num_states == 2) {
      for (std::size_t i = 0; i < count; ++i) {
        a[i] += g[i];
        b[i] += g[i];
        p[i] += g[i];
      }
    } else {
      for (std::size_t i = 0; i < count; ++i) p[i] += g[i];
    }
  }
};

/// p, g, s0, s1 read and nothing written: what a pass that measures a rule with two states takes of memory.
struct ReadLoop {
  std::array<const float*, 4> arrays;
  std::uint32_t* seen;

  [[gnu::always_inline]] void operator()(std::size_t count) const {
    const float* __restrict const p = arrays[0];
    const float* __restrict const g = arrays[1];
    const float* __restrict const a = arrays[2];
    const float* __restrict const b = arrays[3];
    std::uint32_t bits = 0;  // integers, so that the sum may go in any order
    for (std::size_t i = 0; i < count; ++i)
      bits |= std::bit_cast<std::uint32_t>(p[i]) | std::bit_cast<std::uint32_t>(g[i]) |
              std::bit_cast<std::uint32_t>(a[i]) | std::bit_cast<std::uint32_t>(b[i]);
    *seen |= bits;
  }
};

/// A rule on matrix after matrix: pieces of whole rows on all threads, sums of pieces added in their order.
class Contestant {
 public:
  Contestant(std::unique_ptr<optim::UpdateRule> made, Arrays& arrays) : rule_(std::move(made)), arrays_(arrays) {
    const optim::Measuring measuring = rule_->measuring();
    std::int64_t rows = 0, columns = 0, pieces = 0;
    for (const Matrix& matrix : arrays.matrices) {
      rows = std::max(rows, matrix.rows());
      columns = std::max(columns, matrix.columns());
      pieces = std::max(pieces, (matrix.elements() + matrix.piece() - 1) / matrix.piece());
    }
    scalars_.resize(measuring.scalars);
    rows_.resize(measuring.rows ? rows : 0);
    columns_.resize(measuring.columns ? columns : 0);
    factors_.resize(columns_.size());
    pieces_.resize(static_cast<std::size_t>(pieces) * piece_length());
    scales_.resize(rule_->states().size());
    for (std::size_t s = 0; s < scales_.size(); ++s) {
      if (rule_->states()[s].format == optim::StateFormat::Block8)
        scales_[s].resize(static_cast<std::size_t>(arrays.elements() / optim::kBlock));
    }
  }

  void step(std::int64_t number) {
    const optim::UpdateArgs args{.lr = 1e-5, .weight_decay = 0.01, .step = number};
    for (const Matrix& matrix : arrays_.matrices) update_matrix(matrix, args);
  }

  /// Bytes that must move per element in one pass over everything: parameter and states both ways, gradient in.
  [[nodiscard]] double bytes() const {
    double total = 12;
    for (const optim::StateSpec& spec : rule_->states()) {
      if (!optim::is_sliced(spec.extent)) continue;
      total += spec.format == optim::StateFormat::Fp32 ? 8 : spec.format == optim::StateFormat::Bf16 ? 4 : 2;
    }
    return total;
  }

 private:
  void update_matrix(const Matrix& matrix, const optim::UpdateArgs& args) {
    std::ranges::fill(scalars_, 0.0);
    std::ranges::fill(rows_of(matrix), 0.0);
    std::ranges::fill(columns_of(matrix), 0.0);
    const std::size_t num_columns = columns_of(matrix).size(), length = piece_length();
    for (int pass = 0; pass < rule_->measuring().passes; ++pass) {
      for_parts(matrix, [&](const Part& part) {
        const std::size_t at = static_cast<std::size_t>(part.first / matrix.piece()) * length;
        const std::span<double> memory = std::span(pieces_).subspan(at, length);
        std::ranges::fill(memory, 0.0);
        rule_->measure(pass, part, args,
                       {memory.first(scalars_.size()), rows_of(matrix), memory.subspan(scalars_.size(), num_columns)});
      });
      for (std::int64_t first = 0; first < matrix.elements(); first += matrix.piece()) {
        const double* sums = pieces_.data() + static_cast<std::size_t>(first / matrix.piece()) * length;
        for (std::size_t i = 0; i < scalars_.size(); ++i) scalars_[i] += sums[i];
        for (std::size_t i = 0; i < num_columns; ++i) columns_[i] += sums[scalars_.size() + i];
      }
      rule_->conclude(pass, part_of(matrix, 0, 0), args);
    }
    for_blocks(matrix, [&](const Part& part) { rule_->update(part, args); });
  }

  [[nodiscard]] std::size_t piece_length() const { return std::max<std::size_t>(scalars_.size() + columns_.size(), 1); }
  std::span<double> rows_of(const Matrix& matrix) {
    return std::span(rows_).first(std::min(rows_.size(), static_cast<std::size_t>(matrix.rows())));
  }
  std::span<double> columns_of(const Matrix& matrix) {
    return std::span(columns_).first(std::min(columns_.size(), static_cast<std::size_t>(matrix.columns())));
  }

  Part part_of(const Matrix& matrix, std::int64_t first, std::int64_t count) {
    thread_local std::array<optim::StateView, kMostStates> views;
    const std::span<const optim::StateSpec> specs = rule_->states();
    const std::int64_t at = matrix.first + first;
    for (std::size_t s = 0; s < specs.size(); ++s) {
      const bool sliced = optim::is_sliced(specs[s].extent);
      const std::int64_t width = specs[s].format == optim::StateFormat::Fp32   ? 4
                                 : specs[s].format == optim::StateFormat::Bf16 ? 2
                                                                               : 1;
      auto* const memory = static_cast<std::byte*>(arrays_.states[s].data_ptr());
      views[s] = {};
      if (optim::num_elements(specs[s].extent, matrix.shape) == 0) continue;
      views[s] = {.elements = memory + (sliced ? at * width : 0),
                  .scales = scales_[s].empty() ? nullptr : scales_[s].data() + at / optim::kBlock};
    }
    const std::span<float> gradient(arrays_.gradient.data_ptr<float>() + at, static_cast<std::size_t>(count));
    return {
        .parameter = {arrays_.parameter.data_ptr<float>() + at, static_cast<std::size_t>(count)},
        .gradient = gradient,
        .states = {views.data(), specs.size()},
        .shape = matrix.shape,
        .first = first,
        .first_in_model = at,
        .totals = {scalars_, rows_of(matrix), columns_of(matrix), std::span(factors_).first(columns_of(matrix).size())},
        .direction = gradient};
  }

  void for_parts(const Matrix& matrix, const std::function<void(const Part&)>& use) {
    const std::int64_t length = matrix.piece(), elements = matrix.elements();
    model::parallel_ranges((elements + length - 1) / length, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t piece = begin; piece < end; ++piece)
        use(part_of(matrix, piece * length, std::min(length, elements - piece * length)));
    });
  }

  /// Equal shares of whole blocks, as the executor deals updates out: they share no sum.
  void for_blocks(const Matrix& matrix, const std::function<void(const Part&)>& use) {
    constexpr std::int64_t kLeast = (1 << 16) / optim::kBlock;
    const std::int64_t elements = matrix.elements();
    model::parallel_ranges((elements + optim::kBlock - 1) / optim::kBlock, kLeast,
                           [&](std::int64_t begin, std::int64_t end) {
                             const std::int64_t first = begin * optim::kBlock;
                             use(part_of(matrix, first, std::min(end * optim::kBlock, elements) - first));
                           });
  }

  std::unique_ptr<optim::UpdateRule> rule_;
  Arrays& arrays_;
  std::vector<double> scalars_, rows_, columns_, pieces_;
  std::vector<float> factors_;
  std::vector<std::vector<float>> scales_;
};

struct Row {
  std::string name;
  double bytes;
  std::function<void(std::int64_t step)> run;
  std::vector<double> seconds = {};
  [[nodiscard]] double median() {
    std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
    return seconds[seconds.size() / 2];
  }
};

template <typename Loop>
void run_in_pieces(std::int64_t elements, const Loop& loop) {
  const std::int64_t pieces = (elements + kRun - 1) / kRun;
  model::parallel_ranges(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t last = std::min(end * kRun, elements);
    loop(begin * kRun, static_cast<std::size_t>(last - begin * kRun));
  });
}

void move_once(Arrays& arrays, std::int64_t first, std::int64_t elements, int num_states) {
  run_in_pieces(elements, [&](std::int64_t piece, std::size_t count) {
    const std::int64_t at = first + piece;
    run_widest(TrafficLoop{arrays.parameter.data_ptr<float>() + at,
                           arrays.gradient.data_ptr<float>() + at,
                           {arrays.states[0].data_ptr<float>() + at, arrays.states[1].data_ptr<float>() + at},
                           num_states},
               count);
  });
}

void read_once(Arrays& arrays, std::int64_t first, std::int64_t elements) {
  std::atomic<std::uint32_t> all = 0;
  run_in_pieces(elements, [&](std::int64_t piece, std::size_t count) {
    const std::int64_t at = first + piece;
    std::uint32_t seen = 0;
    run_widest(ReadLoop{{arrays.parameter.data_ptr<float>() + at, arrays.gradient.data_ptr<float>() + at,
                         arrays.states[0].data_ptr<float>() + at, arrays.states[1].data_ptr<float>() + at},
                        &seen},
               count);
    all |= seen;
  });
  if (all == 0) std::printf("all arrays are zero\n");
}

/// The traffic of a rule without measuring passes.
Row traffic_row(const char* name, int num_states, Arrays& arrays) {
  return {name, 12.0 + 8 * num_states,
          [&arrays, num_states](std::int64_t) { move_once(arrays, 0, arrays.elements(), num_states); }};
}

/// That of a rule that reads everything of a matrix before it changes anything.
Row measured_traffic_row(const char* name, Arrays& arrays) {
  return {name, 28, [&arrays](std::int64_t) {
            for (const Matrix& matrix : arrays.matrices) {
              read_once(arrays, matrix.first, matrix.elements());
              move_once(arrays, matrix.first, matrix.elements(), 2);
            }
          }};
}

Row torch_row(Arrays& arrays) {
  const auto list = [&arrays](const at::Tensor& all) {  // as an optimizer hands its tensors over
    std::vector<at::Tensor> tensors;
    for (const Matrix& matrix : arrays.matrices) tensors.push_back(all.narrow(0, matrix.first, matrix.elements()));
    return tensors;
  };
  return {"torch fused AdamW", 28,
          [parameters = list(arrays.parameter), gradients = list(arrays.gradient), first = list(arrays.states[0]),
           second = list(arrays.states[1])](std::int64_t step) {
            const std::vector<at::Tensor> counts(parameters.size(), at::full({}, static_cast<double>(step)));
            at::_fused_adamw_(parameters, gradients, first, second, {}, counts, 1e-5, 0.9, 0.999, 0.01, 1e-8, false,
                              false);
          }};
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : at::get_num_threads();
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  const std::string size = argc > 3 ? argv[3] : "32";
  at::set_num_threads(threads);
  Arrays arrays(size == "smollm2" ? smollm2()
                                  : equal_matrices(std::atoll(size.c_str()) << 20, argc > 4 ? std::atoll(argv[4]) : 0));
  std::vector<Row> rows = {traffic_row("read-modify-write, 2 states", 2, arrays), torch_row(arrays),
                           traffic_row("read-modify-write, no state", 0, arrays),
                           measured_traffic_row("read, then read-modify-write, 2 states", arrays)};
  const auto add = [&](const std::string& shown, std::string_view name, const optim::RuleOptions& options) {
    const auto contestant = std::make_shared<Contestant>(optim::make_rule(name, options), arrays);
    rows.push_back({shown, contestant->bytes(), [contestant](std::int64_t step) { contestant->step(step); }});
  };
  for (const optim::RuleRow& row : optim::rule_catalog()) {
    const std::string name(row.name);
    if (optim::make_rule(name, {})->orthogonalizes()) continue;  // its time is that of matrix products
    add(name, name, {});
    if (row.make.bf16_states && !optim::make_rule(name, {})->states().empty())
      add(name + ", bf16 moments", name, {.moments = optim::StateFormat::Bf16});
  }
  for (int round = 0; round <= rounds; ++round) {
    for (Row& row : rows) {
      arrays.start();
      for (std::int64_t step = 1; step <= 2; ++step) {
        const auto start = std::chrono::steady_clock::now();
        row.run(step);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        if (round > 0 && step == 2) row.seconds.push_back(passed.count());
      }
    }
  }
  const auto elements = static_cast<double>(arrays.elements());
  const auto adamw = std::ranges::find(rows, "adamw", &Row::name);
  const double reference = adamw->median();
  const double limit = rows.front().bytes / rows.front().median();
  const std::vector<std::int64_t>& shape = arrays.matrices.back().shape;
  std::printf("%d threads, %d rounds, %.0f million elements in %zu tensors", threads, rounds, elements / 1e6,
              arrays.matrices.size());
  if (shape.size() == 2) std::printf(" of %d x %d", static_cast<int>(shape[0]), static_cast<int>(shape[1]));
  std::printf("\n\n");
  std::printf("| rule | bytes / element | ns / element | GB/s | of the limit | time against adamw |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (Row& row : rows) {
    const double seconds = row.median();
    std::printf("| %s | %.0f | %.3f | %.1f | %.0f %% | %.2f |\n", row.name.c_str(), row.bytes, seconds / elements * 1e9,
                row.bytes * elements / seconds / 1e9, 100 * row.bytes / seconds / limit, seconds / reference);
  }
}
