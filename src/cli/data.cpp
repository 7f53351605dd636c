// data: pre-tokenise, look at samples, text to ids and back, published tasks to items.
#include <array>
#include <cerrno>
#include <fstream>
#include <iostream>

#include "base/error.h"
#include "cli/verb.h"
#include "data/chat_template.h"
#include "data/dataset.h"
#include "data/jsonl.h"
#include "data/task_catalog.h"
#include "data/tokenizer.h"
#include "recipe/parse_value.h"

namespace sluice::cli {
namespace {

std::int64_t count_of(const Arguments& arguments, const char* flag, std::int64_t absent, recipe::IntegerRange range) {
  const auto text = arguments.value(flag);
  return text ? recipe::parse_integer(*text, flag, range) : absent;
}

std::unique_ptr<data::Tokenizer> tokenizer_of(const Arguments& arguments) {
  const auto name = arguments.value("tokenizer");
  if (!name) {
    throw ConfigError("cli.data", "this needs a tokenizer", "expected --tokenizer DIR|FILE, got none",
                      "give a model folder, a tokenizer.json, a FILE.gguf or `byte`");
  }
  return data::load_tokenizer(*name);
}

std::string path_of(const Arguments& arguments) {
  if (arguments.positionals.size() > 1) return arguments.positionals[1];
  const auto path = arguments.value("data");
  if (!path) throw ConfigError("cli.data", "this needs data", "expected a PATH, got none");
  return *path;
}

std::unique_ptr<data::Dataset> open(const Arguments& arguments, const data::Tokenizer* tokenizer) {
  const data::ChatTemplatePlace chat_template(arguments.value("tokenizer").value_or(""),
                                              arguments.value("chat-template").value_or(""));
  return data::open_dataset({.path = path_of(arguments),
                             .format = arguments.value("data-format").value_or("auto"),
                             .seq_len = count_of(arguments, "seq-len", 512, {2, std::int64_t{1} << 24}),
                             .tokenizer = tokenizer,
                             .chat_template = &chat_template});
}

/// Calls `work` with the input (a PATH, else standard input) and the output (--output, else standard output).
template <typename Work>
void with_streams(const Arguments& arguments, const Work& work) {
  std::ifstream in_file;
  std::ofstream out_file;
  if (arguments.positionals.size() > 1 && arguments.positionals[1] != "-") {
    in_file.open(arguments.positionals[1], std::ios::binary);
    if (!in_file) throw_errno("cli.data", "open", arguments.positionals[1], errno);
  }
  const std::string output = arguments.value("output").value_or("-");
  if (output != "-") {
    out_file.open(output, std::ios::binary | std::ios::trunc);
    if (!out_file) throw_errno("cli.data", "open", output, errno);
  }
  std::ostream& out = out_file.is_open() ? out_file : std::cout;
  work(in_file.is_open() ? in_file : std::cin, out);
  out.flush();
  if (!out) throw IoError("cli.data", "writing the output failed", output);
}

int encode(const Arguments& arguments) {
  const auto tokenizer = tokenizer_of(arguments);
  with_streams(arguments, [&](std::istream& in, std::ostream& out) {
    data::encode_lines(*tokenizer, in, out,
                       {.add_special = !arguments.has("no-special"), .plain = arguments.has("plain")});
  });
  return 0;
}

int decode(const Arguments& arguments) {
  const auto tokenizer = tokenizer_of(arguments);
  with_streams(arguments, [&](std::istream& in, std::ostream& out) {
    data::decode_lines(*tokenizer, in, out, arguments.has("skip-special"));
  });
  return 0;
}

int tokenize(const Arguments& arguments) {
  const auto output = arguments.value("output");
  if (!output)
    throw ConfigError("cli.data", "tokenize needs a place to write", "expected --output FILE.safetensors, got none");
  const auto tokenizer = tokenizer_of(arguments);
  data::write_tokenized(*open(arguments, tokenizer.get()), *output, std::cerr);
  return 0;
}

int inspect(const Arguments& arguments) {
  std::unique_ptr<data::Tokenizer> tokenizer;
  if (arguments.value("tokenizer")) tokenizer = tokenizer_of(arguments);
  constexpr recipe::IntegerRange kRows = {0, std::int64_t{1} << 50};
  data::inspect_rows(
      *open(arguments, tokenizer.get()), tokenizer.get(), std::cout,
      {.first_row = count_of(arguments, "first", 0, kRows), .num_rows = count_of(arguments, "rows", 2, kRows)});
  return 0;
}

int convert(const Arguments& arguments) {
  const auto task = arguments.value("task");
  const auto output = arguments.value("output");
  if (!task)
    throw ConfigError("cli.data", "convert needs a task", "expected --task NAME, got none", "see `sluice list tasks`");
  if (!output) throw ConfigError("cli.data", "convert needs a place to write", "expected --output FILE, got none");
  const std::int64_t items = data::convert_task(*task, path_of(arguments), *output);
  std::cerr << *output << ": " << items << " items of " << *task << "\n";
  return 0;
}

using Action = CatalogRow<int (*)(const Arguments&)>;
constexpr std::array<Action, 5> kActions = {{
    {"tokenize", "write text as pre-tokenised safetensors", tokenize},
    {"inspect", "show samples with what is no target marked", inspect},
    {"encode", "lines {\"text\": ...} to lines {\"ids\": [...]}", encode},
    {"decode", "lines {\"ids\": [...]} to lines {\"text\": ...}", decode},
    {"convert", "the original file of a published task to items for `sluice eval --tasks`", convert},
}};

}  // namespace

std::vector<FlagSpec> data_flags() {
  return {
      {.name = "tokenizer",
       .aliases = {"model", "tokenizer_name"},
       .argument = "DIR|FILE|NAME",
       .help = "model folder, tokenizer.json, FILE.gguf or a name of `sluice list tokenizers`"},
      {.name = "chat-template",
       .argument = "FILE",
       .help = "Jinja template of conversations",
       .default_text = "the model's"},
      {.name = "data", .argument = "PATH", .help = "the same as PATH"},
      {.name = "output",
       .argument = "FILE",
       .help = "tokenize: the safetensors file; convert: the items; encode, decode: instead of standard output"},
      {.name = "task", .argument = "NAME", .help = "convert: a name of `sluice list tasks`"},
      {.name = "seq-len",
       .aliases = {"cutoff_len", "max_seq_length", "sequence_len"},
       .argument = "N",
       .help = "tokens per row",
       .default_text = "512"},
      {.name = "data-format", .argument = "NAME", .help = "overrides what the content says", .default_text = "auto"},
      {.name = "no-special", .help = "encode: without the tokenizer's BOS and EOS around the text"},
      {.name = "plain", .help = "encode: special tokens in the text are ordinary text"},
      {.name = "skip-special", .help = "decode: leave special tokens out"},
      {.name = "rows", .argument = "N", .help = "inspect: samples to show", .default_text = "2"},
      {.name = "first", .argument = "N", .help = "inspect: first sample", .default_text = "0"},
  };
}

std::vector<PositionalSpec> data_positionals() {
  return {{"ACTION", "tokenize, inspect, encode, decode or convert"},
          {"PATH", "the data; encode and decode read standard input without it", false}};
}

int run_data(const Arguments& arguments) {
  return find_row(std::span<const Action>(kActions), "action", arguments.positionals.at(0)).make(arguments);
}

}  // namespace sluice::cli
