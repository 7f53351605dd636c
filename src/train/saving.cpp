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
  int moment;
  std::vector<plan::PublishedTensor::Part> parts;
};

struct StateTable {
  std::vector<checkpoint::StateTensor> tensors;
  std::map<std::string, TensorPlace> places;  // by file and name
};

StateTable state_table(const Session& session, bool with_moments) {
  StateTable table;
  const int num_moments = with_moments ? session.request.recipe.num_moments : 0;
  for (int moment = -1; moment < num_moments; ++moment) {
    const bool weight = moment < 0;
    const std::string file = weight ? "model" : "optimizer";
    const std::string prefix = weight ? "" : session.rule->states()[moment].name + "/";
    for (const plan::PublishedTensor& tensor : plan::published_tensors(session.trace.chunks)) {
      table.tensors.push_back({file, prefix + tensor.name, tensor.shape});
      const plan::BufferKind kind = weight ? plan::BufferKind::Weight : plan::BufferKind::Moment;
      table.places.emplace(file + ":" + prefix + tensor.name, TensorPlace{kind, moment, tensor.parts});
    }
  }
  return table;
}

checkpoint::ReadState reader(Session& session, const StateTable& table) {
  return [&](const checkpoint::StateTensor& tensor, std::int64_t first, std::span<float> into) {
    const TensorPlace& place = table.places.at(tensor.file + ":" + tensor.name);
    const std::int64_t last = first + static_cast<std::int64_t>(into.size());
    std::int64_t part_begin = 0;
    for (const plan::PublishedTensor::Part& part : place.parts) {
      const std::int64_t begin = std::max(first, part_begin), end = std::min(last, part_begin + part.num_elements);
      if (begin < end) {
        session.state->read(place.kind, part.chunk, place.moment, part.first_element + begin - part_begin,
                            into.subspan(begin - first, end - begin));
      }
      part_begin += part.num_elements;
    }
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
