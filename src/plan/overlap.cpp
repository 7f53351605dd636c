#include "plan/overlap.h"

#include <algorithm>
#include <utility>

namespace sluice::plan {
namespace {

/// A computation (all micro-batches of one block or segment) with the rows that belong to it.
struct Part {
  std::vector<Row> before, rows, exchanges, after;
};

bool is_computation(const Row& row) { return row.kind == ActionKind::Forward || row.kind == ActionKind::Backward; }

bool same_computation(const Row& a, const Row& b) {
  return a.kind == b.kind && a.block == b.block && a.segment == b.segment && a.repeat == b.repeat;
}

bool has_exchange(const std::vector<Row>& rows) {
  return std::ranges::any_of(rows, [](const Row& row) { return row.lane == Lane::Communication; });
}

void append(std::vector<Row>& to, std::vector<Row>& from) {
  std::ranges::move(from, std::back_inserter(to));
  from.clear();
}

}  // namespace

std::vector<Row> overlap_exchanges(std::vector<Row> rows) {
  std::vector<Part> parts;
  std::vector<Row> entry, exit, before;
  for (Row& row : rows) {
    if (row.kind == ActionKind::Evict) {
      (parts.empty() && before.empty() && entry.empty() ? entry : exit).push_back(std::move(row));
    } else if (is_computation(row)) {
      if (parts.empty() || !before.empty() || !same_computation(parts.back().rows.back(), row) ||
          !parts.back().exchanges.empty() || !parts.back().after.empty())
        parts.push_back({.before = std::exchange(before, {}), .rows = {}, .exchanges = {}, .after = {}});
      parts.back().rows.push_back(std::move(row));
    } else if (row.serves == Serves::Next || parts.empty()) {
      before.push_back(std::move(row));
    } else {
      (row.serves == Serves::Last ? parts.back().after : parts.back().exchanges).push_back(std::move(row));
    }
  }
  std::vector<Row> result = std::move(entry);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    append(result, parts[p].before);
    if (p + 1 < parts.size() && has_exchange(parts[p + 1].before)) append(result, parts[p + 1].before);
    append(result, parts[p].rows);
    append(result, parts[p].exchanges);
    if (p > 0) append(result, parts[p - 1].after);
    const bool waits = has_exchange(parts[p].exchanges) && p + 1 < parts.size();
    if (!waits) append(result, parts[p].after);
  }
  append(result, before);
  append(result, exit);
  return result;
}

}  // namespace sluice::plan
