// How fast do update rules run? Every rule of the catalog, and those with moments in bf16 once more, over arrays that
// no cache holds; beside them an in-place read-modify-write loop over the same arrays (what memory allows) and torch's
// fused AdamW, all in turns within each round, so that a drift of the machine meets all of them. The arrays are one
// matrix or many: rules with sums over a tensor read a small one a second time from a cache. Prints a Markdown table of
// medians; the limit is the GB/s of the first row.
//   bench_update_rates [threads] [rounds] [million elements] [rows of a matrix]
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
#include "model/parallel.h"
#include "optim/rule.h"

namespace {

using namespace sluice;
using optim::Part;

constexpr std::int64_t kColumns = 4096;
constexpr std::int64_t kPiece = std::int64_t{1} << 17;  // whole rows, as the executor cuts them
constexpr std::size_t kMostStates = 4;

/// The arrays that all contestants share: parameter, gradient and four states.
struct Arrays {
  std::int64_t matrix_rows, rows;
  at::Tensor parameter, gradient;
  std::vector<at::Tensor> states;
  Arrays(std::int64_t wanted, std::int64_t rows_of_a_matrix)
      : matrix_rows(rows_of_a_matrix > 0 ? rows_of_a_matrix : wanted / kColumns),
        rows(wanted / kColumns / matrix_rows * matrix_rows),
        parameter(at::randn({rows, kColumns})),
        gradient(at::randn({rows, kColumns})) {
    for (std::size_t s = 0; s < kMostStates; ++s) states.push_back(at::zeros({rows, kColumns}));
  }
  [[nodiscard]] std::int64_t elements() const { return rows * kColumns; }
  [[nodiscard]] std::int64_t matrix_elements() const { return matrix_rows * kColumns; }
  void clear_states() {
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
    scalars_.resize(measuring.scalars);
    rows_.resize(measuring.rows ? arrays.matrix_rows : 0);
    columns_.resize(measuring.columns ? kColumns : 0);
    factors_.resize(columns_.size());
    scales_.resize(rule_->states().size());
    for (std::size_t s = 0; s < scales_.size(); ++s) {
      if (rule_->states()[s].format == optim::StateFormat::Block8)
        scales_[s].resize(static_cast<std::size_t>(arrays.elements() / optim::kBlock));
    }
    pieces_.resize(static_cast<std::size_t>((arrays.matrix_elements() + kPiece - 1) / kPiece) * piece_length());
  }

