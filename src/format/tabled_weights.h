// What the weight sources share: the table of their tensors, in file order and by name.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "format/weight_source.h"

namespace sluice::format {

class TabledWeights : public WeightSource {
 public:
  std::span<const TensorInfo> tensors() const final { return infos_; }
  const TensorInfo* find(std::string_view name) const final {
    const auto found = index_of(name);
    return found ? &infos_[*found] : nullptr;
  }

 protected:
  /// False if there is a tensor of this name; then nothing has changed.
  bool add(TensorInfo tensor) {
    if (!by_name_.emplace(tensor.name, infos_.size()).second) return false;
    infos_.push_back(std::move(tensor));
    return true;
  }
  /// Its place among `tensors`.
  std::optional<std::size_t> index_of(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::vector<TensorInfo> infos_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

}  // namespace sluice::format
