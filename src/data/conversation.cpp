#include "data/conversation.h"

#include <utility>

#include "base/error.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& got = {}) {
  throw FormatError("data", where + " is malformed", "expected " + expected + (got.empty() ? "" : ", got " + got));
}

std::string text_of(const Json& record, const char* key, const std::string& where) {
  const auto found = record.find(key);
  if (found == record.end() || found->is_null()) return "";
  if (!found->is_string()) refuse(where, std::string(key) + " to be a text");
  return found->get<std::string>();
}

// Parts that are all text are one text: most templates print anything else as it is.
void join_parts(Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_array()) return;
  std::string text;
  for (const Json& part : *content) {
    if (!part.is_object() || part.value("type", Json()) != "text" || !part.value("text", Json()).is_string()) return;
    text += part.at("text").get<std::string>();
  }
  message["content"] = text;
}

void check_messages(Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) refuse(where, "messages to be a list that is not empty");
  for (Json& message : messages) {
    if (!message.is_object() || !message.value("role", Json()).is_string())
      refuse(where, "every message to have a role");
    join_parts(message);
  }
}

void put_system_first(const Json& record, Json& messages, const std::string& where) {
  const std::string system = text_of(record, "system", where);
  if (!system.empty() && !(messages.size() > 0 && messages[0].value("role", Json()) == "system"))
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
}

// Tools come as a list, in ShareGPT files often as the text of one.
void take_tools(const Json& record, Json& conversation, const std::string& where) {
  const auto found = record.find("tools");
  if (found == record.end() || found->is_null()) return;
  Json tools = *found;
  if (tools.is_string()) {
    const auto text = tools.get<std::string>();
    if (text.empty()) return;
    tools = Json::parse(text, nullptr, false);
  }
  if (!tools.is_array()) refuse(where, "tools to be a list");
  if (!tools.empty()) conversation["tools"] = std::move(tools);
}

Json sharegpt_messages(const Json& record, const std::string& where) {
  constexpr std::pair<const char*, const char*> kRoles[] = {{"human", "user"},        {"user", "user"},
                                                            {"gpt", "assistant"},     {"assistant", "assistant"},
                                                            {"chatgpt", "assistant"}, {"model", "assistant"},
                                                            {"system", "system"},     {"observation", "tool"},
                                                            {"tool", "tool"},         {"function_call", "assistant"}};
  Json messages = Json::array();
  const Json& turns = record.at("conversations");
  if (!turns.is_array()) refuse(where, "conversations to be a list");
  for (const Json& turn : turns) {
    if (!turn.is_object()) refuse(where, "every turn to be an object");
    const std::string from = text_of(turn, turn.contains("from") ? "from" : "role", where);
    const char* role = nullptr;
    for (const auto& [theirs, ours] : kRoles)
      if (from == theirs) role = ours;
    if (role == nullptr)
      refuse(where, "from to be human, gpt, system, observation, tool or function_call", "'" + from + "'");
    messages.push_back(
        {{"role", role}, {"content", text_of(turn, turn.contains("value") ? "value" : "content", where)}});
  }
  return messages;
}

// As LLaMA-Factory reads it: the input goes below the instruction, earlier pairs are turns of their own.
Json alpaca_messages(const Json& record, const std::string& where) {
  Json messages = Json::array();
  const auto add = [&](const char* role, const std::string& text) {
    messages.push_back({{"role", role}, {"content", text}});
  };
  if (const auto history = record.find("history"); history != record.end() && history->is_array()) {
    for (const Json& pair : *history) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
        refuse(where, "history to be pairs of texts");
      add("user", pair[0].get<std::string>());
      add("assistant", pair[1].get<std::string>());
    }
  }
  const std::string input = text_of(record, "input", where);
  const std::string instruction = text_of(record, "instruction", where);
  add("user", input.empty() ? instruction : instruction.empty() ? input : instruction + "\n" + input);
  add("assistant", text_of(record, "output", where));
  return messages;
}

Example completion_example(const Json& record, const std::string& where) {
  const Json& prompt = record.at("prompt");
  const Json& completion = record.at("completion");
  Example example;
  if (prompt.is_string() && completion.is_string()) {
    example.prompt = prompt.get<std::string>();
    example.completion = completion.get<std::string>();
    return example;
  }
  if (!prompt.is_array() || !completion.is_array())
    refuse(where, "prompt and completion to be both texts or both lists of messages");
  Json messages = prompt;
  for (const Json& message : completion) messages.push_back(message);
  example.conversation = {{"messages", std::move(messages)}};
  return example;
}

}  // namespace

bool has_shape(const Json& record, ExampleKind kind) {
  if (!record.is_object()) return false;
  switch (kind) {
    case ExampleKind::Chat:
      return record.contains("messages");
    case ExampleKind::ShareGpt:
      return record.contains("conversations");
    case ExampleKind::Alpaca:
      return record.contains("instruction") && record.contains("output");
    case ExampleKind::Completion:
      return record.contains("prompt") && record.contains("completion");
  }
  return false;
}

Example read_example(const Json& record, ExampleKind kind, const std::string& where) {
  if (!has_shape(record, kind)) refuse(where, "the same keys as in the first record");
  if (kind == ExampleKind::Completion) {
    Example example = completion_example(record, where);
    if (!example.conversation.is_null()) check_messages(example.conversation["messages"], where);
    return example;
  }
  Json messages;
  if (kind == ExampleKind::Chat) messages = record.at("messages");
  if (kind == ExampleKind::ShareGpt) messages = sharegpt_messages(record, where);
  if (kind == ExampleKind::Alpaca) messages = alpaca_messages(record, where);
  check_messages(messages, where);
  put_system_first(record, messages, where);
  Example example;
  example.conversation = {{"messages", std::move(messages)}};
  take_tools(record, example.conversation, where);
  return example;
}

}  // namespace sluice::data
