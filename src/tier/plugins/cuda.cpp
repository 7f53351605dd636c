// An NVIDIA card. Everything is taken once: a pool for libraries when it is opened, the arena when it is reserved; what
// torch allocates lies in these two, so the card's cap is physical.
#include <ATen/ATen.h>
#include <cuda_runtime_api.h>
#include <torch/csrc/cuda/CUDAPluggableAllocator.h>

#include <optional>
#include <string>

#include "base/check.h"
#include "base/error.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "plan/machine.h"
#include "tier/cuda_plugin.h"
#include "tier/device_workspace.h"

namespace sluice::tier {
namespace {

/// Of plan::kDeviceReserve, for libraries' buffers; the rest is the context's.
constexpr Bytes kPool = 192 * MiB;
/// What padding may add to a computation's temporaries; of the pool's share, too.
constexpr Bytes kPadding = 8 * MiB;

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  throw IoError("tier.device", std::string(what) + " failed", cudaGetErrorString(code), "see the driver's log (dmesg)");
}

/// Memory of the card, given back at the end.
class CardMemory {
 public:
  explicit CardMemory(Bytes bytes) {
    const cudaError_t code = cudaMalloc(&data_, static_cast<std::size_t>(bytes));
    if (code == cudaSuccess) return;
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw CapacityError("tier.device", "not enough memory on the device",
                        "asked " + format_bytes(bytes) + ", free " + format_bytes(static_cast<Bytes>(free)) + " of " +
                            format_bytes(static_cast<Bytes>(total)) + " (" + cudaGetErrorString(code) + ")",
                        "lower --device-memory or end other programs on it");
  }
  ~CardMemory() { cudaFree(data_); }
  CardMemory(const CardMemory&) = delete;
  CardMemory& operator=(const CardMemory&) = delete;
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

// Torch asks through plain functions for as long as the process lives.
DeviceWorkspace* workspace = nullptr;

// What outlives its arena has no memory left to give back; torch lets no error out here.
void give_back(std::byte* memory) noexcept {
  try {
    if (workspace != nullptr) workspace->release(memory);
  } catch (const InternalError& error) {
    log_warning(error.what());
  }
}

void install_allocator() {
  const auto allocator = torch::cuda::CUDAPluggableAllocator::createCustomAllocator(
      [](std::size_t bytes, int, cudaStream_t) -> void* { return workspace->allocate(static_cast<Bytes>(bytes)); },
      [](void* memory, std::size_t, int, cudaStream_t) { give_back(static_cast<std::byte*>(memory)); });
  torch::cuda::CUDAPluggableAllocator::changeCurrentAllocator(allocator);
}

/// The arena, with the padding below it.
class CudaMemory final : public DeviceMemory {
 public:
  explicit CudaMemory(Bytes bytes) : memory_(bytes + kPadding) {}
  ~CudaMemory() override {
    if (workspace != nullptr) workspace->forget();
  }
  [[nodiscard]] std::byte* data() const override { return memory_.data() + kPadding; }

 private:
  const CardMemory memory_;
};

class CudaCopyEngine final : public CopyEngine {
 public:
  explicit CudaCopyEngine(int device) : device_(device) {
    check(cudaSetDevice(device), "choosing the card");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    check(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming | cudaEventBlockingSync), "making an event");
  }
  ~CudaCopyEngine() override {
    cudaEventDestroy(arrived_);
    cudaStreamDestroy(stream_);
  }
  CudaCopyEngine(const CudaCopyEngine&) = delete;
  CudaCopyEngine& operator=(const CudaCopyEngine&) = delete;

  void copy(std::byte* destination, const std::byte* source, Bytes bytes) override {
    if (fail_point("device.copy") > 0)
      throw IoError("tier.device", "copy failed", format_bytes(bytes) + " to or from it");
    check(cudaSetDevice(device_), "choosing the card");  // of this thread
    check(cudaMemcpyAsync(destination, source, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream_), "a copy");
    check(cudaEventRecord(arrived_, stream_), "a copy");
    check(cudaEventSynchronize(arrived_), "a copy");
  }

 private:
  const int device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t arrived_ = nullptr;
};

class CudaPageLock final : public PageLock {
 public:
  explicit CudaPageLock(std::byte* data) : data_(data) {}
  ~CudaPageLock() override { cudaHostUnregister(data_); }
  CudaPageLock(const CudaPageLock&) = delete;
  CudaPageLock& operator=(const CudaPageLock&) = delete;

