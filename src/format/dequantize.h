// How elements are stored in blocks, as one table: a new type is one row and one function. Names are shared by
// safetensors and GGUF. Layouts: ggml's quantisation formats (ggml-common.h); results are bit-equal to its reference
// decoders.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/units.h"
#include "format/byte_source.h"

namespace sluice::format {

/// One way to store elements. `widen` turns whole blocks into fp32; it is null for types that can be listed but not
/// read.
struct BlockType {
  std::string_view name;
  std::uint32_t ggml_id;
  std::int64_t values_per_block;
  Bytes bytes_per_block;
  void (*widen)(const std::byte* blocks, std::int64_t num_blocks, float* destination);
};

/// The whole table.
std::span<const BlockType> block_types();

/// nullptr when unknown.
const BlockType* find_block_type(std::string_view name);
const BlockType* find_block_type(std::uint32_t ggml_id);

/// A run of elements of one type in a source: tensor data.
struct StoredElements {
  const ByteSource* source;
  Bytes offset;  ///< of the first block
  const BlockType* type;
  std::int64_t num_elements;
};

/// Fills `destination` with elements from `first_element` on. Uses at most 1 MiB of staging memory. Throws FormatError
/// when the range leaves the elements or the type has no decoder.
void read_widened(const StoredElements& elements, std::int64_t first_element, std::span<float> destination);

/// fp32 to "F32", "F16" or "BF16", round to nearest even; `destination` has exactly the bytes needed. Throws
/// ConfigError for other dtypes.
void narrow(std::span<const float> values, std::string_view dtype, std::span<std::byte> destination);

}  // namespace sluice::format
