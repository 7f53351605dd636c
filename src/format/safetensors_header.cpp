// The JSON of a safetensors header as a state machine over its tokens: no document is built, so a hostile header costs
// no more than the table that it describes. Rules: the format's README and its reference reader, tightened (see
// safetensors.h).
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "format/quote.h"
#include "format/safetensors.h"
#include "format/strict_json.h"

namespace sluice::format {
namespace {

constexpr Bytes kMaxHeader = 100'000'000;  // the reference reader's limit
constexpr std::size_t kMaxTensors = 1'000'000;
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kMaxName = 4096;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;

struct DtypeRow {
  std::string_view name;
  int bits;
};

constexpr std::array kDtypes = std::to_array<DtypeRow>({
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
});

[[noreturn]] void refuse(std::string_view origin, const std::string& what, const std::string& expected_got = {}) {
  throw FormatError("format.safetensors", "bad header of " + std::string(origin) + ": " + what, expected_got,
                    "the file is damaged or hostile: copy or download it again");
}

class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(std::string_view origin) : origin_(origin) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { bad_value("null"); }
  bool boolean(bool) override { bad_value("a boolean"); }
  bool number_integer(number_integer_t) override { bad_value("a signed number"); }
  bool number_float(number_float_t, const string_t&) override { bad_value("a fraction"); }
  bool binary(binary_t&) override { bad_value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::Shape && place_ != Place::Offsets) bad_value("a number");
    if (value >= static_cast<number_unsigned_t>(kMaxElements))
      refuse(origin_, "number too large in tensor " + quote(name_));
    numbers_.push_back(static_cast<std::int64_t>(value));
    if (numbers_.size() > kMaxRank) refuse(origin_, "tensor " + quote(name_), "expected at most 8 dimensions");
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::Metadata) {
      header_.metadata.emplace(key_, value);
    } else if (place_ == Place::Tensor && key_ == "dtype") {
      tensor_.dtype = value;
    } else {
      bad_value("a string");
    }
    return true;
  }

  bool key(string_t& key) override {
    if (place_ == Place::Top) {
      if (!names_.insert(key).second) refuse(origin_, "tensor " + quote(key) + " is listed twice");
      if (names_.size() > kMaxTensors + 1) refuse(origin_, "more than 1000000 tensors");
      if (key != "__metadata__" && !is_clean_name(key, kMaxName))
        refuse(origin_, "tensor name " + quote(key), "expected 1 to 4096 printable bytes");
      name_ = key;
    } else if (place_ == Place::Metadata) {
      if (header_.metadata.contains(key)) refuse(origin_, "__metadata__ key " + quote(key) + " is listed twice");
    } else {
      int& seen = seen_[key == "dtype" ? 0 : key == "shape" ? 1 : key == "data_offsets" ? 2 : 3];
      if (&seen == &seen_[3])
        refuse(origin_, "tensor " + quote(name_), "expected dtype, shape and data_offsets, got " + quote(key));
      if (seen++ > 0) refuse(origin_, "tensor " + quote(name_) + " has " + quote(key) + " twice");
    }
    key_ = key;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::Start) {
      place_ = Place::Top;
    } else if (place_ == Place::Top && name_ == "__metadata__") {
      place_ = Place::Metadata;
    } else if (place_ == Place::Top) {
      place_ = Place::Tensor;
      tensor_ = StoredTensor{};
      tensor_.name = name_;
      seen_ = {};
    } else {
      bad_value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Tensor) {
      if (seen_[0] + seen_[1] + seen_[2] != 3)
        refuse(origin_, "tensor " + quote(name_), "expected dtype, shape and data_offsets");
      header_.tensors.push_back(std::move(tensor_));
    }
    place_ = place_ == Place::Top ? Place::End : Place::Top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::Tensor || key_ == "dtype") bad_value("an array");
    place_ = key_ == "shape" ? Place::Shape : Place::Offsets;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    if (place_ == Place::Shape) {
      tensor_.shape = numbers_;
    } else {
      if (numbers_.size() != 2 || numbers_[1] < numbers_[0])
        refuse(origin_, "data_offsets of tensor " + quote(name_),
               "expected two numbers [begin, end] with begin <= end");
      tensor_.offset = numbers_[0];
      tensor_.size = numbers_[1] - numbers_[0];
    }
    place_ = Place::Tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    refuse(origin_, "not JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place { Start, Top, Metadata, Tensor, Shape, Offsets, End };

  [[noreturn]] void bad_value(const std::string& kind) const {
    refuse(origin_,
           place_ == Place::Top || place_ == Place::Start ? "value of " + quote(name_)
                                                          : "field " + quote(key_) + " of " + quote(name_),
           "unexpected " + kind);
  }

  std::string origin_;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  Place place_ = Place::Start;
  std::string name_;
  std::string key_;
  StoredTensor tensor_;
  std::array<int, 4> seen_{};
  std::vector<std::int64_t> numbers_;
};

