// What a model folder, safetensors file, GGUF file or config.json holds, for people and for scripts.
#pragma once
#include <filesystem>
#include <string>

namespace sluice::format {

enum class InspectFormat { Text, Json };

/// Kind, tensors, dtypes, parameter count and metadata of `path`; only headers are read. Throws ConfigError when it is
/// none of the kinds, FormatError when it is damaged.
std::string inspect(const std::filesystem::path& path, InspectFormat format = InspectFormat::Text);

}  // namespace sluice::format
