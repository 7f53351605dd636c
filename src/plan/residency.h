// Where each buffer waits between two uses. Greedy by next use: of all gaps between consecutive uses, the ones that
// save most traffic per byte and second of memory are held first, as long as every row of the period still fits.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "plan/machine.h"
#include "plan/step.h"

namespace sluice::plan {

/// When rows run if nothing ever waits: the clock by which next uses are compared.
struct RowTimes {
  std::vector<Seconds> start;  ///< one more entry than rows: the last is the total
  [[nodiscard]] Seconds duration(int row) const { return start[row + 1] - start[row]; }
  [[nodiscard]] Seconds total() const { return start.back(); }
};

/// Bytes needed per arena tier and row; a range may wrap round the end of the period.
class Profile {
 public:
  Profile(int num_arena_tiers, int num_rows);
  void add(int tier, int first, int last, Bytes bytes);
  [[nodiscard]] Bytes most(int tier, int first, int last) const;
  [[nodiscard]] Bytes at(int tier, int row) const { return bytes_[tier][row]; }
  [[nodiscard]] int num_rows() const { return num_rows_; }

 private:
  int num_rows_;
  std::vector<std::vector<Bytes>> bytes_;
};

/// The time between a use of a buffer and the next one.
struct Gap {
  BufferId buffer = -1;
  Use from, to;
  int from_row = -1, to_row = -1;
  bool wraps = false;  ///< from_row >= to_row: it crosses the period's end
  bool must_hold = false;
  int hold_tier = 0;       ///< with must_hold: it waits in this tier or below
  bool must_park = false;  ///< of a variant that is no cycle: the lowest tier keeps it outside
  int level = -1;          ///< the tier where it waits
};

/// A row that does not fit even if nothing is held.
struct Shortage {
  int tier = 0;
  int row = -1;
  Bytes needed = 0, limit = 0;
};

struct Residency {
  std::vector<Gap> gaps;  ///< live gaps only, by buffer, then in cyclic order
  Profile profile;
  std::vector<Shortage> shortages;  ///< empty when it fits
};

/// What a variant that is no cycle starts and ends with, and whether the last tier is a store (else everything is
/// held).
struct ResidencyOptions {
  std::vector<Bytes> limits;  ///< per arena tier
  int num_tiers = 1;
  bool has_store = false;
  bool cyclic = true;
};

[[nodiscard]] Residency choose_residency(const StepRows& step, const RowTimes& times, std::span<const Bytes> workspace,
                                         const ResidencyOptions& options);

}  // namespace sluice::plan
