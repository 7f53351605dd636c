#include "base/error.h"
#include "data/components.h"
#include "data/unicode.h"

namespace sluice::data {
namespace {

class UnicodeNormalizer final : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalForm form) : form_(form) {}
  std::string apply(std::string_view text) const override { return normalize(text, form_); }

 private:
  NormalForm form_;
};

class LowercaseNormalizer final : public Normalizer {
 public:
  std::string apply(std::string_view text) const override { return lowercase(text); }
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(const nlohmann::json& config) {
    for (const auto& part : config.at("normalizers"))
      if (auto normalizer = make_normalizer(part)) parts_.push_back(std::move(normalizer));
  }
  std::string apply(std::string_view text) const override {
    std::string result(text);
    for (const auto& part : parts_) result = part->apply(result);
    return result;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

void refuse_component(std::string_view kind, std::string_view type) {
  throw FormatError("data.tokenizer", std::string(kind) + " '" + std::string(type) + "' is not supported", {},
                    "pre-tokenise the data with the Python tokenizer instead");
}

std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& config) {
  if (config.is_null()) return nullptr;
  const auto type = config.at("type").get<std::string>();
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(NormalForm::C);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(NormalForm::D);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(NormalForm::KC);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(NormalForm::KD);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "Sequence") return std::make_unique<NormalizerSequence>(config);
  refuse_component("normalizer", type);
}

}  // namespace sluice::data
