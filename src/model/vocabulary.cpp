#include "model/vocabulary.h"

#include <algorithm>
#include <utility>

#include "base/units.h"

namespace sluice::model {

std::vector<VocabularyPiece> vocabulary_pieces(const format::ModelConfig& config,
                                               const std::vector<ParameterSpec>& layer, Tables tables) {
  if (tables == Tables::Whole) return {{0, config.vocab_size}};
  constexpr std::int64_t kLeastElements = 32 * MiB / static_cast<Bytes>(sizeof(float)), kMostPieces = 8, kRows = 64;
  std::int64_t largest = 0;
  for (const ParameterSpec& parameter : layer) largest += parameter.num_elements();
  largest = std::max(largest, kLeastElements);
  const std::int64_t elements = config.vocab_size * config.hidden_size;
  const std::int64_t count = std::clamp<std::int64_t>((elements + largest - 1) / largest, 1, kMostPieces);
  const std::int64_t rows = round_up((config.vocab_size + count - 1) / count, kRows);
  std::vector<VocabularyPiece> pieces;
  for (std::int64_t first = 0; first < config.vocab_size; first += rows)
    pieces.push_back({first, std::min(rows, config.vocab_size - first)});
  return pieces;
}

std::vector<int> add_table(Model& model, const std::vector<VocabularyPiece>& pieces, const std::string& chunk,
                           const ParameterSpec& parameter) {
  std::vector<int> chunks;
  for (const VocabularyPiece& piece : pieces) {
    ParameterSpec part = parameter;
    part.shape[0] = piece.num_rows;
    part.first_row = piece.first_row;
    const std::string name = pieces.size() == 1 ? chunk : chunk + "." + std::to_string(chunks.size());
    chunks.push_back(static_cast<int>(model.chunks.size()));
    model.chunks.push_back({name, {std::move(part)}});
  }
  return chunks;
}

}  // namespace sluice::model
