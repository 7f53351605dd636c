#include "train/run_data.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "data/built_tokenizer.h"
#include "data/dataset_views.h"
#include "recipe/parse_value.h"
#include "train/session.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

struct DataFile {
  fs::path path;
  double weight = 0;  ///< 0: none given
};

// A path may hold a colon: what follows the last one is a weight only if no such file is there.
DataFile parse_data_file(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || fs::exists(text)) return {text, 0};
  const std::string typed = text.substr(colon + 1);
  const bool is_number = !typed.empty() && typed.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (!is_number) return {text, 0};
  return {text.substr(0, colon), recipe::parse_real(typed, "data", {.lowest = 0, .highest = 1e9, .open_below = true})};
}

std::vector<DataFile> parse_data_files(const std::string& list) {
  if (fs::exists(list)) return {{list, 0}};  // a path with a comma in it
  std::vector<DataFile> files;
  for (const std::string& part : recipe::split_list(list)) files.push_back(parse_data_file(part));
  return files;
}

std::vector<fs::path> paths_of(const std::vector<DataFile>& files) {
  std::vector<fs::path> paths;
  for (const DataFile& file : files) paths.push_back(file.path);
  return paths;
}

using Parts = std::vector<data::WeightedDataset>;

void check_ids(const data::Dataset& dataset, const format::ModelConfig& config, const fs::path& path) {
  if (dataset.max_id() < config.vocab_size) return;
  throw FormatError("data", "token ids do not fit the model",
                    "expected ids below " + std::to_string(config.vocab_size) + ", got " +
                        std::to_string(dataset.max_id()) + " in " + path.string(),
                    "use the tokenizer that belongs to the model");
}

std::unique_ptr<data::Dataset> open_file(const recipe::Settings& settings, const DataFile& file,
                                         const format::ModelConfig& config, const RunTokenizer& tokenizer) {
  auto dataset = data::open_dataset({.path = file.path,
                                     .format = settings.data_format,
                                     .seq_len = settings.seq_len,
                                     .tokenizer = tokenizer.tokenizer.get(),
                                     .chat_template = &tokenizer.chat_template});
  check_ids(*dataset, config, file.path);
  log_info(dataset->summary());
  return dataset;
}

std::unique_ptr<data::Dataset> join(std::vector<std::unique_ptr<data::Dataset>> sets,
                                    const std::vector<DataFile>& files) {
  std::int64_t longest = 0;
  for (const auto& set : sets) longest = std::max(longest, set->seq_len());
  if (sets.size() == 1) return std::move(sets[0]);
  Parts parts;
  for (std::size_t i = 0; i < sets.size(); ++i)
    parts.push_back({data::pad_dataset(std::move(sets[i]), longest), files[i].weight});
  return data::join_datasets(std::move(parts));
}

// The result answers by the template that it was trained with.
void put_chat_template(const recipe::Settings& settings, format::NamedTexts& files) {
  const std::string name = "chat_template.jinja";
  if (files.empty() && fs::exists(settings.model)) files = format::read_tokenizer_files(settings.model);
  std::erase_if(files, [&](const auto& file) { return file.first == name; });
  files.emplace_back(name, read_text(settings.chat_template));
}

}  // namespace

RunTokenizer open_tokenizer(const recipe::Settings& settings) {
  const std::string& place = settings.tokenizer.empty() ? settings.model : settings.tokenizer;
  RunTokenizer run{nullptr, data::ChatTemplatePlace(place, settings.chat_template), {}};
  if (data::is_built_tokenizer(settings.tokenizer)) {
    auto built =
        data::build_tokenizer(settings.tokenizer, paths_of(parse_data_files(settings.data)), settings.data_format);
    run.files = format::named_texts(built.files);
    run.tokenizer = std::move(built.tokenizer);
  } else if (!settings.tokenizer.empty()) {
    run.tokenizer = data::load_tokenizer(settings.tokenizer);
    run.files = format::read_tokenizer_files(settings.tokenizer);
  } else {
    const fs::path model = settings.model;
    const bool has_one = model.extension() == ".gguf" || fs::exists(model / "tokenizer.json");
    if (has_one) run.tokenizer = data::load_tokenizer(model);
  }
  if (!settings.chat_template.empty()) put_chat_template(settings, run.files);
  return run;
}

format::ModelConfig open_run_config(const recipe::Settings& settings, const RunTokenizer& tokenizer) {
  format::ModelConfig config = open_config(settings);
  if (!settings.init_random || settings.tokenizer.empty()) return config;
  const data::SpecialFrame frame = tokenizer.tokenizer->special_frame();
  format::VocabularyIds ids{.vocab_size = tokenizer.tokenizer->vocab_size(), .bos = {}, .eos = {}};
  if (!frame.before.empty()) ids.bos = frame.before.front();
  ids.eos = tokenizer.tokenizer->eos_id();
  return format::with_vocabulary(config, ids);
}

std::unique_ptr<data::Dataset> open_run_data(const recipe::Settings& settings, const std::string& files,
                                             const format::ModelConfig& config, const RunTokenizer& tokenizer) {
  const std::vector<DataFile> list = parse_data_files(files);
  std::vector<std::unique_ptr<data::Dataset>> sets;
  for (const DataFile& file : list) sets.push_back(open_file(settings, file, config, tokenizer));
  return join(std::move(sets), list);
}

TrainData open_train_data(const recipe::Settings& settings, const format::ModelConfig& config,
                          const RunTokenizer& tokenizer) {
  TrainData run;
  if (settings.validation_split) {
    const std::vector<DataFile> list = parse_data_files(settings.data);
    std::vector<std::unique_ptr<data::Dataset>> train, held_out;
    for (const DataFile& file : list) {
      auto split = data::split_dataset(open_file(settings, file, config, tokenizer), *settings.validation_split);
      train.push_back(std::move(split.train));
      held_out.push_back(std::move(split.held_out));
    }
    run.train = join(std::move(train), list);
    run.held_out = join(std::move(held_out), std::vector<DataFile>(list.size()));
    log_info("held out for validation: " + std::to_string(run.held_out->num_rows()) + " of " +
             std::to_string(run.held_out->num_rows() + run.train->num_rows()) + " rows");
  } else {
    run.train = open_run_data(settings, settings.data, config, tokenizer);
    if (!settings.eval_data.empty()) run.held_out = open_run_data(settings, settings.eval_data, config, tokenizer);
  }
  if (run.held_out) {
    const std::int64_t longest = std::max(run.train->seq_len(), run.held_out->seq_len());
    run.train = data::pad_dataset(std::move(run.train), longest);
    run.held_out = data::pad_dataset(std::move(run.held_out), longest);
  }
  return run;
}

}  // namespace sluice::train
