// Reading numbers and texts from the head of a GGUF file, each checked against what is left of it.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "format/byte_source.h"

namespace sluice::format {

[[noreturn]] inline void refuse_gguf(const ByteSource& source, const std::string& what,
                                     const std::string& expected_got = {}) {
  throw FormatError("format.gguf", "bad file " + source.name() + ": " + what, expected_got,
                    "the file is damaged or hostile: copy or download it again");
}

/// Reads front to back through a small buffer; never past the end of the source, which must outlive it.
class GgufCursor {
 public:
  explicit GgufCursor(const ByteSource& source) : source_(source) {}

  [[nodiscard]] Bytes position() const { return position_; }
  [[nodiscard]] std::uint64_t left() const { return static_cast<std::uint64_t>(source_.size() - position_); }

  template <typename T>
  T number() {
    std::array<std::byte, sizeof(T)> bytes;
    take(bytes);
    return std::bit_cast<T>(bytes);
  }

  std::string text(std::uint64_t longest, const char* what) {
    const auto length = number<std::uint64_t>();
    if (length > longest || length > left())
      refuse_gguf(source_, std::string(what) + " at byte " + std::to_string(position_),
                  "expected at most " + std::to_string(std::min(longest, left())) + " characters, got " +
                      std::to_string(length));
    std::string result(length, '\0');
    take(std::as_writable_bytes(std::span(result.data(), result.size())));
    return result;
  }

 private:
  void take(std::span<std::byte> destination) {
    if (destination.size() > left())
      refuse_gguf(source_, "ends inside of its tables",
                  "expected " + std::to_string(destination.size()) + " more bytes at " + std::to_string(position_));
    std::size_t done = 0;
    while (done < destination.size()) {
      if (position_ < buffer_start_ || position_ >= buffer_start_ + static_cast<Bytes>(buffer_.size())) fill();
      const auto at = static_cast<std::size_t>(position_ - buffer_start_);
      const std::size_t count = std::min(destination.size() - done, buffer_.size() - at);
      std::memcpy(destination.data() + done, buffer_.data() + at, count);
      done += count;
      position_ += static_cast<Bytes>(count);
    }
  }
  void fill() {
    buffer_.resize(static_cast<std::size_t>(std::min<Bytes>(256 * KiB, source_.size() - position_)));
    source_.read(position_, buffer_);
    buffer_start_ = position_;
  }

  const ByteSource& source_;
  std::vector<std::byte> buffer_;
  Bytes buffer_start_ = 0;
  Bytes position_ = 0;
};

}  // namespace sluice::format
