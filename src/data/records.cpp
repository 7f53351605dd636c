#include "data/records.h"

#include "base/error.h"
#include "data/block_reader.h"
#include "data/text_pieces.h"

namespace sluice::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRecordLimit = std::size_t{64} << 20;
constexpr std::string_view kSpace = " \t\r\n";

bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

/// Cuts the elements out of an array by its brackets and quotes; whether each is JSON is for its reader to see.
class ArrayScanner {
 public:
  explicit ArrayScanner(const std::function<void(std::string_view, std::int64_t)>& visit) : visit_(visit) {}

  void take(char c, const fs::path& file) {
    if (closed_) {
      if (!is_space(c)) refuse(file, "nothing behind the array");
      return;
    }
    if (depth_ == 0) {  // the array's own bracket
      if (!is_space(c)) depth_ = 1;
      return;
    }
    if (in_text_) {
      in_text_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_text_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      --depth_;
    }
    const bool ends = !in_text_ && (depth_ == 0 || (depth_ == 1 && c == ','));
    if (!ends) {
      if (!held_.empty() || !is_space(c)) held_ += c;
      if (held_.size() > kRecordLimit) refuse(file, "records of at most 64 MiB");
      return;
    }
    closed_ = depth_ == 0;
    if (!held_.empty()) visit_(held_, ++number_);
    held_.clear();
  }

  void finish(const fs::path& file) const {
    if (!closed_) refuse(file, "a closed array");
  }

 private:
  [[noreturn]] static void refuse(const fs::path& file, const std::string& expected) {
    throw FormatError("data", file.string() + " is malformed", "expected " + expected);
  }

  const std::function<void(std::string_view, std::int64_t)>& visit_;
  std::string held_;
  std::int64_t number_ = 0;
  int depth_ = 0;
  bool in_text_ = false, escaped_ = false, closed_ = false;
};

bool is_array(const std::string& prefix) {
  const std::size_t first = prefix.find_first_not_of(kSpace);
  return first != std::string::npos && prefix[first] == '[';
}

}  // namespace

std::uint64_t for_each_record(const fs::path& file, const std::function<void(std::string_view, std::int64_t)>& visit) {
  if (!is_array(read_prefix(file, 64 * KiB))) return for_each_line(file, visit);
  BlockReader reader(file);
  ArrayScanner scanner(visit);
  for (std::string_view block = reader.next(); !block.empty(); block = reader.next())
    for (const char c : block) scanner.take(c, file);
  scanner.finish(file);
  return reader.hash();
}

nlohmann::ordered_json first_record(const fs::path& file) {
  const std::string prefix = read_prefix(file, MiB);
  const std::size_t begin = prefix.find_first_not_of(kSpace);
  if (begin == std::string::npos || (prefix[begin] != '{' && prefix[begin] != '[')) return nullptr;
  nlohmann::ordered_json record;
  if (prefix[begin] == '{') {
    record = nlohmann::ordered_json::parse(prefix.substr(begin, prefix.find('\n', begin) - begin), nullptr, false);
  } else {
    bool found = false;
    const std::function<void(std::string_view, std::int64_t)> keep = [&](std::string_view text, std::int64_t) {
      if (!found) record = nlohmann::ordered_json::parse(text, nullptr, false);
      found = true;
    };
    ArrayScanner scanner(keep);
    for (std::size_t at = begin; at < prefix.size() && !found; ++at) scanner.take(prefix[at], file);
  }
  return record.is_object() ? record : nullptr;
}

}  // namespace sluice::data
