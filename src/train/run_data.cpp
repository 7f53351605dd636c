#include "train/run_data.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"

namespace sluice::train {

std::unique_ptr<data::Tokenizer> open_tokenizer(const recipe::Settings& settings) {
  if (!settings.tokenizer.empty()) return data::load_tokenizer(settings.tokenizer);
  const std::filesystem::path model = settings.model;
  const bool has_one = model.extension() == ".gguf" || std::filesystem::exists(model / "tokenizer.json");
  return has_one ? data::load_tokenizer(model) : nullptr;
}

std::unique_ptr<data::Dataset> open_run_data(const recipe::Settings& settings, const std::string& path,
                                             const format::ModelConfig& config, const data::Tokenizer* tokenizer) {
  auto dataset = data::open_dataset({path, settings.data_format, settings.seq_len, tokenizer, {}});
  if (dataset->max_id() >= config.vocab_size) {
    throw FormatError("data", "token ids do not fit the model",
                      "expected ids below " + std::to_string(config.vocab_size) + ", got " +
                          std::to_string(dataset->max_id()) + " in " + path,
                      "use the tokenizer that belongs to the model");
  }
  log_info(dataset->summary());
  return dataset;
}

}  // namespace sluice::train
