// What the catalog's rows make: one function and one .cpp per family.
#pragma once
#include "format/model_config.h"
#include "model/model.h"

namespace sluice::model {

[[nodiscard]] Model make_llama(const format::ModelConfig& config, const ModelChoices& choices);
[[nodiscard]] Model make_gpt2(const format::ModelConfig& config, const ModelChoices& choices);

}  // namespace sluice::model