void check_tiling(const std::vector<StoredTensor>& tensors, Bytes data_size, std::string_view origin) {
  Bytes end = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.offset != end)
      refuse(origin,
             "tensor " + quote(tensor.name) + (tensor.offset < end ? " overlaps another" : " has a hole before it"),
             "expected offset " + std::to_string(end) + ", got " + std::to_string(tensor.offset));
    if (const Bytes size = stored_size(tensor, origin); size != tensor.size)
      refuse(origin, "tensor " + quote(tensor.name),
             "expected " + std::to_string(size) + " bytes for " + tensor.dtype + " " + format_shape(tensor.shape) +
                 ", got " + std::to_string(tensor.size));
    end += tensor.size;
    if (end > data_size)
      refuse(origin, "tensor " + quote(tensor.name) + " ends behind the file",
             "expected at most " + std::to_string(data_size) + " bytes of data, got " + std::to_string(end));
  }
  if (end != data_size)
    refuse(origin, "bytes behind the last tensor",
           "expected " + std::to_string(end) + " bytes of data, got " + std::to_string(data_size));
}

}  // namespace

int safetensors_dtype_bits(std::string_view dtype) {
  for (const DtypeRow& row : kDtypes)
    if (row.name == dtype) return row.bits;
  return 0;
}

Bytes stored_size(const TensorInfo& tensor, std::string_view origin) {
  const int bits = safetensors_dtype_bits(tensor.dtype);
  if (bits == 0) refuse(origin, "tensor " + quote(tensor.name), "expected a known dtype, got " + quote(tensor.dtype));
  std::int64_t product = 1;  // zeros skipped, so that the order of dimensions does not decide what overflows
  bool empty = false;
  for (const std::int64_t dimension : tensor.shape) {
    if (dimension == 0) {
      empty = true;
    } else if (product > kMaxElements / dimension) {
      refuse(origin, "tensor " + quote(tensor.name),
             "expected below 2^48 elements, got shape " + format_shape(tensor.shape));
    } else {
      product *= dimension;
    }
  }
  if (empty) return 0;
  if (product * bits % 8 != 0)
    refuse(origin, "tensor " + quote(tensor.name),
           "expected whole bytes, got " + std::to_string(product * bits) + " bits");
  return product * bits / 8;
}

SafetensorsHeader parse_safetensors_header(std::string_view json_text, Bytes file_size, std::string_view origin) {
  check_json_text(json_text, origin, kMaxHeader);
  HeaderHandler handler(origin);
  nlohmann::json::sax_parse(json_text, &handler);
  SafetensorsHeader header = handler.take();
  std::sort(header.tensors.begin(), header.tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.size) < std::pair(b.offset, b.size);
  });
  const Bytes data_start = 8 + static_cast<Bytes>(json_text.size());
  check_tiling(header.tensors, file_size - data_start, origin);
  for (StoredTensor& tensor : header.tensors) tensor.offset += data_start;
  return header;
}

}  // namespace sluice::format
