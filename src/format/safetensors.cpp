#include "format/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

SafetensorsHeader read_header(const ByteSource& source) {
  if (source.size() < 8)
    throw FormatError("format.safetensors", "cannot read " + source.name(),
                      "expected at least 8 bytes, got " + std::to_string(source.size()),
                      "the file is truncated: copy or download it again");
  std::array<std::byte, 8> prefix{};
  source.read(0, prefix);
  std::uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof length);
  const auto rest = static_cast<std::uint64_t>(source.size() - 8);
  if (length > rest || length > 100'000'000)
    throw FormatError("format.safetensors", "bad header length of " + source.name(),
                      "expected at most " + std::to_string(std::min<std::uint64_t>(rest, 100'000'000)) +
                          " bytes, got " + std::to_string(length),
                      "not a safetensors file, or truncated: copy or download it again");
  std::string text(length, '\0');
  source.read(8, std::as_writable_bytes(std::span(text.data(), text.size())));
  return parse_safetensors_header(text, source.size(), source.name());
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : SafetensorsFile(open_file_source(path)) {}

SafetensorsFile::SafetensorsFile(std::unique_ptr<ByteSource> source)
    : source_(std::move(source)), header_(read_header(*source_)) {
  by_name_.reserve(header_.tensors.size());
  for (const StoredTensor& tensor : header_.tensors) by_name_.emplace(tensor.name, &tensor);
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

void SafetensorsFile::read(const StoredTensor& tensor, Bytes first_byte, std::span<std::byte> destination) const {
  if (first_byte < 0 || first_byte > tensor.size ||
      static_cast<std::uint64_t>(tensor.size - first_byte) < destination.size())
    throw FormatError("format.safetensors", "read outside of tensor " + quote(tensor.name) + " in " + name(),
                      "expected at most " + std::to_string(tensor.size) + " bytes, got offset " +
                          std::to_string(first_byte) + " and length " + std::to_string(destination.size()));
  source_->read(tensor.offset + first_byte, destination);
}

}  // namespace sluice::format
