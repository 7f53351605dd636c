#include "train/saving.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "format/gguf.h"
#include "format/model_dir.h"
#include "train/make_folders.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

/// Where a named tensor lies in the state.
struct TensorPlace {
  plan::BufferKind kind;
  int chunk, moment;
  std::int64_t first_element;
};

struct StateTable {
  std::vector<checkpoint::StateTensor> tensors;
  std::map<std::string, TensorPlace> places;  // by file and name
};

StateTable state_table(const Session& session, bool with_moments) {
  StateTable table;
  const auto add = [&](const std::string& file, const std::string& name, const plan::ParameterSlot& slot,
                       TensorPlace place) {
    table.tensors.push_back({file, name, slot.shape});
    table.places.emplace(file + ":" + name, place);
  };
  const int num_moments = with_moments ? session.request.recipe.num_moments : 0;
  for (int moment = -1; moment < num_moments; ++moment) {
    for (int chunk = 0; chunk < static_cast<int>(session.trace.chunks.size()); ++chunk) {
      for (const plan::ParameterSlot& slot : session.trace.chunks[chunk].parameters) {
        if (moment < 0) {
          add("model", slot.name, slot, {plan::BufferKind::Weight, chunk, -1, slot.first_element});
        } else {
          const std::string state = session.rule->states()[moment].name;
          add("optimizer", state + "/" + slot.name, slot,
              {plan::BufferKind::Moment, chunk, moment, slot.first_element});
        }
      }
    }
  }
  return table;
}

checkpoint::ReadState reader(Session& session, const StateTable& table) {
  return [&](const checkpoint::StateTensor& tensor, std::int64_t first, std::span<float> into) {
    const TensorPlace& place = table.places.at(tensor.file + ":" + tensor.name);
    session.state->read(place.kind, place.chunk, place.moment, place.first_element + first, into);
  };
}

}  // namespace

std::vector<checkpoint::SideFile> model_side_files(const recipe::Settings& settings, const format::ModelConfig& config,
                                                   format::NamedTexts tokenizer_files) {
  std::string pattern = (fs::temp_directory_path() / "sluice-side-files-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    throw_errno("save", "create a temporary folder", pattern, errno, "set TMPDIR to a writable folder");
  const fs::path scratch = pattern;
  const bool replaced = !tokenizer_files.empty();
  // The source's generation_config.json speaks of the source's vocabulary.
  const bool copied = fs::exists(settings.model) && !(settings.init_random && replaced);
  const fs::path source = copied ? fs::path(settings.model) : fs::path();
  const auto& tokenizer_names = format::tokenizer_file_names();
  std::vector<checkpoint::SideFile> files;
  for (const std::string& name : format::write_model_files(scratch, config, source, "F32"))
    if (!replaced || std::ranges::find(tokenizer_names, name) == tokenizer_names.end())
      files.emplace_back(name, read_text(scratch / name));
  for (auto& file : tokenizer_files) files.push_back(std::move(file));
  fs::remove_all(scratch);
  return files;
}

void save_checkpoint(Session& session, const fs::path& output, const TrainerState& state, std::span<float> staging) {
  const StateTable table = state_table(session, true);
  checkpoint::CheckpointContents contents{table.tensors, to_json(state, session.settings), session.side_files};
  checkpoint::write_checkpoint(output / ("checkpoint-" + std::to_string(state.step)), contents, reader(session, table),
                               staging);
  checkpoint::discard_later_checkpoints(output, state.step);
  const bool protect_best = session.settings.keep_best && state.best_step > 0;
  checkpoint::prune_checkpoints(output, session.settings.keep,
                                protect_best ? std::optional(state.best_step) : std::nullopt);
}

void save_model(Session& session, const fs::path& output, std::span<float> staging, const format::WeightSource* from) {
  const StateTable table = state_table(session, false);
  const checkpoint::ReadState copy = [&](const checkpoint::StateTensor& tensor, std::int64_t first,
                                         std::span<float> into) { from->read(tensor.name, first, into); };
  checkpoint::write_model_folder(output, {table.tensors, session.side_files},
                                 from != nullptr ? copy : reader(session, table), staging);
}

}  // namespace sluice::train