 private:
  std::byte* const data_;
};

// Once per process: torch takes an allocator before it uses the card, and never another.
class CudaDevice final : public Device {
 public:
  explicit CudaDevice(const DeviceOptions& options) : index_(options.index) {
    SLUICE_CHECK(workspace == nullptr, "a card was opened before in this process");
    choose();
    install_allocator();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for the card's memory");
    const Bytes room = static_cast<Bytes>(free) - kPool;
    if (options.memory > room + plan::kDeviceReserve)
      throw CapacityError("device", "--device-memory is more than the card has left",
                          "asked " + format_bytes(options.memory) + ", free " + format_bytes(static_cast<Bytes>(free)) +
                              " of " + format_bytes(static_cast<Bytes>(total)),
                          "lower --device-memory or end other programs on it");
    capacity_ = options.memory > 0 ? options.memory - plan::kDeviceReserve : room - room / 50;
    if (capacity_ < MiB)
      throw CapacityError(
          "device", "the card's libraries alone do not fit",
          "they need " + format_bytes(plan::kDeviceReserve) + ", --device-memory is " + format_bytes(options.memory),
          "raise --device-memory");
    pool_.emplace(kPool - kPadding);
    temporaries_.emplace(pool_->data(), kPool - kPadding);
    workspace = &*temporaries_;
    warm();
  }
  ~CudaDevice() override { workspace = nullptr; }
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  [[nodiscard]] std::string torch_name() const override { return "cuda:" + std::to_string(index_); }
  [[nodiscard]] int num_processors() const override {
    int count = 0;
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, index_), "asking for the card's processors");
    return count;
  }
  [[nodiscard]] Bytes capacity() const override { return capacity_ / 4096 * 4096; }

  std::unique_ptr<DeviceMemory> reserve(Bytes bytes) override {
    auto memory = std::make_unique<CudaMemory>(bytes);
    base_ = memory->data();
    return memory;
  }
  void use_workspace(Bytes capacity) override { temporaries_->use(base_ - kPadding, capacity + kPadding); }
  void limit_workspace(Bytes bytes) override { temporaries_->limit(bytes == 0 ? 0 : bytes + kPadding); }
  [[nodiscard]] Bytes workspace_peak() const override { return temporaries_->peak(); }

  std::unique_ptr<PageLock> lock_pages(std::byte* data, Bytes bytes) override {
    const cudaError_t code = cudaHostRegister(data, static_cast<std::size_t>(bytes), cudaHostRegisterPortable);
    if (code == cudaSuccess) return std::make_unique<CudaPageLock>(data);
    cudaGetLastError();  // it is known now
    log_warning("host memory cannot be page-locked, copies to and from the card will be slow: " +
                std::string(cudaGetErrorString(code)));
    return nullptr;
  }
  std::unique_ptr<CopyEngine> open_line() override { return std::make_unique<CudaCopyEngine>(index_); }
  void wait() override {
    check(cudaSetDevice(index_), "choosing the card");  // of this thread
    check(cudaStreamSynchronize(cudaStreamLegacy), "a computation on the card");
  }

 private:
  void choose() const {
    int count = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaErrorInsufficientDriver || code == cudaErrorStubLibrary)
      throw ConfigError("device", "no driver for CUDA 13",
                        "expected NVIDIA's driver 580 or newer, got none that serves",
                        "install it, or use --device cpu");
    if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
      throw ConfigError("device", "no card", "expected an NVIDIA GPU that this process may use, got none",
                        "see nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu");
    if (code != cudaSuccess)
      throw ConfigError("device", "cuda is not usable",
                        "expected a card, got: " + std::string(cudaGetErrorString(code)),
                        "see nvidia-smi, or use --device cpu");
    if (index_ >= count)
      throw ConfigError(
          "device", "no card " + std::to_string(index_),
          "expected cuda:0 to cuda:" + std::to_string(count - 1) + ", got cuda:" + std::to_string(index_));
    check(cudaSetDevice(index_), "choosing the card");
    check(cudaFree(nullptr), "starting the card");  // makes the context
  }

  // Matrix libraries keep a buffer for each thread that computes, this one and autograd's: made now, it is in the pool.
  void warm() {
    const auto options = at::TensorOptions(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index_)));
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor a = at::ones({64, 64}, options.dtype(type)).requires_grad_(true);
      at::mm(a, a).sum().backward();
    }
    wait();
  }

  const int index_;
  Bytes capacity_ = 0;
  std::byte* base_ = nullptr;  // of the arena reserved last
  std::optional<CardMemory> pool_;
  std::optional<DeviceWorkspace> temporaries_;
};

}  // namespace
}  // namespace sluice::tier

extern "C" sluice::tier::Device* sluice_open_cuda(const sluice::tier::DeviceOptions& options) {
  return new sluice::tier::CudaDevice(options);
}
