#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/units.h"
#include "data/chat_template.h"
#include "recipe/support.h"
#include "train/aligned_floats.h"
#include "train/generator.h"
#include "train/loading.h"
#include "train/run_data.h"
#include "train/sampler.h"
#include "train/text_stream.h"
#include "train/verbs.h"

namespace sluice::train {
namespace {

// The prompt as the question of a conversation, up to where the answer begins.
std::string chat_prompt(const recipe::Settings& settings, const data::ChatTemplate* chat_template) {
  if (chat_template == nullptr)
    throw ConfigError("sample", "--chat needs a chat template", "the model has none", "give one with --chat-template");
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!settings.system.empty()) messages.push_back({{"role", "system"}, {"content", settings.system}});
  messages.push_back({{"role", "user"}, {"content", settings.prompt}});
  return chat_template->render({{"messages", messages}}, true, std::time(nullptr)).text;
}

std::vector<std::int32_t> prompt_ids(const recipe::Settings& settings, const format::ModelConfig& config,
                                     const RunTokenizer& run) {
  const data::Tokenizer& tokenizer = *run.tokenizer;
  std::vector<std::int32_t> ids =
      settings.chat ? tokenizer.encode(chat_prompt(settings, run.chat_template.open()), {.add_special = false})
                    : tokenizer.encode(settings.prompt);
  if (ids.empty()) {
    std::optional<std::int64_t> start = config.bos_token_id;
    if (!start && tokenizer.eos_id()) start = *tokenizer.eos_id();
    if (!start && !config.eos_token_ids.empty()) start = config.eos_token_ids[0];
    if (!start) throw ConfigError("sample", "the prompt has no tokens", "", "give text with --prompt");
    ids.push_back(static_cast<std::int32_t>(*start));
  }
  const std::int32_t most = *std::max_element(ids.begin(), ids.end());
  if (most >= config.vocab_size) {
    throw FormatError("sample", "token ids do not fit the model",
                      "expected ids below " + std::to_string(config.vocab_size) + ", got " + std::to_string(most),
                      "use the tokenizer that belongs to the model");
  }
  return ids;
}

// As many as were asked for, or as the model has positions for.
std::int64_t new_tokens(const recipe::Settings& settings, const format::ModelConfig& config, std::int64_t prompt) {
  const std::int64_t room = config.max_position_embeddings - prompt;
  if (room < 1) {
    throw ConfigError("sample", "the prompt is too long",
                      "expected fewer than " + std::to_string(config.max_position_embeddings) +
                          " tokens (max_position_embeddings), got " + std::to_string(prompt),
                      "shorten --prompt");
  }
  if (settings.max_new_tokens < 1) {
    throw ConfigError("sample", "--max-new-tokens is out of range",
                      "expected 1 or more, got " + std::to_string(settings.max_new_tokens));
  }
  if (room < settings.max_new_tokens)
    log_warning("the model has positions for " + std::to_string(room) + " new tokens only");
  return std::min(room, settings.max_new_tokens);
}

void print(const std::string& piece) {
  std::fwrite(piece.data(), 1, piece.size(), stdout);
  std::fflush(stdout);
}

void generate(Session& session, const data::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
              std::int64_t max_new_tokens, Sampler& sampler) {
  const auto start = std::chrono::steady_clock::now();
  const auto ends = [&](std::int32_t id) {
    const auto& eos = session.config.eos_token_ids;
    return tokenizer.eos_id() == id || std::find(eos.begin(), eos.end(), id) != eos.end();
  };
  Generator generator(session);
  TextStream text(tokenizer, prompt);
  std::int64_t generated = 0;
  std::span<const float> logits = generator.feed(prompt);
  while (true) {
    const std::int32_t id = sampler.pick(logits, generator.num_tokens());
    if (ends(id)) break;
    generated += 1;
    print(text.add(id));
    if (generated == max_new_tokens || stop_requests() > 0) break;
    logits = generator.feed({&id, 1});
  }
  print(text.finish());
  std::printf("\n");
  session.executor->drain();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log_info(std::to_string(prompt.size()) + " prompt tokens, " + std::to_string(generated) + " new ones in " +
           std::to_string(seconds) + " s, arena " + format_bytes(session.executor->arena_peak(0)));
}

}  // namespace

int run_sample(const recipe::Settings& asked) {
  const recipe::Settings settings = resolve_model(asked);
  recipe::check_supported(settings);
  Sampler sampler({settings.temperature, settings.top_k, settings.top_p, settings.seed});
  const format::ModelConfig config = open_config(settings);
  const RunTokenizer tokenizer = open_tokenizer(settings);
  if (tokenizer.tokenizer == nullptr)
    throw ConfigError("sample", "the model has no tokenizer", "", "give one with --tokenizer");
  const std::vector<std::int32_t> prompt = prompt_ids(settings, config, tokenizer);
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  const std::int64_t max_new_tokens = new_tokens(settings, config, prompt_tokens);
  prepare_process(settings);
  const AlignedFloats staging(1 << 20);
  Session session(settings, config, generation_shape(prompt_tokens + max_new_tokens));
  session.reserve();
  load_state(session, open_run_weights(settings, session.run_model).get(), nullptr, staging.span());
  generate(session, *tokenizer.tokenizer, prompt, max_new_tokens, sampler);
  return static_cast<int>(stop_requests() > 0 ? ExitCode::Interrupted : ExitCode::Done);
}

}  // namespace sluice::train
