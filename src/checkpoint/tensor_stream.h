// The copy loop of every save: pieces of a tensor through the caller's staging memory. Private to checkpoint.
#pragma once
#include <algorithm>

#include "base/error.h"
#include "base/fail_point.h"
#include "checkpoint/writer.h"
#include "format/safetensors.h"
#include "format/tensor_info.h"

namespace sluice::checkpoint {

inline format::TensorInfo tensor_info(const StateTensor& tensor) { return {tensor.name, tensor.dtype, tensor.shape}; }

/// Reads the tensor piece by piece and appends it to `writer` (SafetensorsWriter or ModelWeightsWriter).
template <typename Writer>
void stream_tensor(const StateTensor& tensor, const ReadState& read_state, std::span<float> staging, Writer& writer) {
  const std::span<std::byte> memory = std::as_writable_bytes(staging);
  const Bytes width = format::safetensors_dtype_bits(tensor.dtype) / 8;
  const std::int64_t num_elements = tensor_info(tensor).num_elements();
  for (std::int64_t first = 0; first < num_elements;) {
    const auto count = std::min<std::int64_t>(static_cast<Bytes>(memory.size()) / width, num_elements - first);
    const auto piece = memory.first(static_cast<std::size_t>(count * width));
    read_state(tensor, first, piece);
    if (const int injected = fail_point("checkpoint.write"); injected > 0)
      throw_errno("checkpoint", "write", tensor.name, injected, "free space on that file system");
    writer.append(tensor.name, piece);
    first += count;
  }
}

/// Throws IoError now rather than in the middle when the tensors cannot fit the free space of `folder`'s file system.
void check_free_space(const std::filesystem::path& folder, std::span<const StateTensor> tensors);

}  // namespace sluice::checkpoint
