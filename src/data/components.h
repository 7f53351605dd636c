// The steps of a tokenizer.json around its model, each as one immutable object: normalizer, pre-tokenizer,
// post-processor and decoder. An unknown "type" is a FormatError that names it.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace sluice::data {

using PieceSink = std::function<void(std::string_view)>;

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string_view text) const = 0;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Hands the parts of `piece` to `sink` in order; none is empty. The views live during the call only.
  virtual void split(std::string_view piece, const PieceSink& sink) const = 0;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual std::vector<std::string> apply(std::vector<std::string> tokens) const = 0;
};

/// Each takes the JSON value of its key; null gives nullptr.
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& config);
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const nlohmann::json& config);
std::unique_ptr<Decoder> make_decoder(const nlohmann::json& config);
/// What the post-processor puts around a single text.
SpecialFrame make_special_frame(const nlohmann::json& config);

/// Throws FormatError: "<kind> '<type>' is not supported".
[[noreturn]] void refuse_component(std::string_view kind, std::string_view type);

}  // namespace sluice::data
