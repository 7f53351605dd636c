// Reading the tables of a GGUF file (ggml's docs/gguf.md). The checks answer published attacks on other loaders: counts
// and lengths that wrap, tensors larger than the file, offsets that point elsewhere, arrays that make the reader
// allocate without bound.
#include "format/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "format/gguf_cursor.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

constexpr std::uint64_t kMaxKeys = 1 << 16;
constexpr std::uint64_t kMaxTensors = 1 << 20;
constexpr std::uint64_t kMaxText = 64 << 20;
constexpr std::uint64_t kMaxArrayElements = 1
                                            << 22;  // of all arrays together; the largest vocabularies need 1.4 million
constexpr std::size_t kMaxKeyName = 65535;
constexpr std::size_t kMaxTensorName = 63;
constexpr std::uint32_t kMaxRank = 4;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 48;
constexpr std::int64_t kMaxAlignment = 1 << 20;

enum class ValueType : std::uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64 };

// Bytes that one element takes at least; 0 for an unknown type.
std::uint64_t smallest_size(ValueType type) {
  constexpr std::array<std::uint64_t, 13> kSizes{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  const auto index = static_cast<std::size_t>(type);
  return index < kSizes.size() ? kSizes[index] : 0;
}

class TableReader {
 public:
  explicit TableReader(const ByteSource& source) : source_(source), cursor_(source) {}

  std::uint32_t read_version() {
    if (cursor_.left() < 24)
      refuse_gguf(source_, "too short", "expected at least 24 bytes, got " + std::to_string(source_.size()));
    if (cursor_.number<std::array<char, 4>>() != std::array{'G', 'G', 'U', 'F'})
      refuse_gguf(source_, "no GGUF magic number");
    const auto version = cursor_.number<std::uint32_t>();
    if ((version & 0xffff) == 0) refuse_gguf(source_, "big-endian files are not supported");
    if (version != 2 && version != 3)
      refuse_gguf(source_, "version", "expected 2 or 3, got " + std::to_string(version));
    return version;
  }

  void read_counts() {
    num_tensors_ = cursor_.number<std::uint64_t>();
    num_keys_ = cursor_.number<std::uint64_t>();
    check_count(num_tensors_, 24, kMaxTensors, "number of tensors");
    check_count(num_keys_, 13, kMaxKeys, "number of metadata keys");
  }

  std::map<std::string, GgufValue, std::less<>> read_metadata() {
    std::map<std::string, GgufValue, std::less<>> metadata;
    for (std::uint64_t i = 0; i < num_keys_; ++i) {
      std::string key = cursor_.text(kMaxKeyName, "metadata key");
      if (!is_clean_name(key, kMaxKeyName))
        refuse_gguf(source_, "metadata key " + quote(key), "expected printable characters");
      if (metadata.contains(key)) refuse_gguf(source_, "metadata key " + quote(key) + " is there twice");
      GgufValue value = read_value(ValueType{cursor_.number<std::uint32_t>()}, key);
      metadata.emplace(std::move(key), std::move(value));
    }
    return metadata;
  }

  std::vector<GgufTensor> read_tensors(std::int64_t alignment) {
    std::vector<GgufTensor> tensors;
    tensors.reserve(num_tensors_);
    Bytes expected = 0;
    for (std::uint64_t i = 0; i < num_tensors_; ++i) {
      tensors.push_back(read_tensor(expected));
      expected = round_up(expected + tensors.back().size, alignment);
    }
    const Bytes data_start = round_up(cursor_.position(), alignment);
    for (GgufTensor& tensor : tensors) {
      tensor.offset += data_start;
      if (tensor.offset > source_.size() || tensor.size > source_.size() - tensor.offset)
        refuse_gguf(source_, "tensor " + quote(tensor.name) + " ends behind the file",
                    "expected at least " + std::to_string(tensor.offset + tensor.size) + " bytes, got " +
                        std::to_string(source_.size()));
    }
    return tensors;
  }

 private:
  void check_count(std::uint64_t count, std::uint64_t smallest, std::uint64_t largest, const std::string& what) const {
    const std::uint64_t fits = std::min(largest, cursor_.left() / smallest);
    if (count > fits)
      refuse_gguf(source_, what, "expected at most " + std::to_string(fits) + ", got " + std::to_string(count));
  }

  GgufTensor read_tensor(Bytes expected_offset) {
    GgufTensor tensor;
    tensor.name = cursor_.text(kMaxTensorName, "tensor name");
    if (!is_clean_name(tensor.name, kMaxTensorName))
      refuse_gguf(source_, "tensor name " + quote(tensor.name), "expected 1 to 63 printable characters");
    const auto rank = cursor_.number<std::uint32_t>();
    if (rank > kMaxRank)
      refuse_gguf(source_, "tensor " + quote(tensor.name),
                  "expected at most 4 dimensions, got " + std::to_string(rank));
    std::uint64_t product = 1;
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto dimension = cursor_.number<std::uint64_t>();
      if (dimension == 0 || dimension > kMaxElements / product)
        refuse_gguf(source_, "dimension of tensor " + quote(tensor.name),
                    "expected 1 or more and below 2^48 elements, got " + std::to_string(dimension));
      product *= dimension;
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(dimension));
    }
    const auto type_id = cursor_.number<std::uint32_t>();
    tensor.type = find_block_type(type_id);
    if (tensor.type == nullptr)
      refuse_gguf(source_, "tensor " + quote(tensor.name),
                  "expected a known element type, got ggml type " + std::to_string(type_id));
    tensor.dtype = tensor.type->name;
    const auto row = tensor.shape.empty() ? 1 : tensor.shape.back();
    if (row % tensor.type->values_per_block != 0)
      refuse_gguf(source_, "rows of tensor " + quote(tensor.name),
                  "expected a multiple of " + std::to_string(tensor.type->values_per_block) + " elements for " +
                      tensor.dtype + ", got " + std::to_string(row));
    tensor.size = static_cast<Bytes>(product) / tensor.type->values_per_block * tensor.type->bytes_per_block;
    const auto offset = cursor_.number<std::uint64_t>();
    if (offset != static_cast<std::uint64_t>(expected_offset))
      refuse_gguf(source_, "offset of tensor " + quote(tensor.name),
                  "expected " + std::to_string(expected_offset) + ", got " + std::to_string(offset));
    if (tensor.size > source_.size()) refuse_gguf(source_, "tensor " + quote(tensor.name) + " is larger than the file");
    tensor.offset = expected_offset;
    return tensor;
  }

  std::int64_t signed_value(std::uint64_t value, const std::string& key) const {
    if (value > static_cast<std::uint64_t>(INT64_MAX))
      refuse_gguf(source_, "metadata key " + quote(key), "expected a number below 2^63, got " + std::to_string(value));
    return static_cast<std::int64_t>(value);
  }

  std::int64_t read_integer(ValueType type, const std::string& key) {
    switch (type) {
      case ValueType::U8:
        return cursor_.number<std::uint8_t>();
      case ValueType::I8:
        return cursor_.number<std::int8_t>();
      case ValueType::U16:
        return cursor_.number<std::uint16_t>();
      case ValueType::I16:
        return cursor_.number<std::int16_t>();
      case ValueType::U32:
        return cursor_.number<std::uint32_t>();
      case ValueType::I32:
        return cursor_.number<std::int32_t>();
      case ValueType::U64:
        return signed_value(cursor_.number<std::uint64_t>(), key);
      case ValueType::I64:
        return cursor_.number<std::int64_t>();
      default:
        return read_boolean(key) ? 1 : 0;
    }
  }

  bool read_boolean(const std::string& key) {
    const auto value = cursor_.number<std::uint8_t>();
    if (value > 1)
      refuse_gguf(source_, "metadata key " + quote(key), "expected a boolean 0 or 1, got " + std::to_string(value));
    return value == 1;
  }

  double read_number(ValueType type) {
    return type == ValueType::F32 ? double{cursor_.number<float>()} : cursor_.number<double>();
  }

  GgufValue read_value(ValueType type, const std::string& key) {
    switch (type) {
      case ValueType::Bool:
        return read_boolean(key);
      case ValueType::F32:
      case ValueType::F64:
        return read_number(type);
      case ValueType::Text:
        return cursor_.text(kMaxText, "text value");
      case ValueType::Array:
        return read_array(key);
      default:
        break;
    }
    if (smallest_size(type) == 0)
      refuse_gguf(source_, "metadata key " + quote(key),
                  "expected a known value type, got " + std::to_string(static_cast<std::uint32_t>(type)));
    return read_integer(type, key);
  }

  GgufValue read_array(const std::string& key) {
    const auto type = ValueType{cursor_.number<std::uint32_t>()};
    const auto count = cursor_.number<std::uint64_t>();
    if (type == ValueType::Array || smallest_size(type) == 0)
      refuse_gguf(source_, "metadata key " + quote(key), "expected an array of plain values");
    check_count(count, smallest_size(type), kMaxArrayElements - num_array_elements_, "length of array " + quote(key));
    num_array_elements_ += count;
    if (type == ValueType::Text)
      return fill<std::string>(count, [&] { return cursor_.text(kMaxText, "text in an array"); });
    if (type == ValueType::F32 || type == ValueType::F64) return fill<double>(count, [&] { return read_number(type); });
    return fill<std::int64_t>(count, [&] { return read_integer(type, key); });
  }

  template <typename T, typename Read>
  static std::vector<T> fill(std::uint64_t count, Read read) {
    std::vector<T> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(read());
    return values;
  }

  const ByteSource& source_;
  GgufCursor cursor_;
  std::uint64_t num_tensors_ = 0;
  std::uint64_t num_keys_ = 0;
  std::uint64_t num_array_elements_ = 0;
};

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : GgufFile(open_file_source(path)) {}

