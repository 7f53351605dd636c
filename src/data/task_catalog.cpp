#include "data/task_catalog.h"

#include "base/error.h"
#include "base/file.h"
#include "data/published_tasks.h"
#include "data/text_pieces.h"

namespace sluice::data {

std::span<const CatalogRow<TaskConverter>> task_rows() {
  static constexpr CatalogRow<TaskConverter> rows[] = {
      {"boolq", "passage and question: no or yes (SuperGLUE's or Google's JSON lines)", {&convert_boolq}},
      {"rte", "premise and hypothesis: True or False (SuperGLUE)", {&convert_rte}},
      {"wsc", "does the pronoun refer to the noun: no or yes (SuperGLUE)", {&convert_wsc}},
      {"wic", "the same sense of a word in two sentences: no or yes (SuperGLUE)", {&convert_wic}},
      {"copa", "the likelier cause or effect (SuperGLUE)", {&convert_copa}},
      {"multirc", "is this answer correct: one item per answer (SuperGLUE)", {&convert_multirc}},
      {"hellaswag", "the likeliest of four endings (hellaswag_*.jsonl)", {&convert_hellaswag}},
      {"arc", "questions of science tests, easy or challenge (ARC-*.jsonl)", {&convert_arc}},
      {"lambada", "the last word of a passage (plain text, or {\"text\": ...} per line)", {&convert_lambada}},
  };
  return rows;
}

std::int64_t convert_task(std::string_view task, const std::filesystem::path& input,
                          const std::filesystem::path& output) {
  const TaskConverter converter = find_row(task_rows(), "task", task).make;
  FileWriter writer(output);
  std::int64_t written = 0;
  for_each_line(input, [&](std::string_view line, std::int64_t number) {
    converter.convert(line, input.string() + ", line " + std::to_string(number), [&](nlohmann::ordered_json item) {
      writer.append(item.dump() + "\n");
      written += 1;
    });
  });
  if (written == 0) throw FormatError("data.tasks", input.string() + " holds no items", "expected at least one line");
  writer.publish();
  return written;
}

}  // namespace sluice::data
