// A GGUF file of the llama architecture as a Hugging Face model: config, tensor names, rotary row order.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "format/gguf.h"
#include "format/model_config.h"
#include "format/weight_source.h"

namespace sluice::format {

/// The config, with `json` as the config.json that describes the same model. Throws ConfigError for another
/// architecture or an unsupported feature, FormatError for contradictions (shapes, vocabulary, head counts).
ModelConfig gguf_model_config(const GgufFile& file);

/// The text of a generation_config.json with the token ids that end and start a text.
std::string gguf_generation_config(const GgufFile& file);

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; empty for a name that has none.
std::string hugging_face_name(std::string_view gguf_name);

/// The weights. llama files store the rows of q and k for interleaved rotation; they are read back in half-split order.
std::unique_ptr<WeightSource> make_gguf_weights(std::unique_ptr<GgufFile> file);

}  // namespace sluice::format
