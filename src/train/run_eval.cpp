#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "recipe/support.h"
#include "train/loading.h"
#include "train/run_data.h"
#include "train/trainer.h"
#include "train/verbs.h"

namespace sluice::train {

int run_eval(const recipe::Settings& asked) {
  recipe::Settings settings = resolve_model(asked);
  recipe::check_supported(settings);
  if (!settings.tasks.empty()) return run_tasks(settings);
  const format::ModelConfig config = open_config(settings);
  prepare_process(settings);
  const auto dataset = open_run_data(settings, settings.data, config, open_tokenizer(settings));
  settings.seq_len = dataset->seq_len();
  const AlignedFloats staging(1 << 20);
  Session session(settings, config, true, true);
  session.reserve();
  load_state(session, open_run_weights(settings, session.run_model).get(), nullptr, staging.span());
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
