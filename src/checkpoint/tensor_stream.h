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

/// Reads elements of the tensor from `first` up to, not including, `end`, a staging's worth at a time, and appends them
/// to `writer` (SafetensorsWriter or ModelWeightsWriter), which knows them as `name`.
template <typename Writer>
void stream_elements(const StateTensor& tensor, std::int64_t first, std::int64_t end, const std::string& name,
                     const ReadState& read_state, std::span<float> staging, Writer& writer) {
  const std::span<std::byte> memory = std::as_writable_bytes(staging);
  const Bytes width = format::safetensors_dtype_bits(tensor.dtype) / 8;
  while (first < end) {
    const auto count = std::min<std::int64_t>(static_cast<Bytes>(memory.size()) / width, end - first);
    const auto piece = memory.first(static_cast<std::size_t>(count * width));
    read_state(tensor, first, piece);
    if (const int injected = fail_point("checkpoint.write"); injected > 0)
      throw_errno("checkpoint", "write", tensor.name, injected, "free space on that file system");
    writer.append(name, piece);
    first += count;
  }
}

/// All of a tensor.
template <typename Writer>
void stream_tensor(const StateTensor& tensor, const ReadState& read_state, std::span<float> staging, Writer& writer) {
  stream_elements(tensor, 0, tensor_info(tensor).num_elements(), tensor.name, read_state, staging, writer);
}

/// Throws IoError now rather than in the middle when the tensors cannot fit the free space of `folder`'s file system.
void check_free_space(const std::filesystem::path& folder, std::span<const StateTensor> tensors);

}  // namespace sluice::checkpoint
