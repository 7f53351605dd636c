// What one operator costs in time: its work over a rate that was measured for shapes like its own.
#pragma once
#include <span>

#include "plan/machine.h"
#include "plan/trace.h"

namespace sluice::plan {

/// Rate for a shape between measured ones: their rates' geometric mean, weighted by the inverse fourth power of the
/// distance between the logarithms of the shapes. 0 without points. Beyond the points the nearest ones decide.
[[nodiscard]] Flops rate_at(std::span<const ShapeRate> points, const ShapeRate& shape);

/// Rate for a size: linear between neighbouring points in logarithms of size and rate, constant beyond the ends. 0
/// without points.
[[nodiscard]] BytesPerSecond rate_at(std::span<const SizeRate> points, Bytes size);

/// Predicted seconds of one operator in tier 0, its launch included. A rate of 0 is one that nobody measured: it limits
/// nothing. A product measured with its memory traffic (a curve) is not charged for it again.
[[nodiscard]] Seconds predict_op(const OpCost& op, const ComputeRate& rate);

/// Predicted seconds of one computation in tier 0 from its operator list.
[[nodiscard]] Seconds predict_compute(const ComputeTrace& compute, const Machine& machine);

}  // namespace sluice::plan
