// What the user asked for: every option of every verb, typed and defaulted. Text forms (flags, config files, run.yaml,
// JSON) come from one table of rows (option_table.h); this is only the result.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/narrow.h"
#include "base/units.h"
#include "optim/weight_precision.h"

namespace sluice::recipe {

using DType = NumberFormat;
/// Of the linear maps of an adapter's frozen base: as the other weights, or in NF4.
enum class BaseFormat { Stored, Nf4 };
enum class UpdateMode { Auto, Backward, NextForward, Sweep };
enum class UpdatePlace { Host, Device };
enum class ClipMode { Global, TwoPass, Block, Value };
enum class Decay { Matrices, All };
enum class NanPolicy { Skip, Stop };
enum class ActivationMode { Auto, Keep, Spill, Recompute };
enum class ScheduleOrder { Vertical, Horizontal };
enum class ReduceOrder { Ranks, Fixed };
enum class GradientCompression { None, OneBit };

/// Parameters whose names match a glob, and what is theirs.
struct ParamGroup {
  std::string pattern;
  std::optional<double> lr;         ///< highest rate instead of `lr`; the schedule's rate changes in proportion
  std::optional<double> lr_factor;  ///< the same as a multiple of `lr`
  std::optional<double> weight_decay;
  bool operator==(const ParamGroup&) const = default;
};

/// An empty string or optional is "not given": the program then decides as the row's help says. Paths are as typed.
struct Settings {
  // Files.
  std::string model;
  std::string data;  ///< FILE[:WEIGHT], several with commas
  std::string data_format = "auto";
  std::string tokenizer;      ///< empty: the model's
  std::string chat_template;  ///< a Jinja file; empty: the model's
  std::string output;
  std::string eval_data;
  std::optional<double> validation_split;  ///< share of the training data held out
  std::string metrics;                     ///< empty: metrics.jsonl in the output folder
  std::string json;                        ///< one JSON object with the result
  bool init_random = false;

  // Memory and device.
  std::optional<Bytes> host_memory;
  std::optional<Bytes> device_memory;
  std::optional<Bytes> disk_memory;
  std::vector<std::string> spill_dir;
  std::optional<Bytes> disk_write_limit;  ///< bytes a day
  std::string device = "auto";
  std::optional<UpdatePlace> update_on;  ///< absent: as the machine has it, which is the host
  std::string machine;                   ///< name or file for `plan`; empty: this machine
  std::optional<int> threads;

  // Shape and length.
  std::int64_t seq_len = 512;
  std::int64_t micro_batch_size = 1;
  std::int64_t grad_accumulation = 1;
  std::optional<std::int64_t> max_steps;
  std::optional<double> epochs;  ///< neither this nor max_steps: one epoch
  std::optional<Seconds> max_time;
  std::uint64_t seed = 0;
  bool shuffle = true;

  // Update.
  std::string optimizer = "adamw";
  double lr = 1e-5;
  double weight_decay = 0.01;
  std::optional<double> beta1, beta2, eps, momentum;  ///< absent: the rule's own defaults
  Decay decay = Decay::Matrices;
  std::map<std::string, std::string> optimizer_options;
  std::vector<ParamGroup> param_groups;  ///< of one parameter the first that matches
  std::string lr_schedule = "cosine";
  std::map<std::string, std::string> lr_schedule_options;
  std::int64_t warmup_steps = 0;
  double max_grad_norm = 1.0;         ///< 0: no clipping
  std::optional<ClipMode> clip_mode;  ///< absent: two-pass for lomo, else global
  UpdateMode update = UpdateMode::Auto;
  NanPolicy nan_policy = NanPolicy::Skip;
  std::int64_t max_skipped_steps = 20;  ///< so many skipped steps in a row end the run

  // What is trained.
  std::vector<std::string> freeze;  ///< patterns of parameter names
  std::string adapter;              ///< "lora", "rslora", "dora" or what is refused; empty: all parameters are trained
  std::string adapter_path;         ///< folder of an adapter to begin with, or to evaluate
  std::optional<std::int64_t> lora_rank;
  std::optional<double> lora_alpha;
  std::vector<std::string> lora_targets;  ///< empty: PEFT's of the family
  double lora_dropout = 0;
  std::map<std::string, std::string> lora_rank_pattern, lora_alpha_pattern;
  std::optional<bool> use_rslora, use_dora;  ///< other programs' switches beside another adapter
  std::string base_optimizer;                ///< rule of the base, trained beside its adapter; empty: it is frozen
  std::optional<double> base_lr, base_weight_decay;  ///< absent: those of the adapter
  std::map<std::string, std::string> base_optimizer_options;
  BaseFormat base_dtype = BaseFormat::Stored;

