#include "format/presets.h"

#include <array>

#include "format/config_families.h"

namespace sluice::format {
namespace {

// Published shapes (arXiv 2302.13971, 2307.09288, 2407.21783; model cards of the others); char-gpt is nanoGPT's
// recipe for a CPU. Those of gpt3-* are GPT-3's (arXiv 2005.14165, table 2.1, where the printed sizes contradict each
// other as everyone runs them: 1.3B with heads of 128, 13B with 5120), Megatron-LM's 7.5B (2104.04473), and the sizes
// that Colossal-AI reports capacity with (90 x 4096, 30 x 8192), with heads of 128, all layers dense. Mistral
// without a window of attention computes what Llama does.
//  name, summary, {type, vocab, hidden, intermediate, layers, heads, kv heads, positions, eps, theta, llama3 factor,
//  init, tied, bos, eos}
constexpr std::array kPresets = std::to_array<Preset>({
    {"llama-tiny", "0.1M, for tests", {"llama", 256, 64, 160, 2, 4, 2, 128, 1e-5, 1e4, 0, 0.02, false, 1, 2}},
    {"smollm2-135m",
     "SmolLM2 135M",
     {"llama", 49152, 576, 1536, 30, 9, 3, 8192, 1e-5, 1e5, 0, 0.041666666666666664, true, 0, 0}},
    {"smollm2-360m", "SmolLM2 362M", {"llama", 49152, 960, 2560, 32, 15, 5, 8192, 1e-5, 1e5, 0, 0.02, true, 0, 0}},
    {"smollm2-1.7b", "SmolLM2 1.7B", {"llama", 49152, 2048, 8192, 24, 32, 32, 8192, 1e-5, 1.3e5, 0, 0.02, true, 0, 0}},
    {"tinyllama-1.1b",
     "TinyLlama 1.1B",
     {"llama", 32000, 2048, 5632, 22, 32, 4, 2048, 1e-5, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-3.2-1b",
     "Llama 3.2 1.24B",
     {"llama", 128256, 2048, 8192, 16, 32, 8, 131072, 1e-5, 5e5, 32, 0.02, true, 128000, 128001}},
    {"llama-3.2-3b",
     "Llama 3.2 3.21B",
     {"llama", 128256, 3072, 8192, 28, 24, 8, 131072, 1e-5, 5e5, 32, 0.02, true, 128000, 128001}},
    {"llama-7b", "LLaMA 1 6.7B", {"llama", 32000, 4096, 11008, 32, 32, 32, 2048, 1e-6, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-13b", "LLaMA 1 13.0B", {"llama", 32000, 5120, 13824, 40, 40, 40, 2048, 1e-6, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-30b", "LLaMA 1 32.5B", {"llama", 32000, 6656, 17920, 60, 52, 52, 2048, 1e-6, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-65b", "LLaMA 1 65.3B", {"llama", 32000, 8192, 22016, 80, 64, 64, 2048, 1e-6, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-2-7b", "Llama 2 6.7B", {"llama", 32000, 4096, 11008, 32, 32, 32, 4096, 1e-5, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-2-13b", "Llama 2 13.0B", {"llama", 32000, 5120, 13824, 40, 40, 40, 4096, 1e-5, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-2-70b", "Llama 2 69.0B", {"llama", 32000, 8192, 28672, 80, 64, 8, 4096, 1e-5, 1e4, 0, 0.02, false, 1, 2}},
    {"llama-3-8b",
     "Llama 3 8.0B",
     {"llama", 128256, 4096, 14336, 32, 32, 8, 8192, 1e-5, 5e5, 0, 0.02, false, 128000, 128001}},
    {"llama-3-70b",
     "Llama 3 70.6B",
     {"llama", 128256, 8192, 28672, 80, 64, 8, 8192, 1e-5, 5e5, 0, 0.02, false, 128000, 128001}},
    {"llama-3.1-8b",
     "Llama 3.1 8.0B",
     {"llama", 128256, 4096, 14336, 32, 32, 8, 131072, 1e-5, 5e5, 8, 0.02, false, 128000, 128001}},
    {"llama-3.1-70b",
     "Llama 3.1 70.6B",
     {"llama", 128256, 8192, 28672, 80, 64, 8, 131072, 1e-5, 5e5, 8, 0.02, false, 128000, 128001}},
    {"llama-3.1-405b",
     "Llama 3.1 406B",
     {"llama", 128256, 16384, 53248, 126, 128, 8, 131072, 1e-5, 5e5, 8, 0.02, false, 128000, 128001}},
    {"mistral-7b-v0.3",
     "Mistral 7B v0.3's shape",
     {"llama", 32768, 4096, 14336, 32, 32, 8, 32768, 1e-5, 1e6, 0, 0.02, false, 1, 2}},
    {"mistral-large-123b",
     "Mistral Large 2407's shape, 123B",
     {"llama", 32768, 12288, 28672, 88, 96, 8, 131072, 1e-5, 1e6, 0, 0.02, false, 1, 2}},
    {"char-gpt", "GPT-2 of 0.8M for characters", {"gpt2", 65, 128, 512, 4, 4, 4, 64, 1e-5, 0, 0, 0.02, true, -1, -1}},
    {"gpt2", "GPT-2 124M", {"gpt2", 50257, 768, 3072, 12, 12, 12, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt2-medium", "GPT-2 355M", {"gpt2", 50257, 1024, 4096, 24, 16, 16, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt2-large", "GPT-2 774M", {"gpt2", 50257, 1280, 5120, 36, 20, 20, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt2-xl", "GPT-2 1.6B", {"gpt2", 50257, 1600, 6400, 48, 25, 25, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-125m", "GPT-3 Small", {"gpt2", 50257, 768, 3072, 12, 12, 12, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-350m", "GPT-3 Medium", {"gpt2", 50257, 1024, 4096, 24, 16, 16, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-760m", "GPT-3 Large", {"gpt2", 50257, 1536, 6144, 24, 16, 16, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-1.3b", "GPT-3 XL", {"gpt2", 50257, 2048, 8192, 24, 16, 16, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-1.5b",
     "GPT 1.56B (GPT-2 XL's shape)",
     {"gpt2", 50257, 1600, 6400, 48, 25, 25, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-2.7b", "GPT-3 2.7B", {"gpt2", 50257, 2560, 10240, 32, 32, 32, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-6.7b", "GPT-3 6.7B", {"gpt2", 50257, 4096, 16384, 32, 32, 32, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-7.5b",
     "GPT 7.5B (Megatron-LM)",
     {"gpt2", 51200, 4096, 16384, 36, 32, 32, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-13b", "GPT-3 13B", {"gpt2", 50257, 5120, 20480, 40, 40, 40, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-18b",
     "GPT 18.3B (Colossal-AI)",
     {"gpt2", 50257, 4096, 16384, 90, 32, 32, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-24b",
     "GPT 24.6B (Colossal-AI)",
     {"gpt2", 50257, 8192, 32768, 30, 64, 64, 1024, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
    {"gpt3-175b", "GPT-3 175B", {"gpt2", 50257, 12288, 49152, 96, 96, 96, 2048, 1e-5, 0, 0, 0.02, true, 50256, 50256}},
});

}  // namespace

std::span<const Preset> model_presets() { return kPresets; }

ModelConfig preset_config(std::string_view name) {
  const PresetShape& shape = find_row(model_presets(), "model preset", name).make;
  ModelConfig config;
  const ConfigFamily& family = *find_config_family(shape.model_type);
  config.model_type = family.model_type;
  config.architecture = family.architecture;
  config.vocab_size = shape.vocab_size;
  config.hidden_size = shape.hidden_size;
  config.intermediate_size = shape.intermediate_size;
  config.num_layers = shape.num_layers;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.hidden_size / shape.num_heads;
  config.max_position_embeddings = shape.max_position_embeddings;
  config.rms_norm_eps = shape.norm_eps;
  config.initializer_range = shape.initializer_range;
  config.tie_word_embeddings = shape.tie_word_embeddings;
  if (shape.bos_token_id >= 0) config.bos_token_id = shape.bos_token_id;
  if (shape.eos_token_id >= 0) config.eos_token_ids = {shape.eos_token_id};
  if (shape.rope_theta > 0) {
    config.rope_theta = shape.rope_theta;
  } else {
    config.learned_positions = config.attention_bias = config.mlp_bias = true;
    config.hidden_act = "gelu_new";
  }
  if (shape.llama3_factor > 0)
    config.rope_scaling = {.type = "llama3",
                           .factor = shape.llama3_factor,
                           .low_freq_factor = 1,
                           .high_freq_factor = 4,
                           .original_max_position_embeddings = 8192};
  config.json = make_config_json(config);
  config.name_or_path = name;
  return config;
}

}  // namespace sluice::format
