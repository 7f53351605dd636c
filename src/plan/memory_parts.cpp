#include "plan/memory_parts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "plan/simulator.h"

namespace sluice::plan {
namespace {

bool covers(const Residence& stay, std::int32_t index) {
  if (stay.first <= stay.last) return stay.first <= index && index <= stay.last;
  return index >= stay.first || index <= stay.last;
}

// Marks the actions during which one buffer's content is alive, round the period's end where it must be.
class Lifetime {
 public:
  Lifetime(const Plan& plan, BufferId buffer) : changes_(plan.actions.size() + 1, 0) {
    std::vector<std::pair<std::int32_t, Access>> uses;
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan.actions.size()); ++i) {
      const Action& action = plan.actions[i];
      if (action.kind == ActionKind::Fetch || action.kind == ActionKind::WriteBack) continue;
      for (const Slot& slot : action.slots) {
        if (slot.buffer == buffer) uses.emplace_back(i, slot.access);
      }
    }
    for (std::size_t u = 0; u < uses.size(); ++u) {
      const auto& [index, unused] = uses[u];
      const auto& [next, access] = uses[(u + 1) % uses.size()];
      mark(index, index);
      if (access == Access::Write) continue;
      if (next > index) {
        mark(index + 1, next - 1);
      } else {
        mark(index + 1, static_cast<std::int32_t>(plan.actions.size()) - 1);
        mark(0, next - 1);
      }
    }
  }
  void add_to(std::vector<Bytes>& curve, Bytes bytes) const {
    int depth = 0;
    for (std::size_t i = 0; i < curve.size(); ++i) {
      depth += changes_[i];
      if (depth > 0) curve[i] += bytes;
    }
  }

 private:
  void mark(std::int32_t first, std::int32_t last) {
    if (first > last) return;
    changes_[first] += 1;
    changes_[last + 1] -= 1;
  }
  std::vector<int> changes_;
};

}  // namespace

Bytes MemoryParts::total() const {
  Bytes total = workspace;
  for (const auto& [kind, bytes] : buffers) total += bytes;
  return total;
}

MemoryParts parts_at_peak(const Plan& plan, int tier) {
  MemoryParts parts;
  const std::vector<Bytes> curve = occupancy(plan, tier + 1)[tier];
  if (curve.empty()) return parts;
  const auto fullest = static_cast<std::int32_t>(std::ranges::max_element(curve) - curve.begin());
  for (const Residence& stay : plan.residences) {
    if (stay.tier == tier && covers(stay, fullest))
      parts.buffers[plan.buffers[stay.buffer].kind] += plan.buffers[stay.buffer].bytes;
  }
  if (tier == 0) parts.workspace = plan.actions[fullest].workspace;
  return parts;
}

Bytes most_alive(const Plan& plan, BufferKind kind) {
  Bytes always = 0;
  std::vector<Bytes> curve(plan.actions.size(), 0);
  for (BufferId id = 0; id < static_cast<BufferId>(plan.buffers.size()); ++id) {
    const Buffer& buffer = plan.buffers[id];
    if (buffer.kind != kind) continue;
    if (buffer.persistent) {
      const bool in_memory = std::ranges::find(plan.entry, id, &EntryState::buffer) != plan.entry.end();
      always += in_memory ? buffer.bytes : buffer.bytes_on_disk();
    } else {
      Lifetime(plan, id).add_to(curve, buffer.bytes);
    }
  }
  return always + (curve.empty() ? 0 : *std::ranges::max_element(curve));
}

StateElements state_elements(const Plan& train) {
  StateElements elements;
  for (const Buffer& buffer : train.buffers) {
    if (buffer.kind == BufferKind::Weight) elements.weights += buffer.num_elements;
    if (buffer.kind != BufferKind::Gradient) continue;
    if (buffer.shard == train.sharding.gradients()) elements.gradients += buffer.num_elements;
    if (!buffer.shard) elements.updated += train.sharding.elements_per_rank(buffer.num_elements);
  }
  return elements;
}

std::string describe_parts(const MemoryParts& parts) {
  std::vector<std::pair<Bytes, std::string>> rows = {{parts.workspace, "workspace"}};
  for (const auto& [kind, bytes] : parts.buffers) rows.emplace_back(bytes, name(kind));
  std::ranges::sort(rows, std::greater{});
  std::string text;
  for (const auto& [bytes, what] : rows) {
    if (bytes > 0) text += (text.empty() ? "" : ", ") + what + " " + format_bytes(bytes);
  }
  return text;
}

}  // namespace sluice::plan
