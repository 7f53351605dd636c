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
        rule_(recipe_.rules[trace_.chunks[chunk].rule]),
        joint_(recipe_.sharding.states()),
        directs_(joint_ && updates_whole_tensors(trace_.chunks[chunk])),
        num_passes_(directs_ ? 1 : rule_.measuring_passes) {}

  // Slice by slice, so that the moments never stand whole in fast memory. Passes that measure go upwards, as sums do;
  // the last one comes down again, from the slices that are still there.
  std::vector<Row> all() && {
    const int num_slices = buffers_.num_slices(chunk_);
    for (int pass = 0; pass < num_passes_; ++pass) {
      const std::size_t begin = rows_.size();
      if (joint_) exchange(ActionKind::Recv, pass);
      for (int slice = 0; slice < num_slices; ++slice) update_slice(slice, pass);
      if (!joint_) continue;
      for (std::size_t i = begin + 1; !directs_ && i < rows_.size(); ++i) rows_[begin].bytes += rows_[i].bytes;
      exchange(ActionKind::Send, pass);
      exchange(ActionKind::Broadcast, pass);
    }
    for (int n = 0; n < num_slices; ++n) update_slice(num_passes_ > 0 ? num_slices - 1 - n : n, num_passes_);
    return std::move(rows_);
  }

 private:
  void exchange(ActionKind kind, int pass) {
    Row row{.kind = kind, .skip = skip_, .chunk = chunk_, .pass = pass};
    if (directs_) {
      add_directions(row);
    } else {
      add_sums(row);
    }
    rows_.push_back(std::move(row));
  }

  // Of tensors that ranks divide: each rank goes on where the one before has stopped, as from one slice to the next. In
  // the end all have the whole sums and conclude from them.
  void add_sums(Row& row) const {
    for (int m = 0; row.kind == ActionKind::Broadcast && m < num_states(); ++m) {
      const BufferId buffer = buffers_.moment(chunk_, m, 0);
      if (rule_.states[m].per_block == 0 && buffer >= 0) row.uses.push_back({buffer, tier_, Access::ReadWrite});
    }
  }

  // Each rank has made the directions of its part, in the gradient's memory. Parts of a matrix come together on one
  // rank, and go back as parts of what updates follow.
  void add_directions(Row& row) const {
    if (row.kind == ActionKind::Recv) return;
    const bool sends = row.kind == ActionKind::Send;
    row.uses.push_back({buffers_.reduced_gradient(chunk_), tier_, sends ? Access::Read : Access::ReadWrite});
    const Chunk& chunk = trace_.chunks[chunk_];
    const std::int64_t own = recipe_.sharding.elements_per_rank(chunk.num_elements);
    for (const ParameterSlot& parameter : chunk.parameters) {
      if (parameter.update < 0) continue;
      const std::int64_t last = parameter.first_element + parameter.num_elements - 1;
      if (parameter.first_element / own != last / own)
        row.bytes = std::max(row.bytes, parameter.num_elements * Bytes{sizeof(float)});
      if (!sends) row.of_tensors.push_back(&trace_.updates[parameter.update]);
    }
    if (!sends) row.put_together = row.bytes;
  }

  void update_slice(int slice, int pass) {
    const bool applies = pass == num_passes_;
    Row row{.kind = ActionKind::Update, .skip = skip_, .chunk = chunk_, .slice = slice};
    if (num_passes_ > 0) row.pass = pass;
    row.uses.push_back({buffers_.weight(chunk_), tier_, applies ? Access::ReadWrite : Access::Read});
    const ElementRange range = buffers_.slice(chunk_, slice);
    const std::int64_t count = range.count;
    row.bytes = count * Bytes{sizeof(float)} * (applies ? 3 : 2);
    if (!joint_) add_whole_tensors(row, range);
    const bool makes_directions = directs_ && !applies;
    const bool writes = recipe_.clamps || makes_directions || !row.of_tensors.empty();
    row.uses.push_back({buffers_.reduced_gradient(chunk_), tier_, writes ? Access::ReadWrite : Access::Read});
    for (int m = 0; m < num_states(); ++m) {
      const bool sliced = rule_.states[m].per_block > 0;
      const BufferId buffer = buffers_.moment(chunk_, m, slice);
      if (buffer < 0 || (sliced && !uses_states(applies))) continue;
      const bool changes = !sliced || applies || makes_directions;
      row.uses.push_back({buffer, tier_, changes ? Access::ReadWrite : Access::Read});
      if (sliced) row.bytes += count / kStateBlock * rule_.states[m].per_block * (changes ? 2 : 1);
    }
    rows_.push_back(std::move(row));
  }

  // The sliced ones. A direction is made of them, and what follows it no longer needs them.
  [[nodiscard]] bool uses_states(bool applies) const {
    return directs_ ? !applies : applies || rule_.measures_states;
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
  const bool joint_;    // ranks divide the states
  const bool directs_;  // and updates need tensors whole: a first pass makes the rank's part of what they follow
  const int num_passes_;
  std::vector<Row> rows_;
};

}  // namespace

std::vector<Row> update_rows(const UpdatePlace& place, int chunk, SkipWhen skip) {
  return UpdateRows(place, chunk, skip).all();
}

}  // namespace sluice::plan