  void step(std::int64_t number) {
    const optim::UpdateArgs args{.lr = 1e-5, .weight_decay = 0.01, .step = number};
    for (matrix_ = 0; matrix_ < arrays_.elements(); matrix_ += arrays_.matrix_elements()) update_matrix(args);
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
  void update_matrix(const optim::UpdateArgs& args) {
    std::ranges::fill(scalars_, 0.0);
    std::ranges::fill(rows_, 0.0);
    std::ranges::fill(columns_, 0.0);
    for (int pass = 0; pass < rule_->measuring().passes; ++pass) {
      std::ranges::fill(pieces_, 0.0);
      for_parts(kPiece, [&](const Part& part) {
        const std::size_t at = static_cast<std::size_t>(part.first / kPiece) * piece_length();
        const std::span<double> memory = std::span(pieces_).subspan(at, piece_length());
        rule_->measure(pass, part, args, {memory.first(scalars_.size()), rows_, memory.subspan(scalars_.size())});
      });
      for (std::size_t at = 0; at < pieces_.size(); at += piece_length()) {
        for (std::size_t i = 0; i < scalars_.size(); ++i) scalars_[i] += pieces_[at + i];
        for (std::size_t i = 0; i < columns_.size(); ++i) columns_[i] += pieces_[at + scalars_.size() + i];
      }
      rule_->conclude(pass, part_of(0, 0), args);
    }
    for_parts(kPiece, [&](const Part& part) { rule_->update(part, args); });
  }

  [[nodiscard]] std::size_t piece_length() const { return std::max<std::size_t>(scalars_.size() + columns_.size(), 1); }

  Part part_of(std::int64_t first, std::int64_t count) {
    thread_local std::array<optim::StateView, kMostStates> views;
    const std::span<const optim::StateSpec> specs = rule_->states();
    for (std::size_t s = 0; s < specs.size(); ++s) {
      const bool sliced = optim::is_sliced(specs[s].extent);
      const std::int64_t width = specs[s].format == optim::StateFormat::Fp32   ? 4
                                 : specs[s].format == optim::StateFormat::Bf16 ? 2
                                                                               : 1;
      auto* const memory = static_cast<std::byte*>(arrays_.states[s].data_ptr());
      views[s] = {.elements = memory + (sliced ? (matrix_ + first) * width : 0),
                  .scales = scales_[s].empty() ? nullptr : scales_[s].data() + (matrix_ + first) / optim::kBlock};
    }
    const std::array<std::int64_t, 2>& shape = shape_;
    return {.parameter = {arrays_.parameter.data_ptr<float>() + matrix_ + first, static_cast<std::size_t>(count)},
            .gradient = {arrays_.gradient.data_ptr<float>() + matrix_ + first, static_cast<std::size_t>(count)},
            .states = {views.data(), specs.size()},
            .shape = shape,
            .first = first,
            .first_in_model = matrix_ + first,
            .totals = {scalars_, rows_, columns_, factors_}};
  }

  void for_parts(std::int64_t length, const std::function<void(const Part&)>& use) {
    const std::int64_t pieces = (arrays_.matrix_elements() + length - 1) / length;
    model::parallel_ranges(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t piece = begin; piece < end; ++piece)
        use(part_of(piece * length, std::min(length, arrays_.matrix_elements() - piece * length)));
    });
  }

  std::unique_ptr<optim::UpdateRule> rule_;
  Arrays& arrays_;
  std::array<std::int64_t, 2> shape_ = {arrays_.matrix_rows, kColumns};
  std::int64_t matrix_ = 0;  // its first element
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
  model::parallel_ranges(elements / kPiece, 1, [&](std::int64_t begin, std::int64_t end) {
    loop(begin * kPiece, static_cast<std::size_t>((end - begin) * kPiece));
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
            for (std::int64_t at = 0; at < arrays.elements(); at += arrays.matrix_elements()) {
              read_once(arrays, at, arrays.matrix_elements());
              move_once(arrays, at, arrays.matrix_elements(), 2);
            }
          }};
}

Row torch_row(Arrays& arrays) {
  return {"torch fused AdamW", 28, [&arrays](std::int64_t step) {
            const at::Tensor count = at::full({}, static_cast<double>(step));
            at::_fused_adamw_({arrays.parameter}, {arrays.gradient}, {arrays.states[0]}, {arrays.states[1]}, {},
                              {count}, 1e-5, 0.9, 0.999, 0.01, 1e-8, false, false);
          }};
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : at::get_num_threads();
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  const std::int64_t millions = argc > 3 ? std::atoll(argv[3]) : 32;
  at::set_num_threads(threads);
  Arrays arrays(millions << 20, argc > 4 ? std::atoll(argv[4]) : 0);
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
      arrays.clear_states();
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
  std::printf("%d threads, %d rounds, %.0f million elements as matrices of %d x %d\n\n", threads, rounds,
              elements / 1e6, static_cast<int>(arrays.matrix_rows), static_cast<int>(kColumns));
  std::printf("| rule | bytes / element | ns / element | GB/s | of the limit | time against adamw |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (Row& row : rows) {
    const double seconds = row.median();
    std::printf("| %s | %.0f | %.3f | %.1f | %.0f %% | %.2f |\n", row.name.c_str(), row.bytes, seconds / elements * 1e9,
                row.bytes * elements / seconds / 1e9, 100 * row.bytes / seconds / limit, seconds / reference);
  }
}
