// Items that a model is scored on: a context, the texts that may go on from it, and which of them is right. Kept as
// JSON lines that people can write themselves; `sluice data convert` makes them of the files of published tasks.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace sluice::data {

struct ChoiceItem {
  std::string id;         ///< as the record names it, else its number in the file
  std::string context;    ///< what the model has read
  std::string delimiter;  ///< between context and choice
  std::vector<std::string> choices;
  std::size_t answer = 0;  ///< index into choices

  /// What the model is to go on with.
  [[nodiscard]] std::string continuation(std::size_t choice) const { return delimiter + choices[choice]; }
};

/// The items of one file.
struct ChoiceTask {
  std::string name;     ///< the file's, without folder and extension
  bool greedy = false;  ///< items have one text each ("target"): would the model write it?
  std::vector<ChoiceItem> items;
};

/// Reads {"context", "choices": [TEXT, ...], "answer": INDEX or TEXT} or {"context", "target": TEXT} per line (or in
/// one array), all of a file of the same kind; "id" and "delimiter" are optional, other keys are ignored. Without a
/// delimiter it is one space, or nothing where the context ends or the choice begins with white space. Stops after
/// `limit` items. Throws FormatError naming file and record, and saying what was expected.
ChoiceTask read_choice_task(const std::filesystem::path& file, std::optional<std::int64_t> limit = {});

/// Draws examples to put in front of items.
struct FewShot {
  const ChoiceTask* examples = nullptr;  ///< borrowed
  std::int64_t count = 0;
  std::uint64_t seed = 0;
};

/// `count` different examples with their right answers, an empty line after each, for item number `item` of a task: a
/// function of seed and number alone. An example that is the item itself (context and choices) is not drawn. Throws
/// ConfigError when there are too few.
std::string few_shot_prefix(const FewShot& few_shot, const ChoiceItem& item, std::size_t number);

/// Characters (code points) of well-formed UTF-8.
std::int64_t num_characters(std::string_view utf8);

}  // namespace sluice::data
