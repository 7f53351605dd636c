// Where does the time of a training step go? Runs the parts of one step of SmolLM2-135M at 4 x 512 tokens, each by
// itself, and the whole blocks, also with products of bf16 numbers, and prints CPU seconds (user and system, all
// threads) a step. What a block takes beyond its parts is dispatch, copies and allocation.
//   bench_step_parts [threads] [repetitions]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "format/presets.h"
#include "model/attention.h"
#include "model/compute.h"
#include "model/cpu_allocator.h"
#include "model/cross_entropy.h"
#include "model/init.h"
#include "model/model.h"
#include "model/rms_norm.h"
#include "model/rope.h"
#include "model/swiglu.h"
#include "model/tracer.h"
#include "optim/rule.h"

namespace {

using namespace sluice;

constexpr std::int64_t kBatch = 4, kSeqLen = 512, kTokens = kBatch * kSeqLen;
int repetitions = 9;

struct Usage {
  double cpu_seconds;
  long faults;
};

Usage usage() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return {seconds(use.ru_utime) + seconds(use.ru_stime), use.ru_minflt};
}

// Median CPU seconds of one call.
double measure(const std::function<void()>& run) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) {
    const Usage before = usage();
    run();
    seconds.push_back(usage().cpu_seconds - before.cpu_seconds);
  }
  std::nth_element(seconds.begin(), seconds.begin() + repetitions / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repetitions / 2)];
}

double total = 0;

// `calls` a step; `work` FLOP (GFLOP/s a CPU second) or bytes (GB/s) of one call.
void part(const char* name, double calls, double work, const std::function<void()>& run) {
  const double seconds = measure(run);
  total += calls * seconds;
  std::printf("%-34s %6.0f %10.3f %9.3f %9.1f\n", name, calls, seconds * 1e3, calls * seconds, work / seconds / 1e9);
  std::fflush(stdout);
}

// y = x W^T, dx = dy W, dW += dy^T x: `rows` tokens at a time.
void products(const std::string& name, double calls, std::int64_t rows, std::int64_t in, std::int64_t out) {
  const at::Tensor x = at::randn({rows, in}), w = at::randn({out, in}), dy = at::randn({rows, out});
  at::Tensor y = at::empty({rows, out}), dx = at::empty({rows, in}), dw = at::zeros({out, in});
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  part(("gemm " + name + " forward").c_str(), calls, flops, [&] { at::mm_out(y, x, w.t()); });
  part(("gemm " + name + " dX").c_str(), calls, flops, [&] { at::mm_out(dx, dy, w); });
  part(("gemm " + name + " dW").c_str(), calls, flops, [&] { dw.addmm_(dy.t(), x); });
}

void layer_parts(const format::ModelConfig& config) {
  const auto layers = static_cast<double>(config.num_layers);
  const std::int64_t d = config.hidden_size, f = config.intermediate_size, heads = config.num_heads;
  const std::int64_t kv = config.num_kv_heads, size = config.head_dim;
  products("q,k,v", layers, kTokens, d, (heads + 2 * kv) * size);
  products("o", layers, kTokens, heads * size, d);
  products("gate,up", layers, kTokens, d, 2 * f);
  products("down", layers, kTokens, f, d);
  const at::Tensor q = at::randn({kBatch, kSeqLen, heads, size}), k = at::randn({kBatch, kSeqLen, kv, size}),
                   v = k.clone();
  const double scores = static_cast<double>(q.numel() * kSeqLen);
  model::AttentionResult attention = model::causal_attention(q, k, v);
  const at::Tensor dout = at::randn_like(q);
  part("attention forward", layers, 2 * scores, [&] { attention = model::causal_attention(q, k, v); });
  part("attention backward", layers, 5 * scores,
       [&] { static_cast<void>(model::causal_attention_backward(dout, q, k, v, attention)); });
  const model::Rope rope(config);
  part("rope table", 2 * layers, 0, [&] { static_cast<void>(rope.table(0, kSeqLen, at::kCPU)); });
  const at::Tensor table = rope.table(0, kSeqLen, at::kCPU);
  const double row_bytes = 4.0 * static_cast<double>(kTokens * d);
  part("rope q", 2 * layers, 2 * row_bytes, [&] { model::rotate(q, q, table); });
  const at::Tensor x = at::randn({kTokens, d}), w = at::ones({d}), dw = at::zeros({d});
  at::Tensor dy = at::randn({kTokens, d});
  model::NormResult norm = model::rms_norm(x, w, 1e-5);
  part("rms norm forward", 2 * layers, 2 * row_bytes, [&] { norm = model::rms_norm(x, w, 1e-5); });
  part("rms norm again", 2 * layers, 2 * row_bytes, [&] { norm.y = model::rms_norm_again(x, norm.rstd, w); });
  part("rms norm backward", 2 * layers, 4 * row_bytes, [&] {
    model::rms_norm_backward({x, norm.rstd, w}, dy, x, dy, dw);
  });
  const at::Tensor gate_up = at::randn({kTokens, 2 * f}), gate = gate_up.narrow(1, 0, f), up = gate_up.narrow(1, f, f);
  const double wide_bytes = 4.0 * static_cast<double>(kTokens * f);
  const at::Tensor activation = at::randn({kTokens, f});
  part("swiglu forward", layers, 3 * wide_bytes, [&] { static_cast<void>(model::swiglu(gate, up)); });
  part("swiglu backward", layers, 6 * wide_bytes, [&] {
    model::swiglu_backward_in_place(activation, gate, up);
    gate_up.clamp_(-2, 2);  // so that repetition does not blow values up; its time is counted here
  });
  part("residual, boundary and dX copies", 4 * layers, 2 * row_bytes, [&] { dy.copy_(x); });
}

