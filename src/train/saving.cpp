#include "train/saving.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <map>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "exec/state_layout.h"
#include "format/dequantize.h"
#include "format/gguf.h"
#include "format/model_dir.h"
#include "format/peft.h"
#include "recipe/support.h"
#include "train/joint_reads.h"
#include "train/make_folders.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

const char* dtype_of(const optim::WeightPrecision& precision) {
  switch (precision.weights) {
    case NumberFormat::Fp32:
      break;
    case NumberFormat::Bf16:
      return "BF16";
    case NumberFormat::Fp16:
      return "F16";
  }
  return "F32";
}

// Elements from `first` on in a file's dtype; `read` gives them as fp32.
void read_as(std::string_view dtype, std::int64_t first, std::span<std::byte> into,
             const std::function<void(std::int64_t first, std::span<float> values)>& read) {
  if (dtype == "F32") return read(first, {reinterpret_cast<float*>(into.data()), into.size() / sizeof(float)});
  const std::size_t count = into.size() / sizeof(std::uint16_t);
  std::vector<float> wide(std::min<std::size_t>(count, exec::State::kPiece));  // a stripe of the disk tier
  for (std::size_t done = 0; done < count; done += wide.size()) {
    const std::span values(wide.data(), std::min(wide.size(), count - done));
    std::ranges::fill(values, 0.0F);  // what another rank holds is not read
    read(first + static_cast<std::int64_t>(done), values);
    format::narrow(values, dtype, into.subspan(done * sizeof(std::uint16_t), values.size_bytes() / 2));
  }
}

constexpr const char* kModel = "model";
constexpr const char* kAdapter = "adapter_model";

/// All that is saved, and how to read what this rank holds of it: of an adapter its own weights alone where its base is
/// as it was.
class SavedState {
 public:
  SavedState(Session& session, bool with_states) : session_(session), layout_(session.trace, session.rules) {
    const RunModel& run = session.run_model;
    for (const plan::PublishedTensor& tensor : plan::published_tensors(session.trace.chunks)) {
      const bool of_adapter = tensor.name.starts_with(format::kPeftPrefix);
      if (run.adapter && !of_adapter && !run.trains_base) continue;
      tensors_.push_back({of_adapter ? kAdapter : kModel, tensor.name, tensor.shape,
                          dtype_of((of_adapter ? session.rules.front() : session.rules.back()).precision)});
      weights_.emplace(tensor.name, tensor.parts);
    }
    if (!with_states || session.request.forward_only) return;
    for (exec::StateArray& array : layout_.arrays()) {
      tensors_.push_back({"optimizer", array.name, array.shape, array.dtype});
      arrays_.emplace(array.name, std::move(array));
    }
  }

  [[nodiscard]] const std::vector<checkpoint::StateTensor>& tensors() const { return tensors_; }
  [[nodiscard]] std::vector<checkpoint::StateTensor> tensors_of(const std::string& file) const {
    std::vector<checkpoint::StateTensor> found;
    std::ranges::copy_if(tensors_, std::back_inserter(found), [&](const auto& tensor) { return tensor.file == file; });
    return found;
  }

  /// Whether ranks hold parts of it.
  [[nodiscard]] bool is_divided(const checkpoint::StateTensor& tensor) const {
    const plan::Sharding& sharding = session_.request.recipe.sharding;
    return tensor.file == "optimizer" ? sharding.states() : sharding.weights();
  }
  [[nodiscard]] std::int64_t index_of(const checkpoint::StateTensor& tensor) const {
    const auto same = [&](const checkpoint::StateTensor& other) {
      return other.name == tensor.name && other.file == tensor.file;
    };
    return std::ranges::find_if(tensors_, same) - tensors_.begin();
  }

  /// What this rank holds of it; the rest of `into` is left alone.
  void read(const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) const {
    if (tensor.file == "optimizer") return read_array(arrays_.at(tensor.name), first, into);
    read_as(tensor.dtype, first, into,
            [&](std::int64_t at, std::span<float> values) { read_weights(tensor.name, at, values); });
  }

 private:
  void read_weights(const std::string& name, std::int64_t first, std::span<float> values) const {
    const std::int64_t last = first + static_cast<std::int64_t>(values.size());
    std::int64_t part_begin = 0;
    for (const plan::PublishedTensor::Part& part : weights_.at(name)) {
      const plan::ElementRange here = session_.weights_here(part.chunk);
      const std::int64_t shift = part_begin - part.first_element;  // from elements of the chunk to those of the tensor
      const std::int64_t begin = std::max({first, part_begin, here.first + shift});
      const std::int64_t end = std::min({last, part_begin + part.num_elements, here.first + here.count + shift});
      if (begin < end) {
        session_.state->read(plan::BufferKind::Weight, part.chunk, -1, begin - shift,
                             values.subspan(begin - first, end - begin));
      }
      part_begin += part.num_elements;
    }
  }

  // From every buffer of the state that holds some of it.
  void read_array(const exec::StateArray& array, std::int64_t first, std::span<std::byte> into) const {
    const auto& buffers = session_.state->buffers();
    for (const exec::StateArray::Part& part : array.parts) {
      const plan::ElementRange own =
          plan::own_range(session_.plans.train, session_.trace.chunks[part.chunk].num_elements);
      for (plan::BufferId id = 0; id < static_cast<plan::BufferId>(buffers.size()); ++id) {
        if (buffers[id].chunk != part.chunk || buffers[id].moment != array.state) continue;
        for (const exec::StateRun& run : layout_.own_runs(buffers[id], own)) {
          if (run.parameter != part.parameter || run.scales != array.scales) continue;
          const std::int64_t count = static_cast<Bytes>(into.size()) / run.item, at = part.first + run.first;
          const std::int64_t begin = std::max(first, at), end = std::min(first + count, at + run.count);
          if (begin >= end) continue;
          session_.state->read(id, run.offset + (begin - at) * run.item,
                               into.subspan((begin - first) * run.item, (end - begin) * run.item));
        }
      }
    }
  }

  Session& session_;
  exec::StateLayout layout_;
  std::vector<checkpoint::StateTensor> tensors_;
  std::map<std::string, std::vector<plan::PublishedTensor::Part>> weights_;
  std::map<std::string, exec::StateArray> arrays_;
};

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
       format::write_model_files(scratch, config, source, dtype_of(recipe::model_precision(settings))))
    if (!replaced || std::ranges::find(tokenizer_names, name) == tokenizer_names.end())
      files.emplace_back(name, read_text(scratch / name));
  for (auto& file : tokenizer_files) files.push_back(std::move(file));
  fs::remove_all(scratch);
  return files;
}

void save_checkpoint(Session& session, const fs::path& output, const TrainerState& state, std::span<float> staging) {
  const SavedState saved(session, true);
  save_together(session, saved, staging, [&](const checkpoint::ReadState& read) {
    checkpoint::CheckpointContents contents{saved.tensors(), to_json(state, session.settings), session.side_files};
    for (const checkpoint::SideFile& file : session.base_side_files) {
      if (std::ranges::find(contents.side_files, file.first, &checkpoint::SideFile::first) == contents.side_files.end())
        contents.side_files.push_back(file);
    }
    checkpoint::write_checkpoint(output / ("checkpoint-" + std::to_string(state.step)), contents, read, staging);
    checkpoint::discard_later_checkpoints(output, state.step);
    const bool protect_best = session.settings.keep_best && state.best_step > 0;
    checkpoint::prune_checkpoints(output, session.settings.keep,
                                  protect_best ? std::optional(state.best_step) : std::nullopt);
  });
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
