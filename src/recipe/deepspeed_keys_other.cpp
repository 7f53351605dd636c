// Keys of activations, records, checkpoints, and of what DeepSpeed has beside training.
#include "recipe/deepspeed_keys.h"

namespace sluice::recipe {
namespace {

using enum KeyFate;

constexpr std::string_view kActivations = "`--activations`: the plan chooses what is kept, spilled or recomputed";
constexpr std::string_view kMetrics = "`metrics.jsonl` has every step, `report.html` and `trace.json` the run";
constexpr std::string_view kBytes = "`metrics.jsonl` counts bytes and time of exchanges";
constexpr std::string_view kSaved = "checkpoints are written in parallel, whole or absent, with checksums";
constexpr std::string_view kNeverUsed = "DeepSpeed itself does not read it";
constexpr std::string_view kNoPipeline = "there is no pipeline";

constexpr DeepSpeedKey kKeys[] = {
    {"activation_checkpointing.partition_activations", "bool", NoEffect, kActivations},
    {"activation_checkpointing.cpu_checkpointing", "bool", NoEffect, kActivations},
    {"activation_checkpointing.contiguous_memory_optimization", "bool", NoEffect, kActivations},
    {"activation_checkpointing.number_checkpoints", "int", NoEffect, kActivations},
    {"activation_checkpointing.synchronize_checkpoint_boundary", "bool", NoEffect, kActivations},
    {"activation_checkpointing.profile", "bool", NoEffect, kActivations},

    {"steps_per_print", "int", NoEffect, kMetrics},
    {"wall_clock_breakdown", "bool", NoEffect, kMetrics},
    {"memory_breakdown", "bool", NoEffect, kMetrics},
    {"dump_state", "bool", NoEffect, "`run.yaml` has the resolved configuration"},
    {"log_level", "text", NoEffect, "use `--verbose`"},
    {"vocabulary_size", "int", NoEffect, "a hint about speed on tensor cores"},
    {"dataloader_drop_last", "bool", NoEffect, "a last window that is not full takes rows from the start"},
    {"graph_harvesting", "bool", NoEffect, "there are no CUDA graphs"},
    {"use_data_before_expert_parallelism", "bool", NoEffect, "there are no experts"},
    {"timers", "map", NoEffect, kMetrics},
    {"tensorboard.enabled", "bool", NoEffect, kMetrics},
    {"tensorboard.output_path", "text", NoEffect, kMetrics},
    {"tensorboard.job_name", "text", NoEffect, kMetrics},
    {"csv_monitor.enabled", "bool", NoEffect, kMetrics},
    {"csv_monitor.output_path", "text", NoEffect, kMetrics},
    {"csv_monitor.job_name", "text", NoEffect, kMetrics},
    {"wandb.enabled", "bool", NoEffect, kMetrics},
    {"wandb.group", "text", NoEffect, kMetrics},
    {"wandb.team", "text", NoEffect, kMetrics},
    {"wandb.project", "text", NoEffect, kMetrics},
    {"comet", "map", NoEffect, kMetrics},
    {"monitor_config", "map", NoEffect, kMetrics},
    {"comms_logger.enabled", "bool", NoEffect, kBytes},
    {"comms_logger.verbose", "bool", NoEffect, kBytes},
    {"comms_logger.prof_all", "bool", NoEffect, kBytes},
    {"comms_logger.debug", "bool", NoEffect, kBytes},
    {"comms_logger.prof_ops", "list", NoEffect, kBytes},
    {"flops_profiler.enabled", "bool", NoEffect, kMetrics},
    {"flops_profiler.profile_step", "int", NoEffect, kMetrics},
    {"flops_profiler.module_depth", "int", NoEffect, kMetrics},
    {"flops_profiler.top_modules", "int", NoEffect, kMetrics},
    {"flops_profiler.detailed", "bool", NoEffect, kMetrics},
    {"flops_profiler.output_file", "text", NoEffect, kMetrics},
    {"flops_profiler.recompute_fwd_factor", "number", NoEffect, kMetrics},

    {"checkpoint.tag_validation", "text", NoEffect, kSaved},
    {"checkpoint.load_universal", "bool", NoEffect, "every checkpoint loads at any number of ranks and stage"},
    {"checkpoint.use_node_local_storage", "bool", NoEffect, kSaved},
    {"checkpoint.parallel_write", "map", NoEffect, kSaved},
    {"checkpoint.checkpoint_serialization", "bool", NoEffect, kSaved},
    {"checkpoint.writer", "map", NoEffect, kSaved},
    {"nebula", "map", NoEffect, kSaved},
    {"datastates_ckpt", "map", NoEffect, kSaved},
    {"load_universal_checkpoint", "bool", NoEffect, "every checkpoint loads at any number of ranks and stage"},

    {"pipeline.stages", "text", NoEffect, kNeverUsed},
    {"pipeline.partition", "text", NoEffect, kNeverUsed},
    {"pipeline.seed_layers", "bool", NoEffect, kNeverUsed},
    {"pipeline.activation_checkpoint_interval", "int", NoEffect, kActivations},
    {"pipeline.pipe_partitioned", "bool", NoEffect, kNoPipeline},
    {"pipeline.grad_partitioned", "bool", NoEffect, kNoPipeline},
    {"pipeline.use_reentrant", "bool", NoEffect, kNoPipeline},
    {"tensor_parallel.autotp_size", "int", Refused, "ranks divide data and state; use zero_optimization", {}, "0"},
    {"tensor_parallel.tp_overlap_comm", "bool", NoEffect, "there is no tensor parallelism"},
    {"tensor_parallel.preset_model", "text", NoEffect, "there is no tensor parallelism"},
    {"tensor_parallel.partition_config", "map", NoEffect, "there is no tensor parallelism"},
    {"expert_parallel", "map", Refused, "there are no experts", {}, "enabled"},
    {"compile", "map", NoEffect, "the step is a plan already"},
    {"hybrid_engine", "map", Refused, "there is no reinforcement learning", {}, "enabled"},
    {"elasticity", "map", Refused, "give the batch; a checkpoint goes on at any number of ranks", {}, "enabled"},
    {"autotuning",
     "map",
     Refused,
     "the planner tries settings itself, `sluice plan` shows what it finds",
     {},
     "enabled"},
    {"curriculum_learning", "map", Refused, "rows have one length", {}, "enabled"},
    {"data_efficiency", "map", Refused, "every token takes every layer", {}, "enabled"},
    {"progressive_layer_drop", "map", Refused, "every token takes every layer", {}, "enabled"},
    {"eigenvalue", "map", Refused, "nothing is quantised by curvature", {}, "enabled"},
    {"sparse_attention", "map", Refused, "attention is dense"},
    {"compression_training", "map", Refused, "train dense, compress afterwards", {}, "enabled"},
    {"quantize_training", "map", Refused, "train dense, compress afterwards", {}, "enabled"},
    {"weight_quantization", "map", Refused, "train dense, compress afterwards", {}, "enabled"},
};

}  // namespace

std::span<const DeepSpeedKey> deepspeed_other_keys() { return kKeys; }

}  // namespace sluice::recipe
