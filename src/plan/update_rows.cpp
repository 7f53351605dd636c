#include "plan/update_rows.h"

#include <algorithm>
#include <utility>

namespace sluice::plan {
namespace {

class UpdateRows {
 public:
  UpdateRows(const UpdatePlace& place, int chunk, SkipWhen skip)
      : trace_(place.trace),
        recipe_(place.recipe),
        buffers_(place.buffers),
        tier_(place.tier),
        chunk_(chunk),
        skip_(skip),
        rule_(recipe_.rules[trace_.chunks[chunk].rule]) {}

  // Slice by slice, so that the moments never stand whole in fast memory. Passes that measure go upwards, as sums do;
  // the last one comes down again, from the slices that are still there.
  std::vector<Row> all() && {
    const int num_slices = buffers_.num_slices(chunk_), last = rule_.measuring_passes;
    const bool joint = recipe_.sharding.states();
    for (int pass = 0; pass < last; ++pass) {
      if (joint) exchange_sums(ActionKind::Recv, pass);
      for (int slice = 0; slice < num_slices; ++slice) update_slice(slice, pass);
      if (joint) exchange_sums(ActionKind::Send, pass);
      if (joint) exchange_sums(ActionKind::Broadcast, pass);
    }
    for (int n = 0; n < num_slices; ++n) update_slice(last > 0 ? num_slices - 1 - n : n, last);
    return std::move(rows_);
  }

 private:
  // Of tensors that ranks divide: each goes on where the one before has stopped, as from one slice to the next. In the
  // end all have the whole sums and conclude from them.
  void exchange_sums(ActionKind kind, int pass) {
    Row row{.kind = kind, .skip = skip_, .chunk = chunk_, .pass = pass};
    for (int m = 0; kind == ActionKind::Broadcast && m < num_states(); ++m) {
      const BufferId buffer = buffers_.moment(chunk_, m, 0);
      if (rule_.states[m].per_block == 0 && buffer >= 0) row.uses.push_back({buffer, tier_, Access::ReadWrite});
    }
    rows_.push_back(std::move(row));
  }

  void update_slice(int slice, int pass) {
    const bool applies = pass == rule_.measuring_passes;
    Row row{.kind = ActionKind::Update, .skip = skip_, .chunk = chunk_, .slice = slice};
    if (rule_.measuring_passes > 0) row.pass = pass;
    row.uses.push_back({buffers_.weight(chunk_), tier_, applies ? Access::ReadWrite : Access::Read});
    const ElementRange range = buffers_.slice(chunk_, slice);
    const std::int64_t count = range.count;
    row.bytes = count * Bytes{sizeof(float)} * (applies ? 3 : 2);
    add_whole_tensors(row, range);
    const Access of_gradient = recipe_.clamps || !row.of_tensors.empty() ? Access::ReadWrite : Access::Read;
    row.uses.push_back({buffers_.reduced_gradient(chunk_), tier_, of_gradient});
    for (int m = 0; m < num_states(); ++m) {
      const bool sliced = rule_.states[m].per_block > 0;
      const BufferId buffer = buffers_.moment(chunk_, m, slice);
      if (buffer < 0 || (sliced && !applies && !rule_.measures_states)) continue;
      row.uses.push_back({buffer, tier_, sliced && !applies ? Access::Read : Access::ReadWrite});
      if (sliced) row.bytes += count / kStateBlock * rule_.states[m].per_block * (applies ? 2 : 1);
    }
    rows_.push_back(std::move(row));
  }

  // Computed in the gradient's memory, which is written once more and read twice.
  void add_whole_tensors(Row& row, const ElementRange& slice) const {
    for (const ParameterSlot& parameter : trace_.chunks[chunk_].parameters) {
      const bool here = parameter.first_element >= slice.first && parameter.first_element < slice.first + slice.count;
      if (!here || parameter.update < 0) continue;
      row.of_tensors.push_back(&trace_.updates[parameter.update]);
      row.bytes += 3 * parameter.num_elements * Bytes{sizeof(float)};
    }
  }

  [[nodiscard]] int num_states() const { return static_cast<int>(rule_.states.size()); }

  const StepTrace& trace_;
  const Recipe& recipe_;
  const BufferTable& buffers_;
  const int tier_, chunk_;
  const SkipWhen skip_;
  const RuleNeeds& rule_;
  std::vector<Row> rows_;
};

}  // namespace

std::vector<Row> update_rows(const UpdatePlace& place, int chunk, SkipWhen skip) {
  return UpdateRows(place, chunk, skip).all();
}

}  // namespace sluice::plan
