// What decides the speed of training on a card, part by part: copies to and from page-locked host memory, page-locking
// itself, matrix products, and one decoder layer, of Llama 3 8B's shape where none is named, forward and backward.
// Prints rows of a table; a row that cannot be measured says why. tools/gpu_check.sh is its frame.
//   bench_gpu_parts [cuda|emulated] [tokens] [MiB to copy] [preset whose layer]
#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "format/presets.h"
#include "model/adapt.h"
#include "model/compute.h"
#include "model/fused_attention.h"
#include "model/held_weight.h"
#include "model/model.h"
#include "model/place.h"
#include "model/product.h"
#include "model/tracer.h"
#include "tier/arena.h"
#include "tier/catalog.h"
#include "tier/limits.h"

namespace {

using namespace sluice;
using Clock = std::chrono::steady_clock;

Seconds seconds_of(const std::function<void()>& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// After a first run that makes buffers.
Seconds median_of(const std::function<void()>& run, int times = 5) {
  run();
  std::vector<Seconds> all;
  for (int i = 0; i < times; ++i) all.push_back(seconds_of(run));
  std::nth_element(all.begin(), all.begin() + times / 2, all.end());
  return all[static_cast<std::size_t>(times / 2)];
}

void print_row(const std::string& what, const std::string& found) {
  std::printf("| %s | %s |\n", what.c_str(), found.c_str());
  std::fflush(stdout);
}

std::string number(double value, const char* unit, int digits = 2) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s", digits, value, unit);
  return text;
}

// A row that fails is a finding, too.
void try_row(const std::string& what, const std::function<std::string()>& measure) {
  try {
    print_row(what, measure());
  } catch (const std::exception& error) {
    std::string text = error.what();
    print_row(what, "not measured: " + text.substr(0, text.find('\n')));
  }
}

class Parts {
 public:
  Parts(tier::Device& device, std::int64_t tokens, Bytes copied, std::string preset)
      : device_(device), place_(device.torch_name()), tokens_(tokens), copied_(copied), preset_(std::move(preset)) {}

  void run() {
    copies();
    for (const Bytes size : {GiB, 4 * GiB, 16 * GiB}) {
      if (size <= 16 * copied_)
        try_row("first touch and page-locking of " + format_bytes(size), [&] { return locking(size); });
    }
    // All that torch makes below lies in one workspace, as it does in training.
    try_row("workspace for what follows", [&] {
      const Bytes bytes = std::min<Bytes>(device_.capacity(), 24 * GiB) / 4096 * 4096;
      if (device_.is_addressable()) return std::string("system memory");
      workspace_ = device_.reserve(bytes);
      device_.use_workspace(bytes);
      return format_bytes(bytes);
    });
    for (const auto type : {at::kFloat, at::kBFloat16}) products(type);
    for (const auto compute : {NumberFormat::Fp32, NumberFormat::Bf16}) layer(compute);
  }

 private:
  // A product or a layer must have ended when its time is taken.
  std::function<void()> ended(std::function<void()> run) {
    return [this, run = std::move(run)] {
      run();
      device_.wait();
    };
  }

  void copies() {
    tier::Arena host(copied_);
    host.touch(copied_);
    const auto on_device = device_.reserve(2 * copied_);
    std::byte* const up_to = on_device->data();
    const std::byte* const down_from = on_device->data() + copied_;
    const auto rates = [&](const char* memory, std::byte* down_to) {
      const auto up = device_.open_line(), down = device_.open_line();
      const auto rate = [&](const std::function<void()>& run) {
        return static_cast<double>(copied_) / median_of(run) / 1e9;
      };
      const std::string beside = std::string(", ") + memory + " host memory";
      try_row("copy to the device" + beside,
              [&] { return number(rate([&] { up->copy(up_to, host.data(), copied_); }), "GB/s"); });
      try_row("copy from the device" + beside,
              [&] { return number(rate([&] { down->copy(down_to, down_from, copied_); }), "GB/s"); });
      try_row("both at once, each way" + beside, [&] {
        return number(rate([&] {
                        std::jthread other([&] { down->copy(down_to, down_from, copied_); });
                        up->copy(up_to, host.data(), copied_);
                      }),
                      "GB/s");
      });
    };
    tier::Arena down_to(copied_);
    down_to.touch(copied_);
    rates("pageable", down_to.data());
    const auto lock = device_.lock_pages(host.data(), copied_), other = device_.lock_pages(down_to.data(), copied_);
    if (lock && other) {
      rates("page-locked", down_to.data());
    } else {
      print_row("page-locked host memory", "not on this device");
    }
  }

  std::string locking(Bytes size) {
    if (tier::available_host_memory() / 2 < size) return "not measured: half of the free host memory is less";
    tier::Arena arena(size);
    const Seconds touch = seconds_of([&] { arena.touch(size); });
    std::unique_ptr<tier::PageLock> lock;
    const Seconds locking = seconds_of([&] { lock = device_.lock_pages(arena.data(), size); });
    const Seconds unlocking = seconds_of([&] { lock.reset(); });
    const auto each = [&](Seconds seconds) { return number(static_cast<double>(size) / seconds / 1e9, "GB/s"); };
    return "touch " + each(touch) + ", lock " + each(locking) + ", unlock " + each(unlocking);
  }

