// Conversations as ids and targets: parity with transformers (tests/data/data/chat/make_golden.py), every shape of
// record, and what happens to examples that do not fit.
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "data/chat_template.h"
#include "data/dataset.h"
#include "data/example_encoder.h"
#include "data/loader.h"
#include "data_test_files.h"

namespace sluice::data {
namespace {

using Json = nlohmann::ordered_json;

std::unique_ptr<ChatTemplate> chat_template(const std::string& name) {
  return load_chat_template({}, test_file("chat/" + name + ".jinja"));
}

std::unique_ptr<ChatTemplatePlace> place(const std::string& name) {
  return std::make_unique<ChatTemplatePlace>("", test_file("chat/" + name + ".jinja"));
}

template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// The text of the targets, turn by turn.
std::string targets_of(const Tokenizer& tokenizer, const EncodedExample& example) {
  std::string text;
  for (std::size_t begin = 0, end = 0; begin < example.ids.size(); begin = end) {
    while (end < example.ids.size() && example.targets[end] == example.targets[begin]) ++end;
    if (example.targets[begin])
      text += '[' + tokenizer.decode(std::span(example.ids).subspan(begin, end - begin)) + ']';
  }
  return text;
}

TEST(ExampleEncoder, GivesTheIdsAndMasksOfTransformers) {
  std::ifstream in(test_file("chat/chat.golden.jsonl"));
  int num_rows = 0;
  for (std::string line; std::getline(in, line); ++num_rows) {
    const Json row = Json::parse(line);
    const auto tokenizer = load_tokenizer(test_file(row.at("tokenizer").get<std::string>() + ".json"));
    const auto chat = chat_template(row.at("template").get<std::string>());
    const EncodedExample encoded =
        ExampleEncoder(*tokenizer, chat.get()).encode({{{"messages", row.at("messages")}}, {}, {}}, "record 1");
    EXPECT_EQ(encoded.ids, row.at("ids").get<std::vector<std::int32_t>>()) << line;
    if (!row.contains("mask")) continue;
    const auto mask = row.at("mask").get<std::vector<int>>();
    EXPECT_EQ(std::vector<int>(encoded.targets.begin(), encoded.targets.end()), mask) << line;
  }
  EXPECT_EQ(num_rows, 40);
}

class Encoding : public testing::Test {
 protected:
  std::string targets(const std::string& template_text, const Json& messages) const {
    const ChatTemplate chat(template_text, "t.jinja", {{"eos_token", "<|end|>"}});
    return targets_of(*tokenizer_,
                      ExampleEncoder(*tokenizer_, &chat).encode({{{"messages", messages}}, {}, {}}, "record 7"));
  }

  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(test_file("gpt2.json"));
  Json chat_ = {{{"role", "user"}, {"content", "one"}},
                {{"role", "assistant"}, {"content", "two"}},
                {{"role", "user"}, {"content", "three"}},
                {{"role", "assistant"}, {"content", " four "}}};
};

TEST_F(Encoding, TargetsAreTheAssistantsWordsAndTheMarkOfTheirEnd) {
  const std::string plain = read_text(test_file("chat/plain.jinja"));
  EXPECT_EQ(targets(plain, chat_), "[two<|end|>][ four <|end|>]");
}

TEST_F(Encoding, WorksWithoutMarksAndWithAnEndOfText) {
  const char* bare =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% "
      "endif %}";
  EXPECT_EQ(targets(bare, chat_), "[ two\n][  four \n]");
  // Phi-3's: what ends the text stands only behind the last turn.
  const char* ending =
      "{% for m in messages %}{{ '<|start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|end|>\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% else %}THE END{% endif %}";
  EXPECT_EQ(targets(ending, chat_), "[two<|end|>][ four <|end|>\nTHE END]");
}

TEST_F(Encoding, RefusesTemplatesThatRewriteEarlierTurns) {
  const char* rewriting =
      "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last or m.role == 'user' else '...' }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}";
  const std::string message = error_of([&] { (void)targets(rewriting, chat_); });
  EXPECT_NE(message.find("record 7: the template does not keep message 2"), std::string::npos) << message;
  EXPECT_NE(message.find("--chat-template"), std::string::npos) << message;
}

TEST_F(Encoding, RefusesTemplatesThatLeaveTurnsOut) {
  const char* forgetful =
      "{% for m in messages[-2:] %}{{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}answer: {% endif %}";
  EXPECT_NE(error_of([&] { (void)targets(forgetful, chat_); }).find("message 2"), std::string::npos);
  const char* silent = "{% for m in messages if m.role == 'user' %}{{ m.content }}\n{% endfor %}";
  EXPECT_EQ(targets(silent, chat_), "");
}

TEST_F(Encoding, NamesTheRecordThatATemplateRefuses) {
  const std::string message =
      error_of([&] { (void)targets("\n{{ raise_exception('roles must alternate') }}", chat_); });
  EXPECT_NE(message.find("record 7"), std::string::npos) << message;
  EXPECT_NE(message.find("line 2"), std::string::npos) << message;
  EXPECT_NE(message.find("roles must alternate"), std::string::npos) << message;
}

class Examples : public testing::Test {
 protected:
  std::unique_ptr<Dataset> open(const std::string& name, std::string_view text, std::int64_t seq_len = 64) {
    write_text(folder_ / name, text);
    return open_dataset({.path = folder_ / name,
                         .seq_len = seq_len,
                         .tokenizer = tokenizer_.get(),
                         .chat_template = chat_.get(),
                         .cache_dir = folder_ / "cache"});
  }

