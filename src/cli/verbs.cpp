#include <array>

#include "cli/verb.h"

namespace sluice::cli {

std::span<const VerbRow> verb_rows() {
  static constexpr std::array<VerbRow, 9> kRows = {{
      {"train", "fine-tune a model, or pre-train it with --init random", {train_flags, no_positionals, run_train}},
      {"plan", "forecast memory and time; trains nothing, needs no weights", {plan_flags, no_positionals, run_plan}},
      {"eval", "loss and perplexity on a file, or accuracy on tasks", {eval_flags, no_positionals, run_eval}},
      {"sample", "continue a prompt", {sample_flags, no_positionals, run_sample}},
      {"export", "write a checkpoint or model as a model folder or GGUF", {export_flags, no_positionals, run_export}},
      {"inspect",
       "what a model, checkpoint, safetensors, GGUF, tokenizer or data file holds",
       {inspect_flags, inspect_positionals, run_inspect}},
      {"data", "tokenize, inspect, encode, decode or convert data", {data_flags, data_positionals, run_data}},
      {"doctor",
       "measure this machine, say what is missing and how to fix it",
       {doctor_flags, no_positionals, run_doctor}},
      {"list", "models, optimizers, tiers and whatever else can be named", {list_flags, list_positionals, run_list}},
  }};
  return kRows;
}

std::vector<PositionalSpec> no_positionals() { return {}; }

std::optional<std::string> Arguments::value(std::string_view flag) const {
  std::optional<std::string> last;
  for (const auto& [name, text] : flags) {
    if (name == flag) last = text;
  }
  return last;
}

bool Arguments::has(std::string_view flag) const { return value(flag) == "true"; }

}  // namespace sluice::cli
