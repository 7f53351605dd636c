// Training on what people have: text by characters, conversations, several files; held-out parts; the same rows after a
// resume.
#include <fstream>

#include "base/file.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

class DataProgram : public TrainingProgram {
 protected:
  void SetUp() override {
    TrainingProgram::SetUp();
    std::string text, chats;
    for (int i = 0; i < 300; ++i) {
      const std::string n = std::to_string(mix(1, static_cast<std::uint64_t>(i)) % 1000);
      text += "line " + n + " of the text\n";
      chats +=
          Json{{"messages", {{{"role", "user"}, {"content", "say " + n}}, {{"role", "assistant"}, {"content", n}}}}}
              .dump() +
          "\n";
    }
    (void)scratch_.write("text.txt", text);
    (void)scratch_.write("chats.jsonl", chats);
    (void)scratch_.write("chat.jinja",
                         "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
                         "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}");
  }

  cli::ProgramResult train_on(const std::string& data, const std::string& output, const std::string& more) {
    return run("train --model " + path("model") + " --init random --data " + data + " --output " + path(output) +
                   " --seq-len 32 --micro-batch-size 2 --max-steps 6 --lr 1e-3 --threads 2 --seed 3 " + more,
               "XDG_CACHE_HOME=" + path("cache"));
  }
};

TEST_F(DataProgram, CharacterModelsTakeTheirVocabularyFromTheTextAndKeepIt) {
  const auto result = train_on(path("text.txt"), "chars", "--tokenizer char --validation-split 0.2 --eval-steps 3");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json config = Json::parse(read_text(path("chars/config.json")));
  EXPECT_EQ(config.at("vocab_size"), 21);  // ten digits, the letters of "line of the text", blank, line break
  EXPECT_TRUE(config.at("eos_token_id").is_null());
  EXPECT_EQ(config.at("a_key_of_the_user"), "kept");
  EXPECT_EQ(events("chars", "eval").size(), 3U);
  const auto sample = run("sample --model " + path("chars") + " --prompt 'line 1' --max-new-tokens 5 --seed 1");
  EXPECT_EQ(sample.exit_code, 0) << sample.err;
  const auto unknown = run("sample --model " + path("chars") + " --prompt 'Q' --max-new-tokens 5");
  expect_failure(unknown, 4, "U+0051");
}

TEST_F(DataProgram, ChatsAndWeightedFilesResumeToTheSameBits) {
  const std::string data = path("chats.jsonl") + ":0.7," + path("text.txt") + ":0.3";
  const std::string how = "--tokenizer byte --chat-template " + path("chat.jinja") + " --validation-split 0.1 ";
  ASSERT_EQ(train_on(data, "whole", how).exit_code, 0);
  for (int step = 1; step <= 3; ++step) {
    const auto result = train_on(data, "parts", how + "--max-time 0.000001");
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  const auto result = train_on(data, "parts", how);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(weights_of("parts") == weights_of("whole"));
  EXPECT_EQ(steps("parts"), steps("whole"));
  EXPECT_EQ(read_text(path("whole/chat_template.jinja")), read_text(path("chat.jinja")));
  const auto sample = run("sample --model " + path("whole") + " --chat --prompt 'say 5' --max-new-tokens 5 --seed 1");
  EXPECT_EQ(sample.exit_code, 0) << sample.err;
}

TEST_F(DataProgram, ChatsWithoutATemplateAreRefusedWithAWayOut) {
  expect_failure(train_on(path("chats.jsonl"), "out", "--tokenizer byte"), 2, "--chat-template");
}

}  // namespace
}  // namespace sluice::train
