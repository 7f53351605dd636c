// The shapes in which people keep examples (chats, ShareGPT, alpaca, completions), turned into one.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace sluice::data {

enum class ExampleKind { Chat, ShareGpt, Alpaca, Completion };

/// What to learn from one record: a conversation for the chat template, or a text that goes on.
struct Example {
  nlohmann::ordered_json conversation;  ///< {"messages": [...], "tools": [...]}; null for a completion of plain text
  std::string prompt, completion;
};

/// Whether a record has the keys of `kind`.
bool has_shape(const nlohmann::ordered_json& record, ExampleKind kind);

/// Throws FormatError saying what is missing or of the wrong type; `where` names the record.
Example read_example(const nlohmann::ordered_json& record, ExampleKind kind, const std::string& where);

}  // namespace sluice::data
