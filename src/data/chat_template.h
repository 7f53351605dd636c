// The template by which a model's conversations become text, as its files hold it, with the special tokens that
// templates name.
#pragma once
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "jinja/template.h"

namespace sluice::data {

/// What training data is rendered with: today would give other rows tomorrow. 26 July 2024, which Llama 3's templates
/// name themselves when they have no clock.
inline constexpr std::time_t kDataTime = 1721995200;

/// Immutable.
class ChatTemplate {
 public:
  /// `source`: the Jinja text; `origin` names it in messages; `special_tokens`: an object such as {"bos_token": "<s>"}.
  /// Throws FormatError "[data.chat_template] ORIGIN line N: ...".
  ChatTemplate(const std::string& source, const std::string& origin, nlohmann::ordered_json special_tokens);

  /// The conversation as text; `conversation` has "messages" and perhaps "tools". With `generation_prompt` it ends
  /// where the assistant's answer begins. Throws FormatError, also when the template refuses the conversation.
  [[nodiscard]] jinja::Rendered render(const nlohmann::ordered_json& conversation, bool generation_prompt,
                                       std::time_t now = kDataTime) const;
  /// Whether `render` marks what the assistant says.
  [[nodiscard]] bool marks_generation() const { return template_.marks_generation(); }
  /// Equal only for templates that render alike (16 hexadecimal digits).
  [[nodiscard]] const std::string& fingerprint() const { return fingerprint_; }

 private:
  jinja::Template template_;
  nlohmann::ordered_json special_tokens_;
  std::string fingerprint_;
};

/// The chat template of a model folder (chat_template.jinja, tokenizer_config.json, chat_template.json, as transformers
/// looks for it) or of a FILE.gguf; `file`, if not empty, is a Jinja file that takes its place. nullptr: there is none.
/// Throws FormatError for malformed files.
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& model,
                                                 const std::filesystem::path& file = {});

/// Where the chat template of a run is. It is read when the first conversation asks for it: a run on plain text does
/// not care whether it can be read. One thread at a time.
class ChatTemplatePlace {
 public:
  explicit ChatTemplatePlace(std::filesystem::path model, std::filesystem::path file = {})
      : model_(std::move(model)), file_(std::move(file)) {}
  /// What `load_chat_template` gives; owned by this object.
  [[nodiscard]] const ChatTemplate* open() const;

 private:
  std::filesystem::path model_, file_;
  mutable std::unique_ptr<ChatTemplate> opened_;
};

}  // namespace sluice::data
