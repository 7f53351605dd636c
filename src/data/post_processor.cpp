#include "base/error.h"
#include "data/components.h"
#include "data/json_integer.h"

namespace sluice::data {
namespace {

void append_special(const nlohmann::json& table, const std::string& name, std::vector<std::int32_t>& ids) {
  for (const auto& id : table.at(name).at("ids")) {
    const auto value = integer_of(id, "an id of the post-processor");
    if (value < 0 || value > INT32_MAX)
      throw FormatError("data.tokenizer", "post-processor has a bad id", "expected 0 to 2^31-1, got " + id.dump());
    ids.push_back(static_cast<std::int32_t>(value));
  }
}

SpecialFrame template_frame(const nlohmann::json& config) {
  SpecialFrame frame;
  int num_texts = 0;
  for (const auto& item : config.at("single")) {
    if (item.contains("Sequence")) {
      ++num_texts;
      continue;
    }
    const auto name = item.at("SpecialToken").at("id").get<std::string>();
    append_special(config.at("special_tokens"), name, num_texts == 0 ? frame.before : frame.after);
  }
  if (num_texts != 1)
    throw FormatError("data.tokenizer", "post-processor template is not understood",
                      "expected the text once, got it " + std::to_string(num_texts) + " times");
  return frame;
}

}  // namespace

SpecialFrame make_special_frame(const nlohmann::json& config) {
  if (config.is_null()) return {};
  const auto type = config.at("type").get<std::string>();
  if (type == "ByteLevel") return {};  // it moves offsets, not ids
  if (type == "TemplateProcessing") return template_frame(config);
  if (type != "Sequence") refuse_component("post-processor", type);
  SpecialFrame frame;
  for (const auto& part : config.at("processors")) {
    SpecialFrame outer = make_special_frame(part);
    frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
    frame.after.insert(frame.after.end(), outer.after.begin(), outer.after.end());
  }
  return frame;
}

}  // namespace sluice::data
