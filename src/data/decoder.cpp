#include "data/byte_level.h"
#include "data/components.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

class ByteLevelDecoder final : public Decoder {
 public:
  std::vector<std::string> apply(std::vector<std::string> tokens) const override {
    std::string bytes;
    for (const auto& token : tokens) bytes += from_byte_alphabet(token).value_or(token);
    return {repair_utf8(bytes)};
  }
};

class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(const nlohmann::json& config) {
    for (const auto& part : config.at("decoders"))
      if (auto decoder = make_decoder(part)) parts_.push_back(std::move(decoder));
  }
  std::vector<std::string> apply(std::vector<std::string> tokens) const override {
    for (const auto& part : parts_) tokens = part->apply(std::move(tokens));
    return tokens;
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const nlohmann::json& config) {
  if (config.is_null()) return nullptr;
  const auto type = config.at("type").get<std::string>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "Sequence") return std::make_unique<DecoderSequence>(config);
  refuse_component("decoder", type);
}

}  // namespace sluice::data
