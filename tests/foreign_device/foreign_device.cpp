#include "foreign_device/foreign_device.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"

namespace sluice::foreign {
namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;

/// All memory of the device, open or shut.
class Regions {
 public:
  void add(void* data, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    sizes_[data] = bytes;
    protect(data, bytes);
  }
  void remove(void* data) {
    const std::lock_guard lock(mutex_);
    sizes_.erase(data);
  }
  void change(int by) {
    const std::lock_guard lock(mutex_);
    const bool was_open = num_open_ > 0;
    num_open_ += by;
    if (was_open == (num_open_ > 0)) return;
    for (const auto& [data, bytes] : sizes_) protect(data, bytes);
  }

 private:
  void protect(void* data, std::size_t bytes) const {
    SLUICE_CHECK(mprotect(data, bytes, num_open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE) == 0, "mprotect failed");
  }
  std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  int num_open_ = 0;
};

Regions& regions() {
  static Regions* const all = new Regions;  // tensors may go after main
  return *all;
}

class Allocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    auto* memory = bytes > 0 ? new Memory(bytes) : nullptr;
    return {memory != nullptr ? memory->data() : nullptr, memory, &release, device()};
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    const Access access;
    default_copy_data(to, from, bytes);
  }

 private:
  static void release(void* memory) { delete static_cast<Memory*>(memory); }
};

Allocator g_allocator;

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &g_allocator, kKeys, type.value_or(at::kFloat), format);
}

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> type,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(sizes, strides, &g_allocator, kKeys, type.value_or(at::kFloat));
}

at::Tensor as_strided(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                      std::optional<std::int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, sizes, strides, offset);
}

/// The same memory as a tensor of the CPU; a tensor of the CPU itself. Memory must be open while it is used.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() != kType) return tensor;
  const auto options = at::TensorOptions().dtype(tensor.dtype());
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), options);
  return at::from_blob(tensor.mutable_data_ptr(), tensor.sizes(), tensor.strides(), options);
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  const Access access;
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

at::Tensor on_device(const at::Tensor& tensor) {
  at::Tensor copy = empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type(), {}, {}, {});
  if (tensor.numel() > 0) on_cpu(copy).copy_(tensor);
  return copy;
}

void take_over(const at::Tensor& tensor, const at::Tensor& content) {
  const at::Tensor made = on_device(content);
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(made.storage());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(made.sizes(), made.strides());
}

/// Any operator: the CPU's, on the same memory. Results that are arguments stay these.
class OnCpu {
 public:
  c10::IValue argument(const c10::IValue& value) {
    if (value.isTensor()) return tensor(value.toTensor());
    if (value.isDevice()) return value.toDevice().type() == kType ? c10::Device(at::kCPU) : value.toDevice();
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& one : value.toTensorVector()) list.push_back(tensor(one));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& one : value.toOptionalTensorVector())
        list.push_back(one ? std::optional(tensor(*one)) : std::nullopt);
      return list;
    }
    return value;
  }

  c10::IValue result(const c10::IValue& value) const {
    if (!value.isTensor() || !value.toTensor().defined()) return value;
    const at::Tensor& tensor = value.toTensor();
    for (const auto& [alias, original] : aliases_) {
      if (!alias.is_same(tensor)) continue;
      if (alias.sizes() != original.sizes()) take_over(original, alias);
      return original;
    }
    return on_device(tensor);
  }

 private:
  at::Tensor tensor(const at::Tensor& original) {
    const at::Tensor alias = on_cpu(original);
    if (alias.defined() && !alias.is_same(original)) aliases_.emplace_back(alias, original);
    return alias;
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> aliases_;
};

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Access access;
  OnCpu cpu;
  torch::jit::Stack values;
  for (const c10::IValue& value : torch::jit::last(*stack, op.schema().arguments().size()))
    values.push_back(cpu.argument(value));
  torch::jit::drop(*stack, op.schema().arguments().size());
  op.callBoxed(&values);
  for (const c10::IValue& value : values) stack->push_back(cpu.result(value));
}

void register_kernels() {
  static torch::Library aten(torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
  aten.impl("empty.memory_format", &empty);
  aten.impl("empty_strided", &empty_strided);
  aten.impl("as_strided", &as_strided);
  aten.impl("view", &at::native::view);
  aten.impl("_reshape_alias", &at::native::_reshape_alias);
  aten.impl("_copy_from", &copy_from);
  static torch::Library all(torch::Library::IMPL, "_", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
  all.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<kType>);

}  // namespace

c10::Device device() {
  static const bool registered = [] {
    c10::register_privateuse1_backend("foreign");
    c10::SetAllocator(kType, &g_allocator);
    register_kernels();
    return true;
  }();
  static_cast<void>(registered);
  return {kType, 0};
}

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  void* data = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SLUICE_CHECK(data != MAP_FAILED, "no memory for the foreign device");
  data_ = static_cast<std::byte*>(data);
  regions().add(data_, bytes_);
}

Memory::~Memory() {
  regions().remove(data_);
  munmap(data_, bytes_);
}

Access::Access() { regions().change(1); }
Access::~Access() { regions().change(-1); }

}  // namespace sluice::foreign
