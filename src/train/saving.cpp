#include "train/saving.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "format/gguf.h"
#include "format/model_dir.h"
#include "format/peft.h"
#include "recipe/support.h"
#include "train/joint_reads.h"
#include "train/joint_save.h"
#include "train/make_folders.h"
#include "train/saved_state.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

void retract(const fs::path& file) {
  std::error_code error;
  fs::remove(file, error);
  if (error) throw_errno("save", "remove", file.string(), error.value());
  sync_folder(file.parent_path());
}

// `save` on rank 0, with a reader of the whole state; the others meanwhile give what they hold of it.
void save_together(const Session& session, const SavedState& state, std::span<float> staging,
                   const std::function<void(const checkpoint::ReadState&)>& save) {
  const JointReads joint(*session.ranks, [&](std::int64_t index, std::int64_t first, std::span<std::byte> into) {
    state.read(state.tensors()[index], first, into);
  });
  if (!session.ranks->is_first()) return joint.serve(std::as_writable_bytes(staging));
  try {
    save([&](const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) {
      if (state.is_divided(tensor)) {
        joint.read(state.index_of(tensor), first, into);
      } else {
        state.read(tensor, first, into);
      }
    });
  } catch (const CommError&) {
    throw;
  } catch (...) {
    if (session.ranks->are_many()) joint.finish(true);
    throw;
  }
  if (session.ranks->are_many()) joint.finish(false);
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
  for (const std::string& name :
       format::write_model_files(scratch, config, source, dtype_of(recipe::model_precision(settings).weights)))
    if (!replaced || std::ranges::find(tokenizer_names, name) == tokenizer_names.end())
      files.emplace_back(name, read_text(scratch / name));
  for (auto& file : tokenizer_files) files.push_back(std::move(file));
  fs::remove_all(scratch);
  return files;
}

void save_checkpoint(Session& session, const fs::path& output, const TrainerState& state, std::span<float> staging) {
  const SavedState saved(session, true);
  checkpoint::CheckpointContents contents{saved.tensors(), to_json(state, session.settings), session.side_files};
  for (const checkpoint::SideFile& file : session.base_side_files) {
    if (std::ranges::find(contents.side_files, file.first, &checkpoint::SideFile::first) == contents.side_files.end())
      contents.side_files.push_back(file);
  }
  const fs::path folder = output / ("checkpoint-" + std::to_string(state.step));
  if (session.ranks->are_many()) {
    write_joint_checkpoint(session, saved, folder, std::move(contents), staging);
    if (!session.ranks->is_first()) return;
  } else {
    const auto read = [&](const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) {
      saved.read(tensor, first, into);
    };
    checkpoint::write_checkpoint(folder, contents, read, staging);
  }
  checkpoint::discard_later_checkpoints(output, state.step);
  const bool protect_best = session.settings.keep_best && state.best_step > 0;
  checkpoint::prune_checkpoints(output, session.settings.keep,
                                protect_best ? std::optional(state.best_step) : std::nullopt);
}

void save_model(Session& session, const fs::path& output, std::span<float> staging, const format::WeightSource* from) {
  const SavedState saved(session, false);
  const checkpoint::ReadState copy = [&](const checkpoint::StateTensor& tensor, std::int64_t first,
                                         std::span<std::byte> into) {
    read_as(tensor.dtype, first, into,
            [&](std::int64_t at, std::span<float> values) { from->read(tensor.name, at, values); });
  };
  save_together(session, saved, staging, [&](const checkpoint::ReadState& held) {
    const checkpoint::ReadState& read = from != nullptr ? copy : held;
    const bool has_base = session.run_model.trains_base;
    if (has_base) {
      retract(output / format::kAdapterConfigName);  // an older adapter is none of the new base
      make_folders(output / kBaseFolder);
      checkpoint::write_model_folder(output / kBaseFolder, {saved.tensors_of(kModel), session.base_side_files}, read,
                                     staging);
    }
    checkpoint::write_model_folder(
        output, {has_base ? saved.tensors_of(kAdapter) : saved.tensors(), session.side_files}, read, staging);
  });
}

}  // namespace sluice::train
