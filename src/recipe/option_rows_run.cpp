// Rows of files, memory, shape and execution. Aliases are the spellings of Hugging Face, axolotl, LLaMA-Factory and
// DeepSpeed.
#include <array>
#include <limits>

#include "recipe/option_rows.h"

namespace sluice::recipe {
namespace {

constexpr IntegerRange kCount = {1, std::int64_t{1} << 20};
constexpr IntegerRange kSteps = {1, std::int64_t{1} << 40};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

OptionRow init_row() {
  OptionRow row = make_row("init",
                           {.verbs = kTraining,
                            .argument = "random|pretrained",
                            .help = "random: start from random weights of the shape in config.json or of a preset"},
                           ValueKind::Text);
  row.set = [](Settings& settings, std::string_view text) {
    const std::string folded = fold_name(text);
    if (folded != "random" && folded != "pretrained" && folded != "off") {
      throw_bad_value("init", "random or pretrained", text);
    }
    settings.init_random = folded == "random";
  };
  row.print = [](const Settings& settings) { return std::string(settings.init_random ? "random" : "pretrained"); };
  return row;
}

OptionRow spill_row() {
  OptionRow row = make_row("spill-dir",
                           {.verbs = kComputing,
                            .argument = "DIR[,DIR]",
                            .help = "the disk tier; several folders are striped",
                            .aliases = {"nvme_path", "offload_dir", "offload_folder"},
                            .absent = "none; if one is needed the error says so"},
                           ValueKind::TextList);
  row.set = [](Settings& settings, std::string_view text) { settings.spill_dir = split_list(text); };
  row.print = [](const Settings& settings) -> std::optional<std::string> {
    return settings.spill_dir.empty() ? std::nullopt : std::optional(join_list(settings.spill_dir));
  };
  return row;
}

/// A list kept as its text: the weights are read where the files are.
OptionRow data_row(const std::string& name, std::string Settings::*field, RowText text) {
  OptionRow row = text_row(name, field, std::move(text));
  row.kind = ValueKind::TextList;
  return row;
}

OptionRow write_limit_row() {
  OptionRow row = make_row(
      "disk-write-limit",
      {.argument = "SIZE/day", .help = "most that the plan may write to the disk", .absent = "none"}, ValueKind::Text);
  row.set = [](Settings& settings, std::string_view text) {
    std::string_view size = text;
    for (const std::string_view unit : {"/day", "/d", " per day"}) {
      if (size.ends_with(unit)) size.remove_suffix(unit.size());
    }
    const Bytes bytes = parse_bytes(size, "disk-write-limit");
    if (bytes <= 0) throw_bad_value("disk-write-limit", "a size above 0 per day", text, "write for example 200GB/day");
    settings.disk_write_limit = bytes;
  };
  row.print = [](const Settings& settings) -> std::optional<std::string> {
    if (!settings.disk_write_limit) return std::nullopt;
    return std::to_string(*settings.disk_write_limit) + "/day";
  };
  return row;
}

/// transformers writes max_steps: -1 for "not limited".
OptionRow max_steps_row() {
  OptionRow row = make_row("max-steps",
                           {.argument = "N",
                            .help = "optimizer steps to train",
                            .aliases = {"train_steps", "total_steps"},
                            .absent = "what --epochs takes"},
                           ValueKind::Number);
  row.set = [](Settings& settings, std::string_view text) {
    if (text == "-1") {
      settings.max_steps.reset();
    } else {
      settings.max_steps = parse_integer(text, "max-steps", kSteps);
    }
  };
  row.print = [](const Settings& settings) -> std::optional<std::string> {
    return settings.max_steps ? std::optional(std::to_string(*settings.max_steps)) : std::nullopt;
  };
  return row;
}

/// transformers' switch for recomputing.
OptionRow gradient_checkpointing_row() {
  OptionRow row = make_row("gradient-checkpointing", {.hidden = true}, ValueKind::Switch);
  row.set = [](Settings& settings, std::string_view text) {
    const bool recompute = parse_switch(text, "gradient-checkpointing");
    settings.activations = recompute ? ActivationMode::Recompute : ActivationMode::Auto;
  };
  row.print = [](const Settings&) { return std::nullopt; };
  return row;
}

constexpr std::array<Spelling<ActivationMode>, 4> kActivations = {{{ActivationMode::Auto, "auto"},
                                                                   {ActivationMode::Keep, "keep"},
                                                                   {ActivationMode::Spill, "spill"},
                                                                   {ActivationMode::Recompute, "recompute"}}};
constexpr std::array<Spelling<ReduceOrder>, 2> kReduceOrders = {
    {{ReduceOrder::Ranks, "ranks"}, {ReduceOrder::Fixed, "fixed"}}};
constexpr std::array<Spelling<GradientCompression>, 2> kCompressions = {
    {{GradientCompression::None, "none"}, {GradientCompression::OneBit, "1bit"}}};
constexpr std::array<Spelling<UpdatePlace>, 2> kUpdatePlaces = {
    {{UpdatePlace::Host, "host"}, {UpdatePlace::Device, "device"}}};
constexpr std::array<Spelling<ScheduleOrder>, 2> kOrders = {
    {{ScheduleOrder::Vertical, "vertical"}, {ScheduleOrder::Horizontal, "horizontal"}}};

}  // namespace

std::vector<OptionRow> file_rows() {
  return {
      text_row("model", &Settings::model,
               {.verbs = kEveryVerb,
                .argument = "DIR|FILE.gguf|NAME",
                .help = "model folder, GGUF file, checkpoint; a preset's name for plan and --init random",
                .aliases = {"model_name_or_path", "base_model", "model_path"}}),
      data_row("data", &Settings::data,
               {.verbs = kTraining | kEval,
                .argument = "FILE|DIR[:WEIGHT],...",
                .help = "training (eval: held-out) data; several files are joined, with weights interleaved",
                .aliases = {"train_file", "dataset", "datasets", "dataset_path", "data_path"}}),
      text_row("data-format", &Settings::data_format,
               {.verbs = kTraining | kEval,
                .argument = "NAME",
                .help = "overrides what the content says (`sluice list datasets`)",
                .aliases = {"dataset_format"}}),
      text_row("tokenizer", &Settings::tokenizer,
               {.verbs = kTraining | kEval | kSample,
                .argument = "DIR|FILE|NAME",
                .help = "tokenizer for text; byte and char are made for a model from scratch",
                .aliases = {"tokenizer_name", "tokenizer_name_or_path"},
                .absent = "the model's"}),
      text_row("chat-template", &Settings::chat_template,
               {.verbs = kTraining | kEval | kSample,
                .argument = "FILE",
                .help = "Jinja template that turns conversations into text",
                .absent = "the model's"}),
      text_row("output", &Settings::output,
               {.verbs = kTraining | kExport,
                .argument = "DIR",
                .help = "where the result goes; appears complete or not at all (export: DIR or FILE.gguf)",
                .aliases = {"output_dir"}}),
      text_row("metrics", &Settings::metrics,
               {.argument = "FILE",
                .help = "JSON lines, one per step and event",
                .aliases = {"metrics_file"},
                .absent = "OUTPUT/metrics.jsonl"}),
      text_row("json", &Settings::json,
               {.verbs = kPlan | kEval, .argument = "FILE", .help = "write the result as one JSON object"}),
      init_row(),
  };
}

std::vector<OptionRow> memory_rows() {
  return {
      bytes_row("host-memory", &Settings::host_memory,
                {.verbs = kComputing,
                 .argument = "SIZE",
                 .help = "hard budget for the whole process's RAM (512MiB, 3GiB; plain bytes)",
                 .absent = "what the machine and its cgroup have, less 10 %"}),
      bytes_row("device-memory", &Settings::device_memory,
                {.verbs = kComputing,
                 .argument = "SIZE",
                 .help = "the same for the accelerator",
                 .absent = "all that is free"}),
      spill_row(),
      bytes_row("disk-memory", &Settings::disk_memory,
                {.verbs = kComputing,
                 .argument = "SIZE",
                 .help = "capacity of the disk tier",
                 .absent = "free space less 5 %"}),
      write_limit_row(),
      text_row("device", &Settings::device,
               {.verbs = kComputing, .argument = "auto|cpu|cuda[:N]|emulated[:GB/s]", .help = "where block math runs"}),
      choice_row("update-on", &Settings::update_on, std::span<const Spelling<UpdatePlace>>(kUpdatePlaces),
                 {.argument = "host|device",
                  .help = "with an accelerator: where parameters are updated (their states come there for it)",
                  .absent = "host"}),
      text_row("machine", &Settings::machine,
               {.verbs = kPlan,
                .argument = "NAME|FILE",
                .help = "plan for this machine (`sluice list machines`)",
                .absent = "the one here"}),
      integer_row("threads", &Settings::threads, {1, 4096},
                  {.verbs = kComputing,
                   .argument = "N",
                   .help = "compute threads",
                   .aliases = {"num_threads"},
                   .absent = "physical cores"}),
  };
}

std::vector<OptionRow> length_rows() {
  return {
      integer_row("seq-len", &Settings::seq_len, {2, std::int64_t{1} << 24},
                  {.verbs = kTraining | kEval,
                   .argument = "N",
                   .help = "tokens per row",
                   .aliases = {"cutoff_len", "max_seq_length", "max_seq_len", "sequence_len", "seq_length",
                               "sequence_length", "block_size"}}),
      integer_row("micro-batch-size", &Settings::micro_batch_size, kCount,
                  {.verbs = kTraining | kEval,
                   .argument = "N",
                   .help = "rows that go through the model together",
                   .aliases = {"per_device_train_batch_size", "train_micro_batch_size_per_gpu", "micro_batch"}}),
      integer_row("grad-accumulation", &Settings::grad_accumulation, kCount,
                  {.argument = "N",
                   .help = "micro-batches per step",
                   .aliases = {"gradient_accumulation_steps", "grad_accumulation_steps", "gradient_accumulation"}}),
      max_steps_row(),
      real_row("epochs", &Settings::epochs, {0, 1e9, true, false},
               {.argument = "X",
                .help = "passes over the data",
                .aliases = {"num_train_epochs", "num_epochs"},
                .absent = "1, unless --max-steps is given"}),
      field_row(
          make_row("max-time",
                   {.argument = "TIME",
                    .help = "stop, saved, before the step that would end later (90min, 2h)",
                    .absent = "no limit"},
                   ValueKind::Number),
          &Settings::max_time, [](std::string_view text) { return parse_seconds(text, "max-time"); }, print_real),
      field_row(
          make_row("seed",
                   {.verbs = kComputing, .argument = "N", .help = "of order, random weights, sampling and examples"},
                   ValueKind::Number),
          &Settings::seed, [](std::string_view text) { return parse_seed(text, "seed"); },
          [](std::uint64_t value) { return std::to_string(value); }),
      switch_row("shuffle", &Settings::shuffle,
                 {.help = "shuffle rows anew in every epoch (--no-shuffle: file order)"}),
  };
}

std::vector<OptionRow> execution_rows() {
  return {
      choice_row("activations", &Settings::activations, std::span<const Spelling<ActivationMode>>(kActivations),
                 {.argument = "auto|keep|spill|recompute", .help = "what becomes of saved activations"}),
      gradient_checkpointing_row(),
      choice_row("schedule", &Settings::schedule, std::span<const Spelling<ScheduleOrder>>(kOrders),
                 {.argument = "vertical|horizontal",
                  .help = "micro-batches in groups that the plan chooses, up to all together; or one after the other"}),
      integer_row("nproc", &Settings::nproc, {1, 65536},
                  {.argument = "N",
                   .help = "ranks on this machine; of `plan`, on each node",
                   .aliases = {"nproc_per_node", "num_processes", "gpus_per_node"},
                   .absent = "1"}),
      integer_row("nodes", &Settings::nodes, {1, 16384},
                  {.verbs = kPlan,
                   .argument = "N",
                   .help = "plan for so many machines joined by a network",
                   .aliases = {"nnodes", "num_nodes"},
                   .absent = "1"}),
      integer_row("restarts", &Settings::restarts, {0, 1 << 20},
                  {.verbs = kTrain,
                   .argument = "N",
                   .help = "start again from the newest checkpoint, at most so often, when a rank is lost",
                   .aliases = {"max_restarts"}}),
      text_row("collective", &Settings::collective,
               {.argument = "gloo|mpi|nccl", .help = "library of the ranks", .absent = "best for the device"}),
      field_row(
          make_row("collective-timeout",
                   {.argument = "TIME",
                    .help = "a rank that waits longer for another one ends the run (exit code 5)",
                    .aliases = {"ddp_timeout"},
                    .absent = "10min"},
                   ValueKind::Number),
          &Settings::collective_timeout,
          [](std::string_view text) { return parse_seconds(text, "collective-timeout"); }, print_real),
      integer_row("zero-stage", &Settings::zero_stage, {0, 3},
                  {.argument = "0..3", .help = "what the ranks share out", .absent = "1"}),
      integer_row(
          "zero-shard-size", &Settings::zero_shard_size, {2, 65536},
          {.argument = "N",
           .help = "share out among N neighbouring ranks (a machine's); each such group holds all, and gradients "
                   "are summed within it, then across",
           .aliases = {"mics_shard_size"},
           .absent = "all ranks"}),
      choice_row("reduce-order", &Settings::reduce_order, std::span<const Spelling<ReduceOrder>>(kReduceOrders),
                 {.argument = "ranks|fixed",
                  .help = "gradients are summed rank by rank; or micro-batch by micro-batch, exchanging each: the same "
                          "bits for any number of ranks"}),
      choice_row("gradient-compression", &Settings::gradient_compression,
                 std::span<const Spelling<GradientCompression>>(kCompressions),
                 {.argument = "none|1bit",
                  .help = "ranks send signs and a magnitude for each 256 numbers of a gradient, and keep the rest for "
                          "the next step"}),
      integer_row("compression-warmup-steps", &Settings::compression_warmup_steps, {0, std::int64_t{1} << 40},
                  {.argument = "N", .help = "steps before --gradient-compression begins"}),
      text_row("deepspeed", &Settings::deepspeed,
               {.argument = "FILE",
                .help = "a DeepSpeed config.json (`sluice list deepspeed`); flags and --config win",
                .aliases = {"deepspeed_config"},
                .absent = "none"}),
      switch_row("dry-run", &Settings::dry_run, {.verbs = kTrain, .help = "stop after the plan"}),
      switch_row("verbose", &Settings::verbose, {.verbs = kEveryVerb, .help = "say more on standard error"}),
  };
}

std::vector<OptionRow> checkpoint_rows() {
  OptionRow resume = text_row(
      "resume", &Settings::resume,
      {.argument = "auto|PATH|never", .help = "go on from a checkpoint", .aliases = {"resume_from_checkpoint"}});
  resume.set = [](Settings& settings, std::string_view text) {
    const std::string folded = fold_name(text);  // transformers takes true and false here
    settings.resume = folded == "true" ? "auto" : folded == "false" ? "never" : std::string(text);
    if (text.empty()) throw_bad_value("resume", "auto, never or the path of a checkpoint", text);
  };
  return {
      integer_row("save-steps", &Settings::save_steps, kSteps,
                  {.argument = "N", .help = "write a checkpoint every N steps", .absent = "at the end only"}),
      integer_row("keep", &Settings::keep, {1, 1 << 20},
                  {.argument = "N", .help = "newest checkpoints to keep", .aliases = {"save_total_limit"}}),
      std::move(resume),
      switch_row("keep-best", &Settings::keep_best,
                 {.help = "keep the checkpoint with the best held-out loss, too; OUTPUT gets its weights",
                  .aliases = {"load_best_model_at_end"}}),
      data_row("eval-data", &Settings::eval_data,
               {.argument = "FILE,...",
                .help = "held-out data",
                .aliases = {"validation_file", "eval_dataset", "eval_file"},
                .absent = "none"}),
      real_row("validation-split", &Settings::validation_split, {0, 1, true, true},
               {.argument = "X",
                .help = "hold out this share of the training data: the end of a text, random examples of chats",
                .aliases = {"val_size", "val_set_size", "test_size"},
                .absent = "none"}),
      integer_row("eval-steps", &Settings::eval_steps, kSteps,
                  {.argument = "N", .help = "held-out loss every N steps", .absent = "at the end, with held-out data"}),
      integer_row("max-tokens", &Settings::max_tokens, {2, std::int64_t{1} << 50},
                  {.verbs = kTraining | kEval,
                   .argument = "N",
                   .help = "use at most so many tokens of held-out data",
                   .absent = "all"}),
      data_row("tasks", &Settings::tasks,
               {.verbs = kEval,
                .argument = "FILE.jsonl[,FILE]",
                .help = "score items with choices or targets (`sluice data convert` makes such files)",
                .absent = "none"}),
      text_row("predictions", &Settings::predictions,
               {.verbs = kEval,
                .argument = "FILE",
                .help = "with --tasks: JSON lines with each item's log-likelihoods and picks",
                .absent = "none"}),
      integer_row("few-shot", &Settings::few_shot, {0, 1 << 20},
                  {.verbs = kEval,
                   .argument = "N",
                   .help = "with --tasks: answered examples before each item, drawn by --seed",
                   .aliases = {"num_fewshot"}}),
      text_row("few-shot-data", &Settings::few_shot_data,
               {.verbs = kEval,
                .argument = "FILE.jsonl",
                .help = "where the examples come from",
                .absent = "the task's own file"}),
      integer_row("limit", &Settings::limit, {1, std::int64_t{1} << 40},
                  {.verbs = kEval, .argument = "N", .help = "with --tasks: only the first N items", .absent = "all"}),
      switch_row("add-bos", &Settings::add_bos,
                 {.verbs = kEval,
                  .help = "with --tasks: BOS before every text, as Llama models know it from training",
                  .aliases = {"add_bos_token"}}),
      switch_row("merge-adapter", &Settings::merge_adapter,
                 {.verbs = kExport, .help = "merge the adapter into the weights"}),
  };
}

std::vector<OptionRow> generation_rows() {
  return {
      text_row("prompt", &Settings::prompt, {.verbs = kSample, .argument = "TEXT", .help = "text to continue"}),
      switch_row("chat", &Settings::chat,
                 {.verbs = kSample, .help = "put the prompt into the model's chat template as a question"}),
      text_row("system", &Settings::system,
               {.verbs = kSample, .argument = "TEXT", .help = "with --chat: the system message", .absent = "none"}),
      integer_row("max-new-tokens", &Settings::max_new_tokens, {1, std::int64_t{1} << 24},
                  {.verbs = kSample, .argument = "N", .help = "tokens to add at most"}),
      real_row("temperature", &Settings::temperature, {0, kInfinity},
               {.verbs = kSample, .argument = "T", .help = "0: always the likeliest token"}),
      integer_row("top-k", &Settings::top_k, {0, std::int64_t{1} << 24},
                  {.verbs = kSample, .argument = "K", .help = "draw from the K likeliest tokens; 0: from all"}),
      real_row("top-p", &Settings::top_p, {0, 1, true, false},
               {.verbs = kSample, .argument = "P", .help = "draw from the likeliest tokens that make up P"}),
  };
}

}  // namespace sluice::recipe
