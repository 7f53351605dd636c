#include "train/joint_save.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "format/pieces.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;
using checkpoint::ManifestFile;
using checkpoint::TensorPiece;

[[noreturn]] void throw_for(std::int64_t rank) {
  throw CommError("save", "rank " + std::to_string(rank) + " could not save", "see its message",
                  "start the job again to resume");
}

/// Ranks that write at different paces let each other know that they are alive, and stop when one cannot go on.
class Rounds {
 public:
  explicit Rounds(const Ranks& ranks) : ranks_(ranks) {}

  void wrote(Bytes bytes) {
    for (left_ -= bytes; left_ <= 0; left_ += kRound) (void)agree(kWriting);
  }
  /// Returns when all ranks have come here.
  void finish() {
    while (agree(kDone) == kWriting) {
    }
  }
  /// This rank is the one that cannot go on; that others are lost, too, is less to the point.
  void fail() const {
    try {
      (void)ranks_.max(kFailed + ranks_.rank());
    } catch (const CommError&) {
    }
  }

 private:
  static constexpr Bytes kRound = 256 * MiB;
  static constexpr std::int64_t kDone = 0, kWriting = 1, kFailed = 2;

  [[nodiscard]] std::int64_t agree(std::int64_t state) const {
    const std::int64_t most = ranks_.max(state);
    if (most >= kFailed) throw_for(most - kFailed);
    return most;
  }

  const Ranks& ranks_;
  Bytes left_ = kRound;
};

Bytes bytes_of(const TensorPiece& piece) {
  return (piece.end - piece.first) * (format::safetensors_dtype_bits(piece.tensor.dtype) / 8);
}

/// Of those who hold the same pieces, who writes each: whoever has least to write so far.
std::vector<int> writers_of(std::span<const TensorPiece> pieces, int num_holders) {
  std::vector<Bytes> load(num_holders, 0);
  std::vector<int> writers;
  for (const TensorPiece& piece : pieces) {
    const auto least = std::ranges::min_element(load);
    *least += bytes_of(piece);
    writers.push_back(static_cast<int>(least - load.begin()));
  }
  return writers;
}

std::string numbered(const std::string& kind, int rank, int count) {
  char text[48];
  std::snprintf(text, sizeof text, "-%05d-of-%05d.safetensors", rank + 1, count);
  return kind + text;
}

std::string pieces_prefix(const std::string& kind) { return kind + "-rank"; }

/// What one kind of file is made of: model, adapter_model, optimizer.
class KindOfFile {
 public:
  KindOfFile(const Session& session, const SavedState& saved, const std::string& kind)
      : ranks_(*session.ranks), kind_(kind), tensors_(saved.tensors_of(kind)) {
    const plan::Sharding& sharding = session.request.recipe.sharding;
    divided_ = saved.is_divided(tensors_.front());
    num_holders_ = divided_ ? sharding.num_groups() : kind == kAdapter ? 1 : ranks_.count();
    holder_ = divided_ ? ranks_.rank() / sharding.ranks_per_group() : ranks_.rank();
    for (const checkpoint::StateTensor& tensor : tensors_) {
      for (const plan::ElementRange& range : saved.held(tensor))
        pieces_.push_back({tensor, range.first, range.first + range.count});
    }
    writers_ = writers_of(pieces_, num_holders_);
  }

