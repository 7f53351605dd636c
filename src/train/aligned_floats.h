// A page-aligned block of floats: staging memory for loading and saving.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "base/units.h"

namespace sluice::train {

/// Owns `count` floats, 4096-aligned, zeroed (so that they are resident from the start).
class AlignedFloats {
 public:
  explicit AlignedFloats(std::size_t count)
      : data_(static_cast<float*>(std::aligned_alloc(
                  4096, static_cast<std::size_t>(round_up(static_cast<Bytes>(count * sizeof(float)), 4096)))),
              &std::free),
        count_(count) {
    if (!data_) throw std::bad_alloc();
    for (float& value : span()) value = 0.0F;
  }
  [[nodiscard]] std::span<float> span() const { return {data_.get(), count_}; }

 private:
  std::unique_ptr<float, decltype(&std::free)> data_;
  std::size_t count_;
};

}  // namespace sluice::train
