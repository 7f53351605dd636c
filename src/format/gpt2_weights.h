// GPT-2 files come in two spellings: with the prefix "transformer." of the class with a head, and without it as the
// first published files have it.
#pragma once
#include <memory>

#include "format/weight_source.h"

namespace sluice::format {

/// `source` under the names with the prefix, without the causal masks that old files carry as tensors. A source that
/// needs neither is given back as it is.
std::unique_ptr<WeightSource> with_gpt2_names(std::unique_ptr<WeightSource> source);

}  // namespace sluice::format
