// Tables with a row per token, cut into pieces of the vocabulary: each piece is a chunk of its own, so that neither a
// table nor its gradient need be in memory whole.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "format/model_config.h"
#include "model/end_blocks.h"
#include "model/model.h"

namespace sluice::model {

/// Pieces of equal size, the last one perhaps smaller: none larger than 32 MiB or the model's `layer`, whichever is
/// more, but at most 8; or one for whole tables. From shapes alone, for sums over the vocabulary go piece by piece.
[[nodiscard]] std::vector<VocabularyPiece> vocabulary_pieces(const format::ModelConfig& config,
                                                             const std::vector<ParameterSpec>& layer,
                                                             Tables tables = Tables::InPieces);

/// Adds the table `parameter` [V,D] to the model, a chunk for each piece; returns their numbers.
[[nodiscard]] std::vector<int> add_table(Model& model, const std::vector<VocabularyPiece>& pieces,
                                         const std::string& chunk, const ParameterSpec& parameter);

}  // namespace sluice::model
