#include "plan/first_fit.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace sluice::plan {

Bytes FirstFit::allocate(Bytes bytes) {
  SLUICE_CHECK(bytes > 0);
  bytes = round_up(bytes, kAlignment);
  const auto hole = std::find_if(holes_.begin(), holes_.end(), [&](const auto& h) { return h.second >= bytes; });
  Bytes offset = top_;
  if (hole == holes_.end()) {
    top_ += bytes;
    peak_ = std::max(peak_, top_);
  } else {
    offset = hole->first;
    const Bytes rest = hole->second - bytes;
    holes_.erase(hole);
    if (rest > 0) holes_.emplace(offset + bytes, rest);
  }
  live_.emplace(offset, bytes);
  live_bytes_ += bytes;
  return offset;
}

void FirstFit::release(Bytes offset) {
  const auto found = live_.find(offset);
  SLUICE_CHECK(found != live_.end(), "offset ", offset, " is not allocated");
  Bytes begin = offset;
  Bytes end = offset + found->second;
  live_bytes_ -= found->second;
  live_.erase(found);
  auto next = holes_.lower_bound(begin);
  if (next != holes_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      begin = before->first;
      holes_.erase(before);
    }
  }
  if (next != holes_.end() && next->first == end) {
    end += next->second;
    holes_.erase(next);
  }
  if (end == top_) {
    top_ = begin;
  } else {
    holes_.emplace(begin, end - begin);
  }
}

}  // namespace sluice::plan
