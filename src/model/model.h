// A model as data: chunks of parameters, and blocks that say which chunks and boundaries they use. One row of the
// catalog per architecture.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/catalog.h"
#include "format/model_config.h"
#include "model/block.h"

namespace sluice::model {

/// One parameter group of one block: the unit of storage.
struct ChunkSpec {
  std::string name;
  std::vector<ParameterSpec> parameters;
  bool trained = true;
  int rule = 0;                             ///< of the run's update rules
  std::optional<NumberFormat> stored = {};  ///< plan::Chunk::stored
  NumberFormat held = NumberFormat::Fp32;   ///< plan::Chunk::held
};

/// Where a parameter stands: which of the chunks, and which of that chunk's parameters.
struct ParameterPlace {
  int chunk = 0, parameter = 0;
};

/// A block in its place. Its functions take the parameters of `chunks` concatenated in that order, or in `order`.
struct BlockEntry {
  std::unique_ptr<Block> block;
  std::vector<int> chunks;                 ///< the block's own first; a tied chunk stands in both of its users
  int reads = -1;                          ///< boundary read, -1: only the batch
  int writes = -1;                         ///< boundary written, -1: it ends in the loss
  std::vector<ParameterPlace> order = {};  ///< of the parameters of all `chunks`; empty: as they stand
};

struct Model {
  std::vector<ChunkSpec> chunks;
  std::vector<BlockEntry> blocks;  ///< in forward order; the last one is a LossBlock
  std::int64_t hidden_size = 0, vocab_size = 0;
  std::int64_t max_positions = 0;  ///< longest sequence that the parameters allow; 0: any
};

/// Whether tables with a row per token may be several chunks (vocabulary.h). Whole where an update needs sums over all
/// of a tensor.
enum class Tables { InPieces, Whole };

/// What a run decides about its model and no file says.
struct ModelChoices {
  Tables tables = Tables::InPieces;
  NumberFormat compute = NumberFormat::Fp32;  ///< or 16 bits: what products with weights multiply (product.h)
};

using ModelRow = CatalogRow<Model (*)(const format::ModelConfig&, const ModelChoices&)>;

/// Every known architecture, by the `model_type` of its Hugging Face configuration.
[[nodiscard]] std::span<const ModelRow> model_catalog();
/// The model that `config` describes. Throws ConfigError for an unknown type or values that it does not support.
[[nodiscard]] Model make_model(const format::ModelConfig& config, const ModelChoices& choices = {});

/// A block's parameters in the order in which its functions take them.
[[nodiscard]] std::vector<ParameterPlace> parameter_places(const Model& model, const BlockEntry& entry);
/// Their specs.
[[nodiscard]] std::vector<ParameterSpec> parameters_of(const Model& model, int block_index);

}  // namespace sluice::model
