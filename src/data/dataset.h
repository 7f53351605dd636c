// Training examples as rows of token ids with labels, read from disk one row at a time: a data set larger than memory
// costs no memory. Which formats exist is the table in catalog.h.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "data/tokenizer.h"

namespace sluice::data {

/// The label of a position that is not a target (as in torch and Hugging Face).
inline constexpr std::int64_t kIgnoreLabel = -100;

class ChatTemplatePlace;

struct DatasetOptions {
  std::filesystem::path path = {};                   ///< a file, or a folder of text files
  std::string format = "auto";                       ///< a row of `dataset_rows()`; "auto" looks at the content
  std::int64_t seq_len = 512;                        ///< tokens per row; pre-tokenised files bring their own
  const Tokenizer* tokenizer = nullptr;              ///< borrowed for `open_dataset` only; text needs one
  const ChatTemplatePlace* chat_template = nullptr;  ///< the same; conversations need one
  std::filesystem::path cache_dir =
      {};  ///< where encoded text is kept; empty: XDG_CACHE_HOME or ~/.cache, in sluice/tokens
};

/// How training walks through rows.
struct RowOrder {
  bool shuffle = true;
  std::uint64_t seed = 0;
};

/// Immutable rows. One thread at a time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t num_rows() const = 0;
  virtual std::int64_t seq_len() const = 0;
  /// Fills both spans (seq_len() each) with row `row`. Labels are aligned with input_ids as in Hugging Face: the shift
  /// by one happens inside the loss; kIgnoreLabel marks what is no target, padding included.
  virtual void read_row(std::int64_t row, std::span<std::int64_t> input_ids, std::span<std::int64_t> labels) const = 0;
  /// Equal for two data sets only if all their rows are equal (16 hexadecimal digits).
  virtual std::string fingerprint() const = 0;
  /// One line for the log: format, rows, tokens, share of padding.
  virtual std::string summary() const = 0;
  /// Largest token id in any row; compare with the model's vocabulary before training.
  virtual std::int64_t max_id() const = 0;
  /// Whether each row is an example of its own (a chat) rather than a stretch of a longer text.
  virtual bool rows_stand_alone() const { return false; }
  /// The row at `place` of an endless sequence: epochs that hold every row once, in file order or permuted by (seed,
  /// epoch). A pure function, so `place` is all that a checkpoint keeps.
  virtual std::int64_t row_at(std::uint64_t place, const RowOrder& order) const;
};

/// Opens `options.path`, encoding text into the cache first if need be (streamed, in bounded memory).
/// Throws IoError (missing), FormatError (corrupt, empty, not UTF-8, bad ids, unknown format) and ConfigError (no
/// tokenizer for text, unknown name of a format). Pre-tokenised rows keep their length; `seq_len` then only causes a
/// warning.
std::unique_ptr<Dataset> open_dataset(const DatasetOptions& options);

}  // namespace sluice::data
