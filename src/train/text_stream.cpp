#include "train/text_stream.h"

#include <string_view>

namespace sluice::train {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::size_t kContext = 4;   // tokens of a prompt that later text may lean on
constexpr std::size_t kMostHeld = 4;  // bytes of one character: with more, U+FFFD is what the ids say

}  // namespace

TextStream::TextStream(const data::Tokenizer& tokenizer, std::span<const std::int32_t> prompt) : tokenizer_(tokenizer) {
  const auto tail = prompt.last(std::min(prompt.size(), kContext));
  window_.assign(tail.begin(), tail.end());
  context_ = window_.size();
}

std::string TextStream::new_text() const {
  const std::string before = tokenizer_.decode(std::span(window_).first(context_), true);
  const std::string all = tokenizer_.decode(window_, true);
  return all.size() > before.size() ? all.substr(before.size()) : "";
}

std::string TextStream::add(std::int32_t id) {
  window_.push_back(id);
  std::string text = new_text();
  const std::size_t held = window_.size() - context_;
  if (text.empty() || (text.ends_with(kReplacement) && held < kMostHeld)) return "";
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(context_));
  context_ = window_.size();
  return text;
}

std::string TextStream::finish() {
  std::string text = new_text();
  context_ = window_.size();
  return text;
}

}  // namespace sluice::train
