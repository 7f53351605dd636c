#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "data/tokenizer.h"
#include "recipe/support.h"
#include "train/loading.h"
#include "train/trainer.h"
#include "train/verbs.h"

namespace sluice::train {

int run_eval(const recipe::Settings& asked) {
  recipe::Settings settings = asked;
  recipe::check_supported(settings);
  const format::ModelConfig config = open_config(settings);
  prepare_process(settings);
  std::unique_ptr<data::Dataset> dataset;
  {
    const std::filesystem::path tokenizer = settings.tokenizer.empty() ? settings.model : settings.tokenizer;
    const bool has_tokenizer = tokenizer.extension() == ".gguf" ||
                               std::filesystem::exists(tokenizer / "tokenizer.json") || !settings.tokenizer.empty();
    const auto loaded = has_tokenizer ? data::load_tokenizer(tokenizer) : nullptr;
    dataset = data::open_dataset({settings.data, settings.data_format, settings.seq_len, loaded.get(), {}});
  }
  if (dataset->max_id() >= config.vocab_size) {
    throw FormatError(
        "data", "token ids do not fit the model",
        "expected ids below " + std::to_string(config.vocab_size) + ", got " + std::to_string(dataset->max_id()),
        "use the tokenizer that belongs to the model");
  }
  settings.seq_len = dataset->seq_len();
  const AlignedFloats staging(1 << 20);
  Session session(settings, config, true, true);
  session.reserve();
  load_state(session, format::open_weights(settings.model).get(), nullptr, staging.span());
  const Evaluation result = evaluate(session, *dataset, settings.max_tokens);
  const double perplexity = std::exp(result.loss);
  std::printf("loss %.6f  perplexity %.4f  target tokens %ld\n", result.loss, perplexity,
              static_cast<long>(result.target_tokens));
  if (!settings.json.empty()) {
    const nlohmann::ordered_json json = {
        {"loss", result.loss}, {"perplexity", perplexity}, {"target_tokens", result.target_tokens}};
    write_text(settings.json, json.dump() + "\n");
  }
  return 0;
}

}  // namespace sluice::train
