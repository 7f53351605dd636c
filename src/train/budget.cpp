#include "train/budget.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <algorithm>
#include <compare>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "format/presets.h"
#include "model/cpu_allocator.h"
#include "model/model.h"
#include "model/place.h"
#include "model/product.h"
#include "model/tracer.h"
#include "recipe/device.h"
#include "recipe/support.h"
#include "tier/limits.h"
#include "tier/mover.h"
#include "train/run_device.h"

namespace sluice::train {
namespace {

// What appears after the process was read: the plan, metrics and allocator slack, and for the lanes of a disk tier
// stacks, rings and tables. Up to 12 MiB were seen. Half of it is there once the plan is made.
constexpr Bytes kGrowth = 4 * MiB, kDiskGrowth = 14 * MiB;

// Matrix products large enough that the library makes all of its buffers, then every block's computations.
void warm_kernels(recipe::DType compute) {
  {
    const at::Tensor ones = at::ones({1024, 1024}), a = model::product_input(ones, compute);
    (void)model::product(a, a.t());
    (void)model::product(a.t(), a);
    (void)model::product_plus(ones, a, a);
  }
  const model::Model tiny = model::make_model(format::preset_config("llama-tiny"), {.compute = compute});
  for (std::size_t block = 0; block < tiny.blocks.size(); ++block)
    (void)model::trace_block(tiny, static_cast<int>(block), {2, 64}, c10::DeviceType::CPU);
}

struct ProductShape {
  std::int64_t m, k, n;
  bool narrow;
  auto operator<=>(const ProductShape&) const = default;
};

std::set<ProductShape> product_shapes(const plan::StepTrace& trace) {
  std::set<ProductShape> shapes;
  const auto add = [&](const plan::ComputeTrace& compute) {
    for (const plan::OpCost& op : compute.ops) {
      if (op.kind == plan::OpClass::MatMul || op.kind == plan::OpClass::NarrowMatMul)
        shapes.insert({op.m, op.k, op.n, op.kind == plan::OpClass::NarrowMatMul});
    }
  };
  for (const plan::BlockTrace& block : trace.traces) {
    for (const auto* computations : {&block.forward, &block.backward, &block.generate}) {
      for (const plan::ComputeTrace& compute : *computations) add(compute);
    }
    add(block.evaluate);
  }
  for (const plan::ComputeTrace& compute : trace.updates) add(compute);
  return shapes;
}

}  // namespace

// A product is one of three: y = x W^T, dx = dy W, dW = dy^T x.
void warm_products(const plan::StepTrace& trace) {
  if (model::uses_torch()) return;  // they run on a device
  for (const auto& [m, k, n, narrow] : product_shapes(trace)) {
    const auto zeros = [type = narrow ? at::kBFloat16 : at::kFloat](std::int64_t rows, std::int64_t columns) {
      return at::zeros({rows, columns}, type);
    };
    const at::Tensor c = at::empty({m, n});
    model::product_out(c, zeros(m, k), zeros(n, k).t());
    model::product_out(c, zeros(m, k), zeros(k, n));
    model::product_out(c, zeros(k, m).t(), zeros(k, n));
  }
}

Bytes warming_bytes(const plan::StepTrace& trace) {
  std::int64_t most = 0;
  for (const auto& [m, k, n, narrow] : product_shapes(trace)) most = std::max(most, m * n + m * k + n * k);
  return most * static_cast<Bytes>(sizeof(float));
}

void prepare_process(const recipe::Settings& settings) {
  // Few heaps and freed memory given back: what is resident is what is used.
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 4 << 20);
  model::install_cpu_allocator();
  (void)run_device(settings);  // what it loads is the process's, and traces follow it
  at::set_num_threads(settings.threads.value_or(tier::physical_cores()));
  const recipe::DType compute = recipe::compute_format(settings);
  if (compute == recipe::DType::Bf16 && !tier::has_bf16_products())
    log_warning("this processor has no bf16 instructions: --compute-dtype bf16 is slower than fp32 here");
  if (compute == recipe::DType::Fp16 && !model::uses_torch())
    log_warning("fp16 numbers are multiplied as fp32 ones on a CPU: --compute-dtype fp16 is slower than fp32 here");
  warm_kernels(compute);
}

Bytes process_overhead(bool with_disk) {
  ::malloc_trim(0);
  return round_up(tier::read_process_memory().resident + kGrowth + (with_disk ? kDiskGrowth : 0), 4096);
}

Bytes settled_overhead(bool with_disk) {
  ::malloc_trim(0);  // what the search held
  return round_up(tier::read_process_memory().resident + (kGrowth + (with_disk ? kDiskGrowth : 0)) / 2, 4096);
}

Bytes packed_overhead(const recipe::Settings& settings) { return kDiskGrowth + narrow_staging(settings, true); }

Bytes narrow_staging(const recipe::Settings& settings, bool has_store) {
  const recipe::DType stored = recipe::stored_weights(settings);
  return stored != recipe::held_weights(settings, stored) && has_store ? tier::kNarrowStaging : 0;
}

Budget measure_budget(const recipe::Settings& settings) {
  Budget budget;
  budget.overhead = process_overhead(!settings.spill_dir.empty());
  budget.overhead += narrow_staging(settings, !settings.spill_dir.empty());
  const Bytes resident = tier::read_process_memory().resident;
  budget.device = recipe::emulated_bytes(settings);
  const Bytes free = (resident + tier::available_host_memory()) / 10 * 9 - budget.device;
  budget.process = settings.host_memory.value_or(free) / 4096 * 4096;
  if (budget.arena() < MiB) {
    throw CapacityError("budget", "the program alone does not fit",
                        "it needs " + format_bytes(budget.overhead) + " before the model, --host-memory is " +
                            format_bytes(budget.process),
                        "raise --host-memory");
  }
  return budget;
}

}  // namespace sluice::train
