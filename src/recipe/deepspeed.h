// A DeepSpeed config.json as options of ours. Whatever is given elsewhere, by a flag or in --config, wins over the
// file; "auto" means that it was left to that, as the Hugging Face Trainer fills it in.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "recipe/settings.h"

namespace sluice::recipe {

/// One key of a file, or one that is missing and whose absence decides something ("-").
struct DeepSpeedUse {
  std::string key, value, outcome;
};

struct DeepSpeedReading {
  std::vector<NamedValue> options;  ///< none of those that are given elsewhere
  std::vector<DeepSpeedUse> uses;   ///< in the order of the file, then the missing ones
};

/// `given`: what flags and --config say, by the names of their rows. Sizes of batches are completed as DeepSpeed does
/// it (runtime/config.py) for `num_ranks` ranks. Throws ConfigError for what DeepSpeed refuses (unknown keys, sizes
/// that contradict each other, fp16 beside bf16, offload at the wrong stage, ...) and for what nothing here does.
DeepSpeedReading read_deepspeed(const std::filesystem::path& path, std::span<const NamedValue> given, int num_ranks);

/// The table of a run's keys, a line each.
std::string to_text(std::span<const DeepSpeedUse> uses);

}  // namespace sluice::recipe
