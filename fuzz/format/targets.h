// What each fuzzer of src/format runs on one input. Any sluice::Error is a good answer; a crash, a leak, another
// exception or a sanitizer report is a bug. Accepted inputs are used as the program would use them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "format/gguf.h"
#include "format/gguf_model.h"
#include "format/gguf_tokenizer.h"
#include "format/hjson.h"
#include "format/model_config.h"
#include "format/model_dir.h"
#include "format/safetensors.h"
#include "format/weight_source.h"

namespace sluice::format {

inline void fuzz_safetensors(std::string bytes) {
  try {
    const SafetensorsFile file(make_memory_source(std::move(bytes), "input"));
    std::vector<std::byte> piece;
    for (const StoredTensor& tensor : file.tensors()) {
      piece.resize(static_cast<std::size_t>(std::min<Bytes>(tensor.size, 64)));
      file.read(tensor, tensor.size - static_cast<Bytes>(piece.size()), piece);
    }
  } catch (const Error&) {
  }
}

/// What was read is JSON, which reads back to the same.
inline void fuzz_hjson(const std::string& text) {
  try {
    const nlohmann::ordered_json object = parse_hjson_object(text, "input");
    if (parse_hjson_object(object.dump(), "input", {.max_bytes = 64 * MiB}) != object) __builtin_trap();
  } catch (const Error&) {
  }
}

inline void fuzz_shard_index(const std::string& text) {
  try {
    for (const std::string& file : parse_shard_index(text, "input").files)
      if (file.find('/') != std::string::npos || file == "..") __builtin_trap();
  } catch (const Error&) {
  }
}

inline void fuzz_model_config(const std::string& text) {
  try {
    const ModelConfig config = parse_model_config(text, "input");
    const ModelConfig again = parse_model_config(updated_config_json(config, "BF16"), "rewritten");
    if (again.rope_theta != config.rope_theta || again.rope_scaling.type != config.rope_scaling.type) __builtin_trap();
    parse_model_config(make_config_json(config), "made");
  } catch (const InternalError&) {
    __builtin_trap();
  } catch (const Error&) {
  }
}

inline void fuzz_gguf(std::string bytes) {
  try {
    auto file = std::make_unique<GgufFile>(make_memory_source(std::move(bytes), "input"));
    try {
      gguf_tokenizer(*file);
    } catch (const ConfigError&) {
    } catch (const FormatError&) {
    }
    gguf_generation_config(*file);
    const auto weights = make_gguf_weights(std::move(file));
    std::vector<float> values;
    for (const TensorInfo& tensor : weights->tensors()) {
      const std::int64_t count = std::min<std::int64_t>(tensor.num_elements(), 300);
      values.resize(static_cast<std::size_t>(count));
      weights->read(tensor.name, tensor.num_elements() - count, values);
    }
  } catch (const InternalError&) {
    __builtin_trap();
  } catch (const Error&) {
  }
}

}  // namespace sluice::format
