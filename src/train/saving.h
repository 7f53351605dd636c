// From the plan's places to files: checkpoints that resume bit for bit, and the final Hugging Face folder.
#pragma once
#include <filesystem>
#include <span>

#include "checkpoint/writer.h"
#include "format/vocabulary.h"
#include "train/trainer.h"

namespace sluice::train {

/// config, generation_config and tokenizer files: as the source model has them, or with `tokenizer_files` in place of
/// its own. Made before memory is measured: building a tokenizer from a GGUF takes more for a moment than a full arena
/// leaves.
[[nodiscard]] std::vector<checkpoint::SideFile> model_side_files(const recipe::Settings& settings,
                                                                 const format::ModelConfig& config,
                                                                 format::NamedTexts tokenizer_files = {});

/// Saves OUTPUT/checkpoint-STEP, deletes those of later steps (of a run that this one began anew or further back) and
/// prunes older ones; with --keep-best, all but the best. Nothing may be pending
/// (Trainer::flush). The caller holds the folder's lock.
void save_checkpoint(Session& session, const std::filesystem::path& output, const TrainerState& state,
                     std::span<float> staging);

/// Writes the model's files into `output`: config, weights, tokenizer; complete or not at all. The weights are those of
/// `from`, or the session's where it is null.
void save_model(Session& session, const std::filesystem::path& output, std::span<float> staging,
                const format::WeightSource* from = nullptr);

}  // namespace sluice::train
