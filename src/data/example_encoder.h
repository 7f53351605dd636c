// One example as ids with the positions that are targets: what the assistant says and the mark that ends its turn.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/conversation.h"
#include "data/tokenizer.h"

namespace sluice::data {

struct EncodedExample {
  std::vector<std::int32_t> ids;
  std::vector<bool> targets;  ///< as long as ids
};

/// Borrows both. `chat_template` may be nullptr as long as no conversation comes.
///
/// The ids are those of the whole rendered text. Targets are the tokens in `{% generation %}` blocks; a template
/// without them is rendered up to each assistant turn and behind it, and the turn is what the second adds to the first.
/// When the parts are not beginnings of the whole (templates that rewrite earlier turns) encoding throws a FormatError.
/// The targets of a completion are its own tokens and the end token.
class ExampleEncoder {
 public:
  ExampleEncoder(const Tokenizer& tokenizer, const ChatTemplate* chat_template)
      : tokenizer_(tokenizer), chat_template_(chat_template) {}

  /// `where` names the example in messages. Throws FormatError, and ConfigError for a conversation without a template.
  [[nodiscard]] EncodedExample encode(const Example& example, const std::string& where) const;

 private:
  [[nodiscard]] EncodedExample encode_chat(const nlohmann::ordered_json& conversation, const std::string& where) const;
  [[nodiscard]] EncodedExample encode_completion(const Example& example) const;
  void mark_generated(EncodedExample& encoded, const jinja::Rendered& whole) const;
  void mark_turns(EncodedExample& encoded, const std::string& whole, const nlohmann::ordered_json& conversation,
                  const std::string& where) const;
  [[nodiscard]] std::vector<std::int32_t> ids_of(std::string_view text) const;
  [[nodiscard]] bool is_blank(std::int32_t id) const;

  const Tokenizer& tokenizer_;
  const ChatTemplate* chat_template_;
};

}  // namespace sluice::data
