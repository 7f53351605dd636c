// The files of a Hugging Face model folder beside the weights.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "format/model_config.h"

namespace sluice::format {

/// The config.json to write for weights of `dtype` ("F32", "BF16", "F16"): `config.json` with its unknown keys and
/// order kept, dtype and rope in the spellings of transformers 4 and 5.
std::string updated_config_json(const ModelConfig& config, std::string_view dtype);

/// Writes config.json, generation_config.json and the tokenizer files into `folder` (which exists): copied byte for
/// byte from `source` when it is a model folder (or a file in one), generated when it is a FILE.gguf; an empty `source`
/// gives configs only. Each file is durable and complete on return. Returns the names written.
std::vector<std::string> write_model_files(const std::filesystem::path& folder, const ModelConfig& config,
                                           const std::filesystem::path& source, std::string_view dtype);

/// Names of files that make up a tokenizer, in the order in which they are copied.
const std::vector<std::string>& tokenizer_file_names();

}  // namespace sluice::format
