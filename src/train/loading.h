// From files into the plan's places: weights widened to fp32 and states, streamed piece by piece, so that a model
// larger than the budget loads within it.
#pragma once
#include <functional>
#include <vector>

#include "exec/state.h"
#include "format/pieces.h"
#include "format/weight_source.h"
#include "train/session.h"

namespace sluice::train {

/// Names and shapes that the model's chunks hold.
[[nodiscard]] std::vector<format::TensorInfo> expected_tensors(const plan::StepTrace& trace);

/// Fills every chunk from `weights` (checked against config and trace first) or, when it is nullptr, with fresh random
/// values; moments from `states` (named STATE/PARAMETER) or zero.
void load_state(Session& session, const format::WeightSource* weights, const format::PiecedTensors* states,
                std::span<float> staging);

/// What this rank has not sent of its gradients, where the plan keeps that: from a checkpoint of any number of ranks,
/// so that none is lost (rank r of N gets what ranks r, r + N, ... of it had), or zero.
void load_residuals(Session& session, const format::PiecedTensors* residuals, std::span<float> staging);

}  // namespace sluice::train