  // Text and targets of one row, without padding.
  std::pair<std::string, std::string> row(const Dataset& dataset, std::int64_t index) const {
    const auto width = static_cast<std::size_t>(dataset.seq_len());
    std::vector<std::int64_t> ids(width), labels(width);
    dataset.read_row(index, ids, labels);
    EncodedExample example;
    for (std::size_t i = 0; i < width; ++i) {
      example.ids.push_back(static_cast<std::int32_t>(ids[i]));
      example.targets.push_back(labels[i] != kIgnoreLabel);
      EXPECT_TRUE(labels[i] == kIgnoreLabel || labels[i] == ids[i]) << i;
    }
    return {tokenizer_->decode(example.ids), targets_of(*tokenizer_, example)};
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(test_file("gpt2.json"));
  std::unique_ptr<ChatTemplatePlace> chat_ = place("plain");
};

TEST_F(Examples, EveryShapeIsRecognisedAndMeansTheSame) {
  const char* chat =
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}]})";
  const auto expected = row(*open("chat.jsonl", chat), 0);
  EXPECT_EQ(expected.second, "[c<|end|>]");
  EXPECT_TRUE(expected.first.starts_with("<|start|>system\nS<|end|>\n<|start|>user\na\nb<|end|>\n")) << expected.first;
  const char* sharegpt =
      R"({"system": "S", "conversations": [{"from": "human", "value": "a\nb"}, {"from": "gpt", "value": "c"}]})";
  EXPECT_EQ(row(*open("sharegpt.jsonl", sharegpt), 0), expected);
  const std::string alpaca = R"({"system": "S", "instruction": "a", "input": "b", "output": "c"})";
  EXPECT_EQ(row(*open("alpaca.jsonl", alpaca), 0), expected);
  EXPECT_EQ(row(*open("alpaca.json", "[" + alpaca + ",\n " + alpaca + "\n]\n"), 1), expected);
  const char* parts =
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "a\nb"}]}, {"role": "assistant", "content": "c"}]})";
  EXPECT_EQ(row(*open("parts.jsonl", parts), 0), expected);
  const char* completion =
      R"({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "a\nb"}], "completion": [{"role": "assistant", "content": "c"}]})";
  EXPECT_EQ(row(*open("completion.jsonl", completion), 0), expected);
}

TEST_F(Examples, CompletionsOfTextNeedNoTemplate) {
  chat_ = nullptr;
  const auto dataset = open("c.jsonl", R"({"prompt": "The sky is", "completion": " blue."})");
  EXPECT_EQ(row(*dataset, 0).second, "[ blue.]");
  const std::string message = error_of([&] { open("m.jsonl", R"({"messages": [{"role": "user", "content": "x"}]})"); });
  EXPECT_NE(message.find("--chat-template"), std::string::npos) << message;
}

