#include "recipe/deepspeed_batch.h"

#include <limits>
#include <string>

#include "base/error.h"

namespace sluice::recipe {
namespace {

void check_positive(const std::optional<std::int64_t>& size, const char* key) {
  constexpr auto kMost = std::numeric_limits<std::int32_t>::max();
  if (!size || (*size > 0 && *size <= kMost)) return;
  throw ConfigError("deepspeed", std::string("'") + key + "' cannot be used",
                    "expected a number above 0, got " + std::to_string(*size));
}

void check_all(const BatchSizes& sizes) {
  check_positive(sizes.train, "train_batch_size");
  check_positive(sizes.micro, "train_micro_batch_size_per_gpu");
  check_positive(sizes.accumulation, "gradient_accumulation_steps");
}

}  // namespace

BatchSizes complete_batch(BatchSizes sizes, int num_ranks) {
  check_all(sizes);
  auto& [train, micro, accumulation] = sizes;
  if (!train && !micro)
    throw ConfigError("deepspeed", "the size of the batch is not known",
                      "expected train_batch_size or train_micro_batch_size_per_gpu, got neither",
                      "add one of them, or give --micro-batch-size");
  if (!train) {
    accumulation = accumulation.value_or(1);
    train = *micro * *accumulation * num_ranks;
  } else if (!micro) {
    accumulation = accumulation.value_or(1);
    micro = *train / num_ranks / *accumulation;
  } else if (!accumulation) {
    accumulation = *train / *micro / num_ranks;
  }
  const std::int64_t per_rank = *micro * *accumulation;
  if (*train == per_rank * num_ranks && per_rank > 0) {
    check_all(sizes);
    return sizes;
  }
  const bool other_ranks = per_rank > 0 && *train % per_rank == 0;
  throw ConfigError("deepspeed", "the sizes of the batch contradict each other",
                    "expected train_batch_size = train_micro_batch_size_per_gpu x gradient_accumulation_steps x ranks, "
                    "got " +
                        std::to_string(*train) + " != " + std::to_string(*micro) + " x " +
                        std::to_string(*accumulation) + " x " + std::to_string(num_ranks),
                    other_ranks ? "use --nproc " + std::to_string(*train / per_rank) + ", or change one of the three"
                                : "leave one of the three out");
}

}  // namespace sluice::recipe
