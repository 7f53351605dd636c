#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/nearest.h"
#include "recipe/option_table.h"
#include "recipe/parse_value.h"

namespace sluice::cli {
namespace {

using recipe::fold_name;

/// The flags of one verb by every spelling.
class FlagTable {
 public:
  explicit FlagTable(const std::vector<FlagSpec>& specs) : specs_(specs) {}

  [[nodiscard]] const FlagSpec* find(const std::string& name) const {
    const std::string folded = fold_name(name);
    for (const FlagSpec& spec : specs_) {
      if (fold_name(spec.name) == folded) return &spec;
      for (const std::string& alias : spec.aliases) {
        if (fold_name(alias) == folded) return &spec;
      }
    }
    return nullptr;
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const FlagSpec& spec : specs_) {
      if (spec.hidden) continue;
      names.push_back(spec.name);
      for (const std::string& alias : spec.aliases) names.push_back(fold_name(alias));
    }
    return names;
  }

 private:
  const std::vector<FlagSpec>& specs_;
};

/// Brings every flag to its own name and ties its value to it: `--max_steps -5` becomes `--max-steps=-5`,
/// `--no-shuffle` becomes `--shuffle=false`. What is then unknown to the library is no flag of ours.
class Normaliser {
 public:
  Normaliser(const std::vector<std::string>& words, const FlagTable& table) : words_(words), table_(table) {}

  std::vector<std::string> run() {
    while (next_ < words_.size()) {
      const std::string& word = words_[next_++];
      if (word == "--") {
        only_positionals_ = true;
        result_.push_back(word);
      } else if (only_positionals_ || word.size() < 2 || word[0] != '-' || word == "-h" || word == "--help") {
        result_.push_back(word);
      } else if (word[1] != '-') {
        recipe::throw_unknown_option("flag", word.substr(1), table_.names());
      } else {
        add_flag(word.substr(2));
      }
    }
    return std::move(result_);
  }

 private:
  void add_flag(const std::string& flag) {
    const std::size_t equals = flag.find('=');
    const std::string name = flag.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = flag.substr(equals + 1);
    const FlagSpec* spec = table_.find(name);
    const bool negated = spec == nullptr && fold_name(name).starts_with("no-") && !value;
    if (negated) spec = table_.find(name.substr(3));
    if (spec == nullptr || (negated && !spec->argument.empty())) {
      recipe::throw_unknown_option("flag", name, table_.names());
    }
    if (spec->argument.empty()) {
      const bool on = !negated && (!value || recipe::parse_switch(*value, spec->name));
      push(*spec, on ? "true" : "false");
    } else if (value || next_ < words_.size()) {
      push(*spec, value ? *value : words_[next_++]);
    } else {
      throw ConfigError("cli", "--" + spec->name + " needs a value", "expected " + spec->argument + ", got nothing");
    }
  }

  void push(const FlagSpec& spec, const std::string& value) {
    if (value.empty()) {  // the library takes "--name=" for a flag without a value
      result_.push_back("--" + spec.name);
      result_.emplace_back();
    } else {
      result_.push_back("--" + spec.name + "=" + value);
    }
  }

  const std::vector<std::string>& words_;
  const FlagTable& table_;
  std::size_t next_ = 0;
  bool only_positionals_ = false;
  std::vector<std::string> result_;
};

std::string help_text(const FlagSpec& spec) {
  return spec.help + (spec.default_text.empty() ? std::string() : " [" + spec.default_text + "]");
}

void set_style(CLI::App& app) {
  app.get_formatter()->column_width(38);
  app.get_formatter()->label("OPTIONS", "options");
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.get_formatter()->label("Subcommands", "Verbs");
}

/// Library options and positionals of one verb, in the order of its specs.
struct VerbOptions {
  std::vector<FlagSpec> specs;
  std::vector<CLI::Option*> flags;
  std::vector<CLI::Option*> positionals;
};

VerbOptions add_options(CLI::App& app, const Verb& verb) {
  VerbOptions options;
  options.specs = verb.flags();
  for (const FlagSpec& spec : options.specs) {
    CLI::Option* option = app.add_option("--" + spec.name, CLI::callback_t{}, help_text(spec));
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    option->group(spec.hidden ? "" : spec.group);
    option->option_text(spec.argument.empty() ? " " : spec.argument);
    options.flags.push_back(option);
  }
  for (const PositionalSpec& spec : verb.positionals()) {
    CLI::Option* option = app.add_option(spec.name, CLI::callback_t{}, spec.help);
    option->required(spec.required);
    option->option_text(" ");
    options.positionals.push_back(option);
  }
  return options;
}

CommandLine parse_verb(const VerbRow& row, const std::vector<std::string>& words) {
  CLI::App app("sluice " + std::string(row.name) + ": " + std::string(row.summary), "sluice " + std::string(row.name));
  set_style(app);
  const VerbOptions options = add_options(app, row.make);
  const FlagTable table(options.specs);
  std::vector<std::string> normal = Normaliser(words, table).run();
  std::reverse(normal.begin(), normal.end());  // the library takes them from the back
  CommandLine line;
  try {
    app.parse(normal);
  } catch (const CLI::CallForHelp&) {
    line.text = app.help();
    return line;
  } catch (const CLI::ParseError& error) {
    throw ConfigError("cli", "sluice " + std::string(row.name) + " cannot be run like this", error.what(),
                      "see sluice " + std::string(row.name) + " --help");
  }
  line.verb = &row;
  for (std::size_t i = 0; i < options.flags.size(); ++i) {
    for (const std::string& value : options.flags[i]->results()) {
      line.arguments.flags.push_back({options.specs[i].name, value});
    }
  }
  for (const CLI::Option* option : options.positionals) {
    for (const std::string& value : option->results()) line.arguments.positionals.push_back(value);
  }
  return line;
}

std::string program_help() {
  CLI::App app("sluice " SLUICE_VERSION ": trains models that do not fit in memory", "sluice");
  set_style(app);
  app.add_option("--version", CLI::callback_t{}, "print the version")->option_text(" ");
  for (const VerbRow& row : verb_rows()) app.add_subcommand(std::string(row.name), std::string(row.summary));
  app.footer("sluice VERB --help says more about a verb.");
  return app.help();
}

const VerbRow* find_verb(const std::string& word) {
  std::vector<std::string> names;
  for (const VerbRow& row : verb_rows()) {
    if (word == row.name) return &row;
    names.emplace_back(row.name);
  }
  names.insert(names.end(), {"--help", "--version"});
  const bool is_flag = word.starts_with("-");
  throw ConfigError("cli", std::string("unknown ") + (is_flag ? "flag" : "verb") + " '" + word.substr(0, 80) + "'",
                    "expected one of those that `sluice --help` lists",
                    "did you mean '" + nearest_name(word, names) + "'?");
}

}  // namespace

CommandLine read_command_line(const std::vector<std::string>& words) {
  CommandLine line;
  if (words.empty()) {
    line.text = program_help();
    line.is_complaint = true;
  } else if (words[0] == "--version" || words[0] == "-V") {
    line.text = "sluice " SLUICE_VERSION "\n";
  } else if (words[0] == "--help" || words[0] == "-h" || words == std::vector<std::string>{"help"}) {
    line.text = program_help();
  } else if (words[0] == "help") {
    line = parse_verb(*find_verb(words[1]), {"--help"});
  } else {
    line = parse_verb(*find_verb(words[0]), {words.begin() + 1, words.end()});
  }
  return line;
}

}  // namespace sluice::cli
