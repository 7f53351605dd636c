// Handmade files, right and wrong: bytes of safetensors and GGUF files put together piece by piece.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/safetensors.h"

namespace sluice::format {

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// A whole safetensors file: length, header text, `data_size` zero bytes.
inline std::string safetensors_bytes(const std::string& header, std::size_t data_size) {
  return raw(std::uint64_t{header.size()}) + header + std::string(data_size, '\0');
}

inline SafetensorsFile open_safetensors_bytes(const std::string& header, std::size_t data_size) {
  return SafetensorsFile(make_memory_source(safetensors_bytes(header, data_size), "test.safetensors"));
}

/// Assembles a GGUF file. Counts and offsets are right unless a test overwrites them.
class GgufBuilder {
 public:
  static std::string text(const std::string& value) { return raw(std::uint64_t{value.size()}) + value; }

  GgufBuilder& add_raw(const std::string& key, std::uint32_t type, const std::string& value) {
    keys_ += text(key) + raw(type) + value;
    ++num_keys;
    return *this;
  }
  GgufBuilder& add(const std::string& key, std::uint32_t value) { return add_raw(key, 4, raw(value)); }
  GgufBuilder& add(const std::string& key, float value) { return add_raw(key, 6, raw(value)); }
  GgufBuilder& add(const std::string& key, bool value) { return add_raw(key, 7, raw(std::uint8_t{value})); }
  GgufBuilder& add(const std::string& key, const char* value) { return add_raw(key, 8, text(value)); }
  GgufBuilder& add(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw(std::uint32_t{8}) + raw(std::uint64_t{values.size()});
    for (const std::string& value : values) bytes += text(value);
    return add_raw(key, 9, bytes);
  }
  GgufBuilder& add(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string bytes = raw(std::uint32_t{5}) + raw(std::uint64_t{values.size()});
    for (const std::int32_t value : values) bytes += raw(value);
    return add_raw(key, 9, bytes);
  }

  /// `dims` as in the file, fastest first. `data` is padded to the alignment.
  GgufBuilder& add_tensor(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                          const std::string& data) {
    tensors_ += text(name) + raw(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) tensors_ += raw(dim);
    tensors_ += raw(type) + raw(std::uint64_t{data_.size()});
    data_ += data;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++num_tensors;
    return *this;
  }
  GgufBuilder& add_zeros(const std::string& name, const std::vector<std::uint64_t>& dims) {
    std::uint64_t count = 1;
    for (const std::uint64_t dim : dims) count *= dim;
    return add_tensor(name, dims, 0, std::string(count * 4, '\0'));
  }

  [[nodiscard]] std::string bytes() const {
    std::string file = "GGUF" + raw(version) + raw(num_tensors) + raw(num_keys) + keys_ + tensors_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }
  [[nodiscard]] std::unique_ptr<GgufFile> open() const {
    return std::make_unique<GgufFile>(make_memory_source(bytes(), "test.gguf"));
  }

  std::uint32_t version = 3;
  std::uint64_t num_tensors = 0;
  std::uint64_t num_keys = 0;

 private:
  std::string keys_;
  std::string tensors_;
  std::string data_;
};

/// The metadata and the embedding of the smallest llama: hidden 8, 2 heads, 16 tokens.
inline GgufBuilder tiny_llama() {
  GgufBuilder builder;
  builder.add("general.architecture", "llama")
      .add("llama.block_count", 1u)
      .add("llama.context_length", 64u)
      .add("llama.embedding_length", 8u)
      .add("llama.feed_forward_length", 16u)
      .add("llama.attention.head_count", 2u)
      .add("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .add("llama.rope.freq_base", 10000.0f)
      .add_zeros("token_embd.weight", {8, 16});
  return builder;
}

}  // namespace sluice::format