GgufFile::GgufFile(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {
  TableReader reader(*source_);
  version_ = reader.read_version();
  reader.read_counts();
  metadata_ = reader.read_metadata();
  const std::int64_t alignment = integer("general.alignment").value_or(32);
  if (alignment < 1 || alignment > kMaxAlignment || !std::has_single_bit(static_cast<std::uint64_t>(alignment)))
    refuse_gguf(
        *source_, "general.alignment",
        "expected a power of two up to " + std::to_string(kMaxAlignment) + ", got " + std::to_string(alignment));
  tensors_ = reader.read_tensors(alignment);
  by_name_.reserve(tensors_.size());
  for (const GgufTensor& tensor : tensors_)
    if (!by_name_.emplace(tensor.name, &tensor).second)
      refuse_gguf(*source_, "tensor " + quote(tensor.name) + " is there twice");
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

template <typename T>
const T* GgufFile::value(std::string_view key, const char* kind) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return nullptr;
  const T* typed = std::get_if<T>(&found->second);
  if (typed == nullptr) refuse_gguf(*source_, "metadata key " + quote(key), std::string("expected ") + kind);
  return typed;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const auto* found = value<std::int64_t>(key, "an integer");
  return found == nullptr ? std::nullopt : std::optional(*found);
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const auto* found = value<double>(key, "a number");
  if (found != nullptr && !std::isfinite(*found))
    refuse_gguf(*source_, "metadata key " + quote(key), "expected a finite number");
  return found == nullptr ? std::nullopt : std::optional(*found);
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const auto* found = value<bool>(key, "a boolean");
  return found == nullptr ? std::nullopt : std::optional(*found);
}

const std::string* GgufFile::text(std::string_view key) const { return value<std::string>(key, "a text"); }

const std::vector<std::string>* GgufFile::texts(std::string_view key) const {
  return value<std::vector<std::string>>(key, "a list of texts");
}

const std::vector<std::int64_t>* GgufFile::integers(std::string_view key) const {
  return value<std::vector<std::int64_t>>(key, "a list of integers");
}

}  // namespace sluice::format
