// Text as rows of tokens: documents are encoded, each followed by the end token, and the stream is cut into rows of
// seq_len. The encoded stream is kept in a cache file; rows are read from there.
#pragma once
#include <memory>

#include "data/dataset.h"
#include "data/documents.h"

namespace sluice::data {

bool recognises_text(const std::filesystem::path& path);
bool recognises_text_jsonl(const std::filesystem::path& path);

/// Rows are cut without overlap; the last one is filled up with the end token (0 if there is none), labelled
/// kIgnoreLabel. A last row of one token only, which would have no target, is left out. Documents longer than
/// kPieceBytes are encoded in pieces (text_pieces.h).
std::unique_ptr<Dataset> open_text(const DatasetOptions& options);
std::unique_ptr<Dataset> open_text_jsonl(const DatasetOptions& options);

/// Hands over the documents that the rows are made of.
void visit_text(const std::filesystem::path& path, DocumentSink& sink);
void visit_text_jsonl(const std::filesystem::path& path, DocumentSink& sink);

}  // namespace sluice::data
