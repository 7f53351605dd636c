// What `sluice data` does: JSON lines in, JSON lines out, pre-tokenised files, and a look at samples with their loss
// mask. Streams are read line by line; memory does not grow with the input.
#pragma once
#include <cstdint>
#include <filesystem>
#include <iosfwd>

#include "data/dataset.h"
#include "data/tokenizer.h"

namespace sluice::data {

/// Lines {"text": ...} to lines {"ids": [...]}; further keys are ignored, blank lines are skipped. Returns the number
/// of lines written. Throws FormatError naming the line.
std::int64_t encode_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out, EncodeOptions options = {});

/// Lines {"ids": [...]} to lines {"text": ...}: the inverse of `encode_lines`.
std::int64_t decode_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out, bool skip_special = false);

/// Writes all rows of `dataset` as a pre-tokenised safetensors file (input_ids and labels, int64 [rows, seq_len]),
/// streamed; `output` appears complete or not at all. `log` gets one line.
void write_tokenized(const Dataset& dataset, const std::filesystem::path& output, std::ostream& log);

struct InspectOptions {
  std::int64_t first_row = 0;
  std::int64_t num_rows = 2;
  bool colours = false;  ///< dim what is no target; without colours it stands between [[ and ]]
};

/// Prints samples: the text (ids without a tokenizer) with positions that are no targets marked, and counts per row.
void inspect_rows(const Dataset& dataset, const Tokenizer* tokenizer, std::ostream& out, InspectOptions options = {});

}  // namespace sluice::data
