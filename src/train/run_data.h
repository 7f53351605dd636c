// Data of a run, checked against the model that will read it.
#pragma once
#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "format/model_config.h"
#include "recipe/settings.h"

namespace sluice::train {

/// `settings.tokenizer`, else the model's own; nullptr when neither is there, as data may come tokenised.
[[nodiscard]] std::unique_ptr<data::Tokenizer> open_tokenizer(const recipe::Settings& settings);

/// Opens `path` and says on standard error what it holds. Throws FormatError when its ids exceed the model's
/// vocabulary. The tokenizer is needed during the call only.
[[nodiscard]] std::unique_ptr<data::Dataset> open_run_data(const recipe::Settings& settings, const std::string& path,
                                                           const format::ModelConfig& config,
                                                           const data::Tokenizer* tokenizer);

}  // namespace sluice::train
