#include "data/block_reader.h"

#include <algorithm>

#include "base/random.h"

namespace sluice::data {
namespace {

constexpr Bytes kBlock = MiB;

}  // namespace

std::string_view BlockReader::next() {
  const Bytes size = std::min(kBlock, file_.size() - position_);
  block_.resize(static_cast<std::size_t>(size));
  if (size == 0) return {};
  const auto bytes = std::as_writable_bytes(std::span(block_));
  file_.read(position_, bytes);
  position_ += size;
  hash_ = mix(hash_, checksum(bytes));
  return block_;
}

std::string read_prefix(const std::filesystem::path& path, Bytes limit) {
  const FileReader file(path);
  std::string prefix(static_cast<std::size_t>(std::min(limit, file.size())), '\0');
  file.read(0, std::as_writable_bytes(std::span(prefix)));
  return prefix;
}

}  // namespace sluice::data
