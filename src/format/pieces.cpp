#include "format/pieces.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "format/dequantize.h"
#include "format/quote.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

constexpr std::size_t kMostFiles = 100'000;

[[noreturn]] void refuse(const std::string& origin, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.pieces", origin + ": " + what, expected_got,
                    "the folder is incomplete or damaged: copy it again, or use another checkpoint");
}

struct Range {
  std::string_view name;
  std::int64_t first = 0, end = 0;
};

// "NAME[FIRST:END]", taken apart from its end: a name may hold any character.
std::optional<Range> parse_piece(std::string_view text) {
  const auto open = text.rfind('['), colon = text.rfind(':');
  if (open == std::string_view::npos || colon == std::string_view::npos || colon < open || !text.ends_with(']'))
    return std::nullopt;
  Range range{.name = text.substr(0, open)};
  const auto number = [](std::string_view digits, std::int64_t& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && value >= 0;
  };
  if (!number(text.substr(open + 1, colon - open - 1), range.first) ||
      !number(text.substr(colon + 1, text.size() - colon - 2), range.end) || range.first >= range.end)
    return std::nullopt;
  return range;
}

std::vector<TensorInfo> parse_tensors(const nlohmann::json& root, const std::string& origin) {
  std::vector<TensorInfo> tensors;
  try {
    for (const auto& [name, tensor] : root.at("tensors").items()) {
      tensors.push_back(
          {name, tensor.at("dtype").get<std::string>(), tensor.at("shape").get<std::vector<std::int64_t>>()});
      (void)stored_size(tensors.back(), origin);
    }
  } catch (const nlohmann::json::exception& error) {
    refuse(origin, "tensors", std::string("expected names with dtype and shape, got ") + error.what());
  }
  return tensors;
}

class PiecedWeights final : public WeightSource {
 public:
  explicit PiecedWeights(PiecedTensors tensors) : tensors_(std::move(tensors)) {}
  std::span<const TensorInfo> tensors() const override { return tensors_.tensors(); }
  const TensorInfo* find(std::string_view name) const override { return tensors_.find(name); }
  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const TensorInfo* const tensor = find(name);
    if (tensor == nullptr) throw FormatError("format.weights", "no tensor " + quote(name), "expected it in the pieces");
    tensors_.read_wide(*tensor, first_element, destination);
  }

 private:
  const PiecedTensors tensors_;
};

}  // namespace

std::string pieces_index_name(std::string_view kind) { return std::string(kind) + ".pieces.json"; }

std::string piece_name(std::string_view name, std::int64_t first, std::int64_t end) {
  return std::string(name) + "[" + std::to_string(first) + ":" + std::to_string(end) + "]";
}

std::string pieces_index_text(std::span<const TensorInfo> tensors, std::span<const std::string> files) {
  nlohmann::ordered_json index;
  nlohmann::ordered_json::object_t rows;
  for (const TensorInfo& tensor : tensors)
    rows.Container::emplace_back(tensor.name, nlohmann::ordered_json{{"dtype", tensor.dtype}, {"shape", tensor.shape}});
  index["tensors"] = std::move(rows);
  index["files"] = std::vector<std::string>(files.begin(), files.end());
  return index.dump(1) + "\n";
}

PiecedTensors::PiecedTensors(std::unique_ptr<SafetensorsFile> whole) : origin_(whole->name()) {
  files_.push_back(std::move(whole));
  for (const StoredTensor& tensor : files_.front()->tensors()) {
    add(tensor);
    if (tensor.num_elements() > 0) pieces_.back().push_back({files_.front().get(), &tensor, 0, tensor.num_elements()});
  }
}

PiecedTensors::PiecedTensors(const std::filesystem::path& folder, std::string_view kind)
    : origin_((folder / pieces_index_name(kind)).string()) {
  const nlohmann::json root = parse_json_object(read_text(origin_), origin_, {.max_bytes = 64 * MiB, .max_depth = 8});
  for (const TensorInfo& tensor : parse_tensors(root, origin_)) add(tensor);
  const auto files = root.find("files");
  if (files == root.end() || !files->is_array() || files->size() > kMostFiles)
    refuse(origin_, "files", "expected at most 100000 names");
  for (const auto& file : *files) {
    if (!file.is_string()) refuse(origin_, "files", "expected names");
    files_.push_back(std::make_unique<SafetensorsFile>(open_file_in(folder, file.get<std::string>())));
    for (const StoredTensor& stored : files_.back()->tensors()) add_piece(*files_.back(), stored);
  }
  check_complete();
}

