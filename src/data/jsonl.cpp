#include "data/jsonl.h"

#include <algorithm>
#include <functional>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/error.h"
#include "data/json_integer.h"
#include "format/safetensors_writer.h"

namespace sluice::data {
namespace {

constexpr std::size_t kLineLimit = std::size_t{512} << 20;
constexpr std::size_t kValuesPerWrite = 1 << 16;

// One JSON object in, one out, per line; a malformed line is named by its number.
std::int64_t map_lines(std::istream& in, std::ostream& out, const char* expected,
                       const std::function<nlohmann::json(const nlohmann::json&)>& map) {
  std::int64_t number = 0, written = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.size() > kLineLimit)
      throw FormatError("data.jsonl", "line " + std::to_string(number) + " is too long", "expected at most 512 MiB");
    try {
      out << map(nlohmann::json::parse(line)).dump() << '\n';
    } catch (const nlohmann::json::exception& error) {
      throw FormatError("data.jsonl", "line " + std::to_string(number) + " is malformed",
                        "expected " + std::string(expected) + ": " + error.what());
    }
    ++written;
    if (!out) break;
  }
  out.flush();
  if (!out)
    throw IoError("data.jsonl", "write failed after line " + std::to_string(number),
                  "the output was closed or is full");
  if (in.bad()) throw IoError("data.jsonl", "read failed after line " + std::to_string(number));
  return written;
}

void append_values(format::SafetensorsWriter& writer, const char* name, std::span<const std::int64_t> values) {
  writer.append(name, std::as_bytes(values));
}

// All rows of one of the two tensors, a few at a time.
void write_rows(const Dataset& dataset, format::SafetensorsWriter& writer, const char* name, bool labels_wanted) {
  const auto width = static_cast<std::size_t>(dataset.seq_len());
  std::vector<std::int64_t> ids(width), labels(width), pending;
  for (std::int64_t row = 0; row < dataset.num_rows(); ++row) {
    dataset.read_row(row, ids, labels);
    const auto& wanted = labels_wanted ? labels : ids;
    pending.insert(pending.end(), wanted.begin(), wanted.end());
    if (pending.size() < kValuesPerWrite && row + 1 < dataset.num_rows()) continue;
    append_values(writer, name, pending);
    pending.clear();
  }
}

// Text of a run of ids, either all targets or none.
std::string show_run(const Tokenizer* tokenizer, std::span<const std::int64_t> run) {
  std::vector<std::int32_t> ids(run.begin(), run.end());
  if (tokenizer != nullptr) return tokenizer->decode(ids);
  std::string text;
  for (const std::int32_t id : ids) text += (text.empty() ? "" : " ") + std::to_string(id);
  return text + ' ';
}

// How much of a row to show: of a run of one token at its end that is no target, the first.
std::size_t without_padding(std::span<const std::int64_t> ids, std::span<const std::int64_t> labels) {
  std::size_t size = ids.size();
  while (size > 1 && labels[size - 1] == kIgnoreLabel && labels[size - 2] == kIgnoreLabel &&
         ids[size - 1] == ids[size - 2])
    --size;
  return size;
}

}  // namespace

std::int64_t encode_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out, EncodeOptions options) {
  return map_lines(in, out, "{\"text\": ...}", [&](const nlohmann::json& line) {
    return nlohmann::json{{"ids", tokenizer.encode(line.at("text").get_ref<const std::string&>(), options)}};
  });
}

std::int64_t decode_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out, bool skip_special) {
  return map_lines(in, out, "{\"ids\": [...]}", [&](const nlohmann::json& line) {
    std::vector<std::int32_t> ids;
    for (const auto& value : line.at("ids").get_ref<const nlohmann::json::array_t&>()) {
      const auto id = integer_of(value, "a token id");
      if (id < 0 || id >= tokenizer.vocab_size())
        throw FormatError(
            "data.jsonl", "an id is out of range",
            "expected 0 to " + std::to_string(tokenizer.vocab_size() - 1) + ", got " + std::to_string(id));
      ids.push_back(static_cast<std::int32_t>(id));
    }
    return nlohmann::json{{"text", tokenizer.decode(ids, skip_special)}};
  });
}

void write_tokenized(const Dataset& dataset, const std::filesystem::path& output, std::ostream& log) {
  const std::vector<std::int64_t> shape = {dataset.num_rows(), dataset.seq_len()};
  format::SafetensorsWriter writer(output, {{"input_ids", "I64", shape}, {"labels", "I64", shape}});
  write_rows(dataset, writer, "input_ids", false);
  write_rows(dataset, writer, "labels", true);
  writer.publish();
  log << output.string() << ": " << dataset.summary() << '\n';
}

void inspect_rows(const Dataset& dataset, const Tokenizer* tokenizer, std::ostream& out, InspectOptions options) {
  out << dataset.summary() << '\n';
  const auto width = static_cast<std::size_t>(dataset.seq_len());
  std::vector<std::int64_t> ids(width), labels(width);
  const std::int64_t last = std::min(dataset.num_rows(), options.first_row + options.num_rows);
  for (std::int64_t row = std::max<std::int64_t>(0, options.first_row); row < last; ++row) {
    dataset.read_row(row, ids, labels);
    const auto num_targets =
        std::count_if(labels.begin() + 1, labels.end(), [](auto label) { return label != kIgnoreLabel; });
    out << "--- row " << row << ": " << num_targets << " targets of " << width << " tokens\n";
    const std::size_t shown = without_padding(ids, labels);
    for (std::size_t begin = 0, end = 0; begin < shown; begin = end) {
      const bool masked = labels[begin] == kIgnoreLabel;
      while (end < shown && (labels[end] == kIgnoreLabel) == masked) ++end;
      const std::string text = show_run(tokenizer, std::span(ids).subspan(begin, end - begin));
      if (masked) {
        out << (options.colours ? "\x1b[2m" : "[[") << text << (options.colours ? "\x1b[0m" : "]]");
      } else {
        out << text;
      }
    }
    if (shown < width) out << " (" << width - shown << " more of the last)";
    out << '\n';
  }
}

}  // namespace sluice::data