  void products(at::ScalarType type) {
    const std::string what = type == at::kFloat ? "fp32 product of " : "bf16 product of ";
    for (const std::int64_t n : {1024, 4096, 8192}) {
      if (n > 2 * tokens_) continue;
      try_row(what + std::to_string(n) + "^3", [&] {
        const at::Tensor a = at::ones({n, n}, at::TensorOptions(place_).dtype(type)), b = at::ones_like(a);
        const Seconds seconds = median_of(ended([&] { (void)at::mm(a, b.t()); }));
        const auto side = static_cast<double>(n);
        return number(2 * side * side * side / seconds / 1e12, "TFLOP/s");
      });
    }
  }

  void layer(NumberFormat compute) {
    const std::string what =
        "layer of " + preset_ + ", " + std::to_string(tokens_) + " tokens, " + name(compute) + " products";
    try_row(what, [&] {
      format::ModelConfig config = format::preset_config(preset_);
      config.num_layers = 1;
      config.vocab_size = 1024;
      model::Model model = model::make_model(config, {.compute = compute});
      model::hold(model, [&](const model::ChunkSpec&) { return compute; });
      model::BlockTensors t = tensors_of(model);
      const model::Block& block = *model.blocks[1].block;
      const Seconds forward = median_of(ended([&] { model::run_forward(block, t); }));
      const Seconds backward = median_of(ended([&] { (void)model::run_backward(block, t); }));
      const double flops = flops_of(config);
      const std::string speed = "forward " + number(forward * 1e3, "ms", 1) + " (" +
                                number(flops / forward / 1e12, "TFLOP/s", 1) +
                                "), backward with its forward made again " + number(backward * 1e3, "ms", 1) + " (" +
                                number(3 * flops / backward / 1e12, "TFLOP/s", 1) + ")";
      return speed + "; 20 backwards have " + (same_bits(block, t) ? "the same bits" : "DIFFERENT BITS");
    });
  }

  // Products of a forward; causal attention does half of its square.
  [[nodiscard]] double flops_of(const format::ModelConfig& config) const {
    const auto t = static_cast<double>(tokens_), d = static_cast<double>(config.hidden_size);
    const auto kv = static_cast<double>(config.num_kv_heads * config.head_dim),
               f = static_cast<double>(config.intermediate_size);
    return 2 * t * (2 * d * d + 2 * d * kv + 3 * d * f) + 2 * t * t * d;
  }

  model::BlockTensors tensors_of(const model::Model& model) {
    const model::BlockEntry& entry = model.blocks[1];
    const auto options = at::TensorOptions(place_).dtype(at::kFloat);
    model::BlockTensors t;
    std::map<int, std::pair<plan::Chunk, std::pair<at::Tensor, at::Tensor>>> chunks;
    for (const int chunk : entry.chunks) {
      plan::Chunk layout = model::chunk_layout(model.chunks[static_cast<std::size_t>(chunk)]);
      const std::int64_t elements = layout.num_elements;
      const at::ScalarType held = model::held_type(layout.held);
      chunks[chunk] = {std::move(layout),
                       {at::sin(at::arange(elements, options)).mul_(0.02).to(held), at::zeros({elements}, options)}};
    }
    for (const auto [chunk, parameter] : model::parameter_places(model, entry)) {
      const auto& [layout, memory] = chunks.at(chunk);
      const plan::ParameterSlot& slot = layout.parameters[static_cast<std::size_t>(parameter)];
      t.parameters.push_back(model::view_of(slot, memory.first));
      t.gradients.push_back(model::view_of(slot, memory.second));
    }
    const std::vector<std::int64_t> shape = {1, tokens_, model.hidden_size};
    t.input = at::sin(at::arange(tokens_ * model.hidden_size, options)).view(shape);
    t.output_gradient = at::cos(at::arange(tokens_ * model.hidden_size, options)).mul_(1e-3).view(shape);
    t.output = at::empty(shape, options);
    t.input_gradient = at::empty(shape, options);
    t.batch.input_ids = at::zeros({1, tokens_}, options.dtype(at::kLong));
    return t;
  }

  bool same_bits(const model::Block& block, model::BlockTensors& t) {
    at::Tensor first;
    for (int i = 0; i < 20; ++i) {
      for (const at::Tensor& gradient : t.gradients) gradient.zero_();
      (void)model::run_backward(block, t);
      if (i > 0 && !at::equal(first, t.gradients[0])) return false;
      if (i == 0) first = t.gradients[0].clone();
    }
    return true;
  }

  tier::Device& device_;
  const at::Device place_;
  const std::int64_t tokens_;
  const Bytes copied_;
  const std::string preset_;
  std::unique_ptr<tier::DeviceMemory> workspace_;
};

int run(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "cuda";
  const std::int64_t tokens = argc > 2 ? std::atoll(argv[2]) : 4096;
  const Bytes copied = (argc > 3 ? std::atoll(argv[3]) : 1024) * MiB;
  const auto device = find_row(tier::device_catalog(), "device", kind).make({});
  model::ComputePlace place{.device = at::Device(device->torch_name()),
                            .operators = model::Operators::Torch,
                            .num_processors = device->num_processors()};
  model::compute_at(place);
  try_row("fused attention of 16-bit numbers", [&] {
    const std::string wrong = model::try_fused_attention(NumberFormat::Bf16);
    place.fused_attention = wrong.empty();
    return wrong.empty() ? "agrees with the composed one" : "not taken: " + wrong;
  });
  model::compute_at(place);
  Parts(*device, tokens, copied, argc > 4 ? argv[4] : "llama-3-8b").run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "bench_gpu_parts: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_gpu_parts: %s\n", error.what());
    return 70;
  }
}
