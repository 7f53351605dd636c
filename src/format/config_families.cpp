#include "format/config_families.h"

#include "format/rope_json.h"

namespace sluice::format {

std::span<const ConfigFamily> config_families() {
  static const std::array kFamilies = std::to_array<ConfigFamily>({
      {"llama", "LlamaForCausalLM", {}, read_llama_config, write_llama_config, add_rope},
      {"mistral", "MistralForCausalLM", {}, read_llama_config, write_llama_config, add_rope},
      {"gpt2", "GPT2LMHeadModel", gpt2_spellings(), read_gpt2_config, write_gpt2_config, nullptr},
  });
  return kFamilies;
}

const ConfigFamily* find_config_family(std::string_view model_type) {
  for (const ConfigFamily& family : config_families())
    if (family.model_type == model_type) return &family;
  return nullptr;
}

}  // namespace sluice::format