void PiecedTensors::add(const TensorInfo& tensor) {
  by_name_.emplace(tensor.name, infos_.size());
  infos_.push_back(tensor);
  pieces_.emplace_back();
}

void PiecedTensors::add_piece(const SafetensorsFile& file, const StoredTensor& stored) {
  const auto range = parse_piece(stored.name);
  const auto found = range ? by_name_.find(range->name) : by_name_.end();
  if (found == by_name_.end())
    refuse(file.name(), "tensor " + quote(stored.name), "expected NAME[FIRST:END] of a tensor of the index");
  const TensorInfo& whole = infos_[found->second];
  if (stored.dtype != whole.dtype || stored.num_elements() != range->end - range->first)
    refuse(file.name(), "tensor " + quote(stored.name),
           "expected " + std::to_string(range->end - range->first) + " elements of " + whole.dtype + ", got " +
               format_shape(stored.shape) + " of " + stored.dtype);
  auto& pieces = pieces_[found->second];
  const Piece piece{&file, &stored, range->first, range->end};
  pieces.insert(std::ranges::upper_bound(pieces, piece.first, {}, &Piece::first), piece);
}

void PiecedTensors::check_complete() const {
  for (std::size_t i = 0; i < infos_.size(); ++i) {
    std::int64_t end = 0;
    const auto gap = std::ranges::find_if(
        pieces_[i], [&](const Piece& piece) { return piece.first != std::exchange(end, piece.end); });
    if (gap != pieces_[i].end() || end != infos_[i].num_elements())
      refuse(origin_, "pieces of tensor " + quote(infos_[i].name),
             "expected each of " + std::to_string(infos_[i].num_elements()) + " elements once");
  }
}

const TensorInfo* PiecedTensors::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &infos_[found->second];
}

const std::vector<PiecedTensors::Piece>& PiecedTensors::pieces_of(const TensorInfo& tensor) const {
  return pieces_[by_name_.find(tensor.name)->second];
}

template <typename Visit>
void PiecedTensors::for_each_part(const TensorInfo& tensor, std::int64_t first, std::int64_t count, Visit visit) const {
  if (first < 0 || count > tensor.num_elements() - first)
    refuse(origin_, "read of tensor " + quote(tensor.name),
           "expected a range of " + std::to_string(tensor.num_elements()) + " elements, got " + std::to_string(count) +
               " from " + std::to_string(first));
  const auto& pieces = pieces_of(tensor);
  auto piece = std::ranges::upper_bound(pieces, first, {}, &Piece::end);
  for (std::int64_t done = 0; done < count; ++piece) {
    const std::int64_t from = first + done - piece->first;
    const std::int64_t size = std::min(count - done, piece->end - piece->first - from);
    visit(*piece, from, size, done);
    done += size;
  }
}

void PiecedTensors::read(const TensorInfo& tensor, Bytes first_byte, std::span<std::byte> destination) const {
  const Bytes width = safetensors_dtype_bits(tensor.dtype) / 8, size = static_cast<Bytes>(destination.size());
  if (first_byte % width != 0 || size % width != 0)
    refuse(origin_, "read of tensor " + quote(tensor.name), "expected whole elements");
  for_each_part(tensor, first_byte / width, size / width,
                [&](const Piece& piece, std::int64_t from, std::int64_t count, std::int64_t done) {
                  piece.file->read(*piece.stored, from * width, destination.subspan(done * width, count * width));
                });
}

void PiecedTensors::read_wide(const TensorInfo& tensor, std::int64_t first_element,
                              std::span<float> destination) const {
  const BlockType* const type = find_block_type(tensor.dtype);
  if (type == nullptr || type->widen == nullptr)
    throw FormatError("format.weights", "cannot read tensor " + quote(tensor.name) + " of " + origin_,
                      "expected F32, F16 or BF16, got " + tensor.dtype);
  for_each_part(tensor, first_element, static_cast<std::int64_t>(destination.size()),
                [&](const Piece& piece, std::int64_t from, std::int64_t count, std::int64_t done) {
                  read_widened({&piece.file->source(), piece.stored->offset, type, piece.end - piece.first}, from,
                               destination.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
                });
}

std::unique_ptr<WeightSource> open_pieced_weights(const std::filesystem::path& folder, std::string_view kind) {
  return std::make_unique<PiecedWeights>(PiecedTensors(folder, kind));
}

}  // namespace sluice::format