void head_parts(const format::ModelConfig& config) {
  const std::int64_t tile = 256, vocab = config.vocab_size;
  const auto tiles = static_cast<double>(kTokens / tile);
  products("head", tiles, tile, config.hidden_size, vocab);
  const model::LogitsPiece piece{at::randn({tile, vocab}), 0};
  const model::SoftmaxTile softmax{at::arange(tile), at::empty({model::kSoftmaxValues, tile})};
  part("cross entropy and gradient", tiles, 2.0 * static_cast<double>(piece.logits.nbytes()), [&] {
    model::softmax_and_gradient({&piece, 1}, softmax, 1.0F);
  });
}

void update_part(double num_parameters) {
  const std::size_t count = std::size_t{1} << 22;
  std::vector<float> w(count, 1.0F), g(count, 0.1F), m(count, 0.0F), v(count, 0.0F);
  const optim::StateView states[] = {{.elements = m.data()}, {.elements = v.data()}};
  const auto rule = optim::make_rule("adamw", {});
  part("AdamW", num_parameters / static_cast<double>(count), 28.0 * static_cast<double>(count), [&] {
    rule->update({.parameter = w, .gradient = g, .states = states},
                 {.lr = 1e-5, .weight_decay = 0.01, .step = 1, .gradient_scale = 1.0F});
  });
}

// Block `index` of the model with memory of its own: forward and backward with everything saved.
void whole_block(const model::Model& model, int index, const char* name, double calls) {
  const model::BlockEntry& entry = model.blocks[static_cast<std::size_t>(index)];
  model::BlockTensors t;
  for (const int chunk : entry.chunks) {
    const auto& spec = model.chunks[static_cast<std::size_t>(chunk)];
    const plan::Chunk layout = model::chunk_layout(spec);
    const at::Tensor values = at::randn({layout.num_elements}).mul_(0.02), gradients = at::zeros({layout.num_elements});
    for (const auto& place : layout.parameters) {
      t.parameters.push_back(values.narrow(0, place.first_element, place.num_elements).view(place.shape));
      t.gradients.push_back(gradients.narrow(0, place.first_element, place.num_elements).view(place.shape));
    }
  }
  const std::vector<std::int64_t> shape = {kBatch, kSeqLen, model.hidden_size};
  if (entry.reads >= 0) t.input = at::randn(shape);
  if (entry.reads >= 0) t.input_gradient = at::empty(shape);
  if (entry.writes >= 0) t.output = at::empty(shape);
  if (entry.writes >= 0) t.output_gradient = at::randn(shape);
  const at::Tensor ids = at::randint(0, model.vocab_size, {kBatch, kSeqLen}, at::kLong);
  t.batch = {ids, ids};
  t.scale = 1.0F / static_cast<float>(kTokens);
  const model::Block& block = *entry.block;
  const bool saves = entry.writes >= 0;
  const model::SavedMask all = (1U << block.saved_classes().size()) - 1U;
  model::SavedTensors saved;
  if (saves)
    part((std::string(name) + " forward").c_str(), calls, 0, [&] { saved = model::run_forward_saving(block, t, all); });
  const double both = measure([&] {
    saved.clear();
    if (saves) saved = model::run_forward_saving(block, t, all);
    static_cast<void>(model::run_backward(block, t, std::move(saved)));
    saved = {};
  });
  const Usage before = usage();
  if (saves) saved = model::run_forward_saving(block, t, all);
  static_cast<void>(model::run_backward(block, t, std::move(saved)));
  std::printf("%-34s %6.0f %10.3f %9.3f   faults %ld\n", (std::string(name) + " forward and backward").c_str(), calls,
              both * 1e3, calls * both, usage().faults - before.faults);
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(argc > 1 ? std::atoi(argv[1]) : 2);
  if (argc > 2) repetitions = std::atoi(argv[2]);
  const at::NoGradGuard no_grad;
  model::install_cpu_allocator();
  std::vector<std::byte> arena(std::size_t{3} << 30);
  auto* const base = arena.data() + (64 - reinterpret_cast<std::uintptr_t>(arena.data()) % 64) % 64;
  model::use_workspace(base, static_cast<Bytes>(arena.size()) - 64);
  {
    const format::ModelConfig config = format::preset_config("smollm2-135m");
    std::printf("%-34s %6s %10s %9s %9s\n", "part", "calls", "ms a call", "s a step", "G/s");
    layer_parts(config);
    head_parts(config);
    update_part(134.5e6);
    std::printf("%-34s %27.3f\n", "sum of the parts", total);
    const model::Model model = model::make_model(config);
    const model::Model narrow = model::make_model(config, {.compute = NumberFormat::Bf16});
    const int head = static_cast<int>(model.blocks.size()) - 1;
    whole_block(model, 0, "embedding", 1);
    for (const auto& [made, name] : {std::pair(&model, "layer"), std::pair(&narrow, "layer, bf16 products,")})
      whole_block(*made, 1, name, static_cast<double>(config.num_layers));
    for (const auto& [made, name] : {std::pair(&model, "head"), std::pair(&narrow, "head, bf16 products,")})
      whole_block(*made, head, name, 1);
  }
  model::use_workspace(nullptr, 0);
  return 0;
}