  [[nodiscard]] std::optional<checkpoint::Share> own() const {
    checkpoint::Share share{.name = file_of(ranks_.rank()), .whole_tensors = !in_pieces()};
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (writers_[i] == holder_) share.pieces.push_back(pieces_[i]);
    }
    return share.pieces.empty() ? std::nullopt : std::optional(std::move(share));
  }

  /// On rank 0: how the files that ranks wrote make tensors.
  void add_index(std::span<const ManifestFile> files, std::vector<checkpoint::SideFile>& to) const {
    if (in_pieces()) {
      std::vector<format::TensorInfo> infos;
      for (const checkpoint::StateTensor& tensor : tensors_) infos.push_back({tensor.name, tensor.dtype, tensor.shape});
      std::vector<std::string> names;
      for (const ManifestFile& file : files)
        if (file.name.starts_with(pieces_prefix(kind_) + "-")) names.push_back(file.name);
      to.emplace_back(format::pieces_index_name(kind_), format::pieces_index_text(infos, names));
    } else if (kind_ == kModel) {
      std::map<std::string, std::string, std::less<>> weight_map;
      Bytes total = 0;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        weight_map.emplace(pieces_[i].tensor.name, file_of(writers_[i]));
        total += bytes_of(pieces_[i]);
      }
      to.emplace_back("model.safetensors.index.json", format::shard_index_text(weight_map, total));
    }
  }

 private:
  // Weights that every rank holds whole are a model as other programs know it, and an adapter is one file.
  [[nodiscard]] bool in_pieces() const { return divided_ || kind_ == kOptimizer; }
  [[nodiscard]] std::string file_of(int rank) const {
    if (in_pieces()) return numbered(pieces_prefix(kind_), rank, ranks_.count());
    return kind_ == kAdapter ? kind_ + ".safetensors" : numbered(kind_, rank, ranks_.count());
  }

  const Ranks& ranks_;
  const std::string kind_;
  const std::vector<checkpoint::StateTensor> tensors_;
  bool divided_ = false;
  int num_holders_ = 1, holder_ = 0;
  std::vector<TensorPiece> pieces_;  // that this rank and the other holders have
  std::vector<int> writers_;         // of each, a holder
};

std::string to_text(std::span<const ManifestFile> files) {
  nlohmann::json json = nlohmann::json::array();
  for (const ManifestFile& file : files) json.push_back({file.name, file.size, file.checksum});
  return json.dump();
}

std::vector<ManifestFile> from_texts(const std::vector<std::string>& texts) {
  std::vector<ManifestFile> files;
  for (const std::string& text : texts) {
    for (const auto& file : nlohmann::json::parse(text))
      files.push_back({file[0].get<std::string>(), file[1].get<Bytes>(), file[2].get<std::uint64_t>()});
  }
  return files;
}

// Rank 0 does `work`; when it cannot, its error on rank 0 and CommError on the others.
void on_first(const Ranks& ranks, const std::function<void()>& work) {
  std::exception_ptr error;
  if (ranks.is_first()) {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
  }
  if (ranks.max(error ? 1 : 0) == 0) return;
  if (error) std::rethrow_exception(error);
  throw_for(0);
}

std::vector<ManifestFile> write_own(const Ranks& ranks, std::span<const KindOfFile> kinds, const fs::path& draft,
                                    const SavedState& saved, std::span<float> staging) {
  Rounds rounds(ranks);
  std::vector<ManifestFile> files;
  try {
    for (const KindOfFile& kind : kinds) {
      const auto read = [&](const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) {
        saved.read(tensor, first, into);
        rounds.wrote(static_cast<Bytes>(into.size()));
      };
      if (const auto share = kind.own()) files.push_back(checkpoint::write_share(draft, *share, read, staging));
    }
  } catch (const CommError&) {
    throw;
  } catch (...) {
    rounds.fail();
    throw;
  }
  rounds.finish();
  return files;
}

}  // namespace

void write_joint_checkpoint(const Session& session, const SavedState& saved, const fs::path& folder,
                            checkpoint::CheckpointContents contents, std::span<float> staging) {
  const Ranks& ranks = *session.ranks;
  std::vector<KindOfFile> kinds;
  for (const std::string& kind : saved.files()) kinds.emplace_back(session, saved, kind);
  std::optional<checkpoint::CheckpointDraft> draft;
  on_first(ranks, [&] { draft.emplace(folder, contents.tensors); });
  const fs::path place = ranks.share(draft ? draft->path().string() : std::string());
  const std::vector<ManifestFile> files =
      from_texts(ranks.collect(to_text(write_own(ranks, kinds, place, saved, staging))));
  on_first(ranks, [&] {
    for (const KindOfFile& kind : kinds) kind.add_index(files, contents.side_files);
    draft->seal(files, contents);
  });
}

}  // namespace sluice::train
