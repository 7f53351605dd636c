// Published tasks whose original files become items to score, one row each (`sluice list tasks`). The texts around the
// fields are those of lm-evaluation-harness (lm_eval/tasks); docs/evaluation.md says where they differ and why.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"

namespace sluice::data {

using ItemSink = std::function<void(nlohmann::ordered_json item)>;

struct TaskConverter {
  /// Hands the items of one line of an original file to `add` in the form of `read_choice_task`; `where` names the
  /// line. Throws FormatError saying what was expected.
  void (*convert)(std::string_view line, const std::string& where, const ItemSink& add);
};

std::span<const CatalogRow<TaskConverter>> task_rows();

/// Writes the items of the original file `input` as JSON lines, one after the other; `output` appears complete or not
/// at all. Returns their number. Throws ConfigError for an unknown task, FormatError naming the line, IoError.
std::int64_t convert_task(std::string_view task, const std::filesystem::path& input,
                          const std::filesystem::path& output);

}  // namespace sluice::data