TEST_F(Examples, RowsAreAsLongAsTheLongestExampleNeeds) {
  std::string text;
  for (int i = 0; i < 5; ++i)
    text += Json{{"messages",
                  {{{"role", "user"}, {"content", "q"}},
                   {{"role", "assistant"}, {"content", std::string(static_cast<std::size_t>(40 * i), '7')}}}}}
                .dump() +
            "\n";
  EXPECT_EQ(open("a.jsonl", text, 4096)->seq_len() % 64, 0);
  EXPECT_LT(open("a.jsonl", text, 4096)->seq_len(), 320);
  const auto cut = open("a.jsonl", text, 50);
  EXPECT_EQ(cut->seq_len(), 50);
  EXPECT_EQ(cut->num_rows(), 5);
  EXPECT_TRUE(cut->rows_stand_alone());
}

TEST_F(Examples, ExamplesWithoutATargetAreLeftOut) {
  const std::string question = R"({"messages": [{"role": "user", "content": "q"}]})";
  const std::string answered =
      R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  EXPECT_EQ(open("a.jsonl", question + "\n" + answered + "\n")->num_rows(), 1);
  EXPECT_NE(error_of([&] { open("b.jsonl", question); }).find("nothing to learn"), std::string::npos);
}

TEST_F(Examples, CacheIsUsedAgainAndMadeAgainWhenHalfOfItIsGone) {
  const std::string text = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  const auto first = row(*open("a.jsonl", text), 0);
  EXPECT_EQ(row(*open("a.jsonl", text), 0), first);
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "cache"))
    if (entry.path().extension() == ".starts") std::filesystem::remove(entry.path());
  EXPECT_EQ(row(*open("a.jsonl", text), 0), first);
}

TEST_F(Examples, AnotherTemplateGivesOtherRows) {
  const std::string text = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  const auto first = row(*open("a.jsonl", text), 0);
  chat_ = place("marked");
  EXPECT_NE(row(*open("a.jsonl", text), 0).first, first.first);
}

TEST_F(Examples, SameRowsAfterResuming) {
  std::string text;
  for (int i = 0; i < 23; ++i)
    text += Json{{"instruction", "say " + std::to_string(i)}, {"output", std::to_string(i)}}.dump() + "\n";
  const auto dataset = open("a.jsonl", text);
  Loader walked(*dataset, {.micro_batch_size = 4, .seed = 3});
  for (std::int64_t k = 0; k < 15; ++k) {
    Loader resumed(*dataset, {.micro_batch_size = 4, .seed = 3});
    resumed.seek(k);
    const Batch expected = walked.next(), got = resumed.next();
    EXPECT_EQ(got.input_ids, expected.input_ids);
    EXPECT_EQ(got.labels, expected.labels);
  }
}

TEST_F(Examples, SaysWhichRecordIsWrong) {
  const std::string good = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  const auto message = [&](const std::string& bad) {
    return error_of([&] { open("bad.jsonl", good + "\n\n" + bad + "\n"); });
  };
  for (const char* bad :
       {"{", "[]", "{\"messages\": []}", "{\"messages\": [{\"content\": \"x\"}]}", "{\"text\": \"x\"}"})
    EXPECT_NE(message(bad).find("record 3 of"), std::string::npos) << message(bad);
  EXPECT_NE(error_of([&] { open("o.json", "[" + good + ","); }).find("closed array"), std::string::npos);
  const auto role = error_of([&] { open("s.jsonl", R"({"conversations": [{"from": "robot", "value": "x"}]})"); });
  EXPECT_NE(role.find("'robot'"), std::string::npos) << role;
}

TEST(ChatTemplate, IsFoundWhereTransformersLooks) {
  const TemporaryFolder folder;
  EXPECT_EQ(load_chat_template(folder.path()), nullptr);
  const auto text = [&] {
    return load_chat_template(folder.path())->render({{"messages", Json::array()}}, false).text;
  };
  write_text(folder / "chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(text(), "json");
  write_text(
      folder / "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>"}, "chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "list{{ bos_token }}"}]})");
  EXPECT_EQ(text(), "list<s>");
  write_text(folder / "chat_template.jinja", "file{{ bos_token }}\n");
  EXPECT_EQ(text(), "file<s>");
  write_text(folder / "own.jinja", "own{{ bos_token }}");
  EXPECT_EQ(load_chat_template(folder.path(), folder / "own.jinja")->render({{"messages", Json::array()}}, false).text,
            "own<s>");
}

}  // namespace
}  // namespace sluice::data