  // Precision.
  std::optional<DType> weights_dtype;         ///< absent: as stored, where a run knows its file
  std::optional<optim::Master> master_dtype;  ///< absent: none for fp32 weights, fp32 for others
  std::optional<DType> moments_dtype;
  std::optional<DType> compute_dtype;
  std::optional<DType> dtype;             ///< of `export`
  std::optional<DType> reduce_dtype;      ///< of gradients between ranks
  std::optional<std::string> loss_scale;  ///< "dynamic" or a number
  std::map<std::string, std::string> loss_scale_options;
  std::optional<bool> stochastic_rounding;

  // Execution.
  ActivationMode activations = ActivationMode::Auto;
  ScheduleOrder schedule = ScheduleOrder::Vertical;
  std::optional<int> nproc;  ///< ranks of each node
  std::optional<int> nodes;  ///< of `plan`
  int restarts = 0;
  std::string collective;
  std::optional<Seconds> collective_timeout;
  std::optional<int> zero_stage;
  std::optional<int> zero_shard_size;  ///< ranks of a group; absent: all
  ReduceOrder reduce_order = ReduceOrder::Ranks;
  GradientCompression gradient_compression = GradientCompression::None;
  std::int64_t compression_warmup_steps = 0;  ///< in which it does nothing yet
  std::string deepspeed;                      ///< a file, while settings are read

  // Checkpoints and evaluation.
  std::optional<std::int64_t> save_steps;  ///< absent: at the end only
  int keep = 2;
  std::string resume = "auto";  ///< "auto", "never" or a path
  bool keep_best = false;
  std::optional<std::int64_t> eval_steps;
  std::optional<std::int64_t> max_tokens;  ///< of `eval` and held-out evaluation: use at most so many
  std::string tasks;                       ///< of `eval`: files of items to score, with commas
  std::string predictions;
  std::int64_t few_shot = 0;
  std::string few_shot_data;          ///< empty: the task's own file
  std::optional<std::int64_t> limit;  ///< of items
  bool add_bos = false;
  bool merge_adapter = false;

  // Generation.
  std::string prompt;
  bool chat = false;   ///< the prompt is a question, put into the chat template
  std::string system;  ///< of `chat`: the system message
  std::int64_t max_new_tokens = 128;
  double temperature = 1.0;  ///< 0: greedy
  std::int64_t top_k = 50;   ///< 0: off
  double top_p = 1.0;

  // The run itself.
  bool dry_run = false;
  bool verbose = false;

  bool operator==(const Settings&) const = default;
};

/// One flag as typed: "--seq-len 512" or "--seq_len=512" is {"seq-len", "512"}; a switch has the value "true" or
/// "false".
struct NamedValue {
  std::string name;
  std::string value;
};

/// What a DeepSpeed file is read for, and what is to be said of it.
struct DeepSpeedRequest {
  int launched_ranks = 1;        ///< of the job, where `nproc` does not say it
  std::string* table = nullptr;  ///< a line for each key of the file, with what became of it
};

/// Defaults, then the file that `deepspeed` names, then `config_file` (YAML or JSON; empty: none), then `flags`; the
/// later wins. Lists are replaced as a whole; a list flag that comes several times accumulates. `deepspeed` is empty in
/// the result, which holds all that the file said. Throws ConfigError for unknown names (with the nearest known one),
/// values that are not what the row expects, two spellings of one key in the file; IoError when a file is missing.
Settings read_settings(std::span<const NamedValue> flags, const std::filesystem::path& config_file = {},
                       const DeepSpeedRequest& deepspeed = {});

/// One JSON object with every option that is set or defaulted, keys as in the file with '_'. `from_json(to_json(s)) ==
/// s`.
std::string to_json(const Settings& settings);
Settings from_json(std::string_view text);

/// The same as YAML: the text of run.yaml, which `--config` reads back to equal settings.
std::string to_yaml(const Settings& settings);

}  // namespace sluice::recipe
