// Tokenizer and data of a run, checked against the model that will read them.
#pragma once
#include <memory>
#include <string>

#include "data/chat_template.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "format/model_config.h"
#include "format/vocabulary.h"
#include "recipe/settings.h"

namespace sluice::train {

/// The tokenizer of a run and how conversations become text for it. `files` are to be saved beside the weights instead
/// of the model's own; empty: keep those.
struct RunTokenizer {
  std::unique_ptr<data::Tokenizer> tokenizer;  ///< nullptr: there is none, as data may come tokenised
  data::ChatTemplatePlace chat_template;
  format::NamedTexts files;
};

/// `settings.tokenizer` (a path, or a name that is built from the training text), else the model's own; the chat
/// template of the same place, or `settings.chat_template`.
[[nodiscard]] RunTokenizer open_tokenizer(const recipe::Settings& settings);

/// `open_config`, and for a model from scratch with a tokenizer of its own the vocabulary of that tokenizer.
[[nodiscard]] format::ModelConfig open_run_config(const recipe::Settings& settings, const RunTokenizer& tokenizer);

/// Opens `files` ("FILE[:WEIGHT],...") as one data set and says on standard error what it holds. Throws FormatError
/// when its ids exceed the model's vocabulary. The tokenizer is needed during the call only.
[[nodiscard]] std::unique_ptr<data::Dataset> open_run_data(const recipe::Settings& settings, const std::string& files,
                                                           const format::ModelConfig& config,
                                                           const RunTokenizer& tokenizer);

struct TrainData {
  std::unique_ptr<data::Dataset> train;
  std::unique_ptr<data::Dataset> held_out;  ///< nullptr: none was asked for
};

/// Training data with what is split off or named for evaluation, in rows of one length.
[[nodiscard]] TrainData open_train_data(const recipe::Settings& settings, const format::ModelConfig& config,
                                        const RunTokenizer& tokenizer);

}  // namespace sluice::train
