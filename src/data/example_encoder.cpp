#include "data/example_encoder.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view kSpace = " \t\r\n";

// How many elements two sequences have in common at the beginning.
template <typename Sequence>
std::size_t common(const Sequence& a, const Sequence& b) {
  const std::size_t size = std::min(a.size(), b.size());
  return static_cast<std::size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(size), b.begin()).first - a.begin());
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

Json first_messages(const Json& conversation, std::size_t count) {
  Json part = conversation;
  auto& messages = part["messages"].get_ref<Json::array_t&>();
  messages.resize(count);
  return part;
}

[[noreturn]] void refuse_rewriting(const std::string& where, std::size_t turn) {
  throw FormatError("data.chat_template", where + ": the template does not keep message " + std::to_string(turn + 1),
                    "expected the conversation up to it to be the beginning of the whole text",
                    "keep one assistant turn per line, or give a template with {% generation %} by --chat-template");
}

}  // namespace

EncodedExample ExampleEncoder::encode(const Example& example, const std::string& where) const {
  if (example.conversation.is_null()) return encode_completion(example);
  if (chat_template_ == nullptr)
    throw ConfigError("data", "conversations need a chat template", "the model has none",
                      "give one with --chat-template FILE");
  try {
    return encode_chat(example.conversation, where);
  } catch (const FormatError& error) {
    if (std::string_view(error.what()).find(where) != std::string_view::npos) throw;
    throw FormatError("data.chat_template", where + " cannot be rendered", error.what());
  }
}

EncodedExample ExampleEncoder::encode_chat(const Json& conversation, const std::string& where) const {
  const jinja::Rendered whole = chat_template_->render(conversation, false);
  EncodedExample encoded;
  encoded.ids = ids_of(whole.text);
  encoded.targets.resize(encoded.ids.size());
  if (chat_template_->marks_generation()) {
    mark_generated(encoded, whole);
  } else {
    mark_turns(encoded, whole.text, conversation, where);
  }
  return encoded;
}

// A token over the edge of a block belongs to it.
void ExampleEncoder::mark_generated(EncodedExample& encoded, const jinja::Rendered& whole) const {
  const std::string_view text = whole.text;
  for (const jinja::Span& span : whole.generated) {
    if (span.begin == span.end) continue;
    const std::size_t begin = common(encoded.ids, ids_of(text.substr(0, span.begin)));
    const std::vector<std::int32_t> through = ids_of(text.substr(0, span.end));
    std::size_t end = common(encoded.ids, through);
    if (end < through.size()) end = std::min(end + 1, encoded.ids.size());
    for (std::size_t i = begin; i < end; ++i) encoded.targets[i] = true;
  }
}

void ExampleEncoder::mark_turns(EncodedExample& encoded, const std::string& whole, const Json& conversation,
                                const std::string& where) const {
  const Json& messages = conversation.at("messages");
  for (std::size_t turn = 0; turn < messages.size(); ++turn) {
    if (messages[turn].at("role") != "assistant") continue;
    const std::string before = chat_template_->render(first_messages(conversation, turn), true).text;
    if (!whole.starts_with(before)) refuse_rewriting(where, turn);
    const bool last = turn + 1 == messages.size();
    const std::string through =
        last ? whole : chat_template_->render(first_messages(conversation, turn + 1), false).text;
    if (!through.starts_with(before)) refuse_rewriting(where, turn);
    // What a template puts behind the last turn (an end of the text) is not there in the middle.
    const std::size_t kept = common(through, whole);
    const Json content = messages[turn].value("content", Json());
    const std::string said(content.is_string() ? trimmed(content.get_ref<const std::string&>()) : std::string_view());
    const std::size_t at = said.empty() ? std::string::npos : through.find(said, before.size());
    const std::size_t said_end = at == std::string::npos ? before.size() : at + said.size();
    if (kept < through.size() && (at == std::string::npos || said_end > kept)) refuse_rewriting(where, turn);
    const std::size_t begin = common(encoded.ids, ids_of(before));
    std::size_t end = last ? encoded.ids.size() : common(encoded.ids, ids_of(through));
    // Behind the mark of the turn's end stands a line break that nobody generates.
    const bool has_mark = !trimmed(std::string_view(through).substr(said_end, kept - said_end)).empty();
    while (has_mark && end > begin && is_blank(encoded.ids[end - 1])) --end;
    for (std::size_t i = begin; i < end; ++i) encoded.targets[i] = true;
  }
}

EncodedExample ExampleEncoder::encode_completion(const Example& example) const {
  const SpecialFrame frame = tokenizer_.special_frame();
  const auto prompt = ids_of(example.prompt);
  const auto whole = ids_of(example.prompt + example.completion);
  EncodedExample encoded;
  encoded.ids = frame.before;
  encoded.ids.insert(encoded.ids.end(), whole.begin(), whole.end());
  encoded.ids.insert(encoded.ids.end(), frame.after.begin(), frame.after.end());
  const auto eos = tokenizer_.eos_id();
  if (eos && (encoded.ids.empty() || encoded.ids.back() != *eos)) encoded.ids.push_back(*eos);
  encoded.targets.resize(encoded.ids.size());
  const std::size_t first = frame.before.size() + common(whole, prompt);
  for (std::size_t i = first; i < encoded.targets.size(); ++i) encoded.targets[i] = true;
  return encoded;
}

std::vector<std::int32_t> ExampleEncoder::ids_of(std::string_view text) const {
  return tokenizer_.encode(text, {.add_special = false});
}

bool ExampleEncoder::is_blank(std::int32_t id) const {
  const std::string text = tokenizer_.decode({&id, 1});
  return !text.empty() && trimmed(text).empty();
}

}  // namespace sluice::data
