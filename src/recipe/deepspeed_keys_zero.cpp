// Keys of zero_optimization and of the disk.
#include "recipe/deepspeed_keys.h"

namespace sluice::recipe {
namespace {

using enum KeyFate;

constexpr std::string_view kPlanned = "the plan sizes its buffers to the budget";
constexpr std::string_view kWhenNeeded = "the plan knows when each weight is used, and keeps what fits";
constexpr std::string_view kOneWay = "the plan has one way to exchange, the same bits as any";
constexpr std::string_view kExact = "weights and gradients are exchanged exact";
constexpr std::string_view kPlaced = "`--host-memory` and `--device-memory` say what the plan may hold where";
constexpr std::string_view kDisk = "`--spill-dir`; without one on nvme";
constexpr std::string_view kRing = "the disk's queues are the tier's own; `sluice doctor` measures them";

constexpr DeepSpeedKey kKeys[] = {
    {"zero_optimization.stage", "int", Mapped, "`--zero-stage`; true and false in place of the section: 1 and 0"},
    {"zero_optimization.offload_optimizer.device", "none|cpu|nvme", Mapped,
     "nvme (stage 3): `--spill-dir`; cpu: no effect, the plan holds in RAM what the budget allows"},
    {"zero_optimization.offload_optimizer.nvme_path", "text", Mapped, kDisk},
    {"zero_optimization.offload_optimizer.pin_memory", "bool", NoEffect, kPlanned},
    {"zero_optimization.offload_optimizer.buffer_count", "int", NoEffect, kPlanned},
    {"zero_optimization.offload_optimizer.pipeline", "bool", NoEffect, "reads and writes always run beside the update"},
    {"zero_optimization.offload_optimizer.pipeline_read", "bool", NoEffect,
     "reads and writes always run beside the update"},
    {"zero_optimization.offload_optimizer.pipeline_write", "bool", NoEffect,
     "reads and writes always run beside the update"},
    {"zero_optimization.offload_optimizer.fast_init", "bool", NoEffect, "state streams to the disk in pieces"},
    {"zero_optimization.offload_optimizer.ratio", "number", NoEffect, kPlaced},
    {"zero_optimization.offload_optimizer.super_offload", "bool", NoEffect, kPlaced},
    {"zero_optimization.offload_optimizer.convert_grad_on_cpu", "bool", NoEffect, kPlaced},
    {"zero_optimization.offload_optimizer.cpuadam_cores_perc", "number", NoEffect, "updates use `--threads`"},
    {"zero_optimization.offload_param.device", "none|cpu|nvme", Mapped,
     "(stage 3) nvme: `--spill-dir`; cpu: no effect, the plan holds in RAM what the budget allows"},
    {"zero_optimization.offload_param.nvme_path", "text", Mapped, kDisk},
    {"zero_optimization.offload_param.pin_memory", "bool", NoEffect, kPlanned},
    {"zero_optimization.offload_param.buffer_count", "int", NoEffect, kPlanned},
    {"zero_optimization.offload_param.buffer_size", "int", NoEffect, kPlanned},
    {"zero_optimization.offload_param.max_in_cpu", "int", NoEffect, kPlaced},
    {"zero_optimization.cpu_offload", "bool", Mapped, "offload_optimizer.device cpu (its old name)"},
    {"zero_optimization.cpu_offload_params", "bool", Mapped, "offload_param.device cpu (its old name)"},
    {"zero_optimization.cpu_offload_param", "bool", Mapped, "offload_param.device cpu (its old name)"},
    {"zero_optimization.cpu_offload_use_pin_memory", "bool", NoEffect, kPlanned},
    {"zero_optimization.contiguous_gradients", "bool", NoEffect, "gradients are buffers of the plan"},
    {"zero_optimization.reduce_scatter", "bool", NoEffect, kOneWay},
    {"zero_optimization.allgather_partitions", "bool", NoEffect, kOneWay},
    {"zero_optimization.use_multi_rank_bucket_allreduce", "bool", NoEffect, kOneWay},
    {"zero_optimization.reduce_bucket_size", "int", NoEffect, "gradients are exchanged block by block"},
    {"zero_optimization.allgather_bucket_size", "int", NoEffect, "weights are exchanged block by block"},
    {"zero_optimization.overlap_comm", "bool", NoEffect, "the plan puts exchanges beside a neighbour's computation"},
    {"zero_optimization.round_robin_gradients", "bool", NoEffect, kOneWay},
    {"zero_optimization.ignore_unused_parameters", "bool", NoEffect, "every parameter of a model here is used"},
    {"zero_optimization.load_from_fp32_weights", "bool", NoEffect, "checkpoints hold the masters"},
    {"zero_optimization.elastic_checkpoint", "bool", NoEffect, "a checkpoint goes on at any number of ranks"},
    {"zero_optimization.legacy_stage1", "bool", NoEffect, kOneWay},
    {"zero_optimization.sub_group_size", "int", NoEffect, "updates run in slices, which change no bit"},
    {"zero_optimization.stage3_prefetch_bucket_size", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.prefetch_bucket_size", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_param_persistence_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.param_persistence_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_model_persistence_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.model_persistence_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_max_live_parameters", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.max_live_parameters", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_max_reuse_distance", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.max_reuse_distance", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_gather_16bit_weights_on_model_save", "bool", NoEffect,
     "OUTPUT is always a whole Hugging Face folder"},
    {"zero_optimization.gather_16bit_weights_on_model_save", "bool", NoEffect,
     "OUTPUT is always a whole Hugging Face folder"},
    {"zero_optimization.stage3_gather_fp16_weights_on_model_save", "bool", NoEffect,
     "OUTPUT is always a whole Hugging Face folder"},
    {"zero_optimization.stage3_module_granularity_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.module_granularity_threshold", "int", NoEffect, kWhenNeeded},
    {"zero_optimization.stage3_use_all_reduce_for_fetch_params", "bool", NoEffect, kOneWay},
    {"zero_optimization.use_all_reduce_for_fetch_params", "bool", NoEffect, kOneWay},
    {"zero_optimization.stage3_allgather_sequential", "bool", NoEffect, kOneWay},
    {"zero_optimization.allgather_sequential", "bool", NoEffect, kOneWay},
    {"zero_optimization.stage3_partition_stream_chunk_size", "int", NoEffect, kPlanned},
    {"zero_optimization.partition_stream_chunk_size", "int", NoEffect, kPlanned},
    {"zero_optimization.zero_hpz_partition_size", "int", NoEffect, "weights are divided over all ranks; same results"},
    {"zero_optimization.mics_shard_size", "int", NoEffect, "state is divided over all ranks; same results"},
    {"zero_optimization.mics_hierarchical_params_gather", "bool", NoEffect, kOneWay},
    {"zero_optimization.zero_quantized_weights", "bool", NoEffect, kExact},
    {"zero_optimization.zero_quantized_gradients", "bool", NoEffect, kExact},
    {"zero_optimization.zeropp_loco_param", "map", NoEffect, kExact},
    {"zero_optimization.zero_quantized_nontrainable_weights", "bool", NoEffect,
     "what is frozen is stored as `--weights-dtype` says"},
    {"zero_optimization.memory_efficient_linear", "bool", NoEffect, "products keep no more than their backward needs"},
    {"zero_optimization.override_module_apply", "bool", NoEffect, "there are no Python modules"},
    {"zero_optimization.pipeline_loading_checkpoint", "bool", NoEffect, "loading streams within the budget"},
    {"zero_optimization.log_trace_cache_warnings", "bool", NoEffect, "the plan is made once"},
    {"zero_optimization.enable_sanity_checks", "bool", NoEffect, "every plan is checked before it runs"},
    {"zero_optimization.save_muon_momentum_buffer_in_memory", "bool", NoEffect, kPlaced},
    {"zero_optimization.leaf_module", "map", NoEffect, "a block is fetched as a whole or in planned pieces"},
    {"zero_optimization.zenflow", "map", Refused, "updates are never stale; leave it out", {}, {}},
    {"zero_optimization.aio", "map", NoEffect,
     "DeepSpeed wants it beside zero_optimization, not inside; as `aio` there"},
    {"allgather_size", "int", NoEffect, "weights are exchanged block by block"},
    {"aio.block_size", "int", NoEffect, kRing},
    {"aio.queue_depth", "int", NoEffect, kRing},
    {"aio.intra_op_parallelism", "int", NoEffect, kRing},
    {"aio.thread_count", "int", NoEffect, kRing},
    {"aio.single_submit", "bool", NoEffect, kRing},
    {"aio.overlap_events", "bool", NoEffect, kRing},
    {"aio.use_gds", "bool", NoEffect, kRing},
};

}  // namespace

std::span<const DeepSpeedKey> deepspeed_zero_keys() { return kKeys; }

}  // namespace sluice::recipe
