// Sums over whole tensors of which ranks hold parts: in every pass that measures, a rank begins with what the one
// before has added up, measures all of its own part, and hands on; then all get the whole, and only then does the next
// pass begin. A rank that waits for the one before waits for actions that stand later in the list, so no other exchange
// may stand between: that is what keeps ranks from waiting for each other in a circle.
#include <set>

#include "plan/check_rules.h"

namespace sluice::plan {
namespace {

class SharedSums {
 public:
  SharedSums(const Plan& plan, CheckReport& report) : plan_(plan), report_(report) {}

  void run() {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(plan_.actions.size()); ++i) {
      const Action& action = plan_.actions[i];
      if (exchanges_sums(action)) {
        exchange(i);
      } else if (action.kind == ActionKind::Update && action.pass >= 0) {
        update(i);
      } else if (stage_ != Stage::Shared && exchanges_other(action)) {
        report_.add(i, -1, "an exchange while ranks wait for each other's sums");
      }
    }
    if (stage_ != Stage::Shared) report_.add("the period ends with sums that ranks have not shared");
  }

 private:
  enum class Stage { Shared, Taken, HandedOn };

  static bool exchanges_other(const Action& action) {
    return action.lane == Lane::Communication || action.kind == ActionKind::AllReduce;
  }

  void exchange(std::int32_t i) {
    const Action& action = plan_.actions[i];
    if (!plan_.sharding.states()) report_.add(i, -1, "sums of tensors that no rank divides");
    if (action.kind == ActionKind::Recv) {
      if (stage_ != Stage::Shared) report_.add(i, -1, "begins sums before those before it are shared");
      if (action.pass > 0) expect_shared(i, action.pass - 1);
      stage_ = Stage::Taken;
      chunk_ = action.chunk;
      pass_ = action.pass;
      skip_ = action.skip;
      measured_.clear();
      return;
    }
    const bool sends = action.kind == ActionKind::Send;
    if (stage_ != (sends ? Stage::Taken : Stage::HandedOn) || action.chunk != chunk_ || action.pass != pass_)
      report_.add(i, -1, sends ? "hands on sums that it has not begun" : "shares sums that were not handed on");
    expect_skip(i);
    if (sends && static_cast<std::int64_t>(measured_.size()) < num_slices())
      report_.add(i, -1, "hands on sums that lack slices");
    stage_ = sends ? Stage::HandedOn : Stage::Shared;
  }

  void update(std::int32_t i) {
    if (!plan_.sharding.states()) return;
    const Action& action = plan_.actions[i];
    bool measures = true;
    for (const Slot& slot : action.slots) {
      if (plan_.buffers[slot.buffer].kind == BufferKind::Weight) measures = slot.access == Access::Read;
    }
    if (!measures) return expect_shared(i, action.pass - 1);
    if (stage_ != Stage::Taken || action.chunk != chunk_ || action.pass != pass_)
      report_.add(i, -1, "measures before it has the sums of the rank before");
    expect_skip(i);
    measured_.insert(action.slice);
  }

  void expect_shared(std::int32_t i, int pass) {
    if (stage_ != Stage::Shared || plan_.actions[i].chunk != chunk_ || pass != pass_)
      report_.add(i, -1, "needs sums that ranks have not shared");
    expect_skip(i);
  }

  void expect_skip(std::int32_t i) {
    if (plan_.actions[i].skip != skip_) report_.add(i, -1, "is skipped when its sums are not");
  }

  // Of a rank's part of the chunk; 0: a plan made by hand may not say.
  [[nodiscard]] std::int64_t num_slices() const {
    if (chunk_ < 0 || chunk_ >= static_cast<int>(plan_.slice_elements.size())) return 0;
    const std::int64_t size = plan_.slice_elements[chunk_];
    for (const Buffer& buffer : plan_.buffers) {
      if (size <= 0 || buffer.kind != BufferKind::Weight || buffer.chunk != chunk_) continue;
      const std::int64_t own =
          buffer.shard ? buffer.num_elements : plan_.sharding.elements_per_rank(buffer.num_elements);
      return (own + size - 1) / size;
    }
    return 0;
  }

  const Plan& plan_;
  CheckReport& report_;
  Stage stage_ = Stage::Shared;
  int chunk_ = -1, pass_ = -1;  // of the sums that were begun last
  SkipWhen skip_ = SkipWhen::Never;
  std::set<int> measured_;  // slices
};

}  // namespace

void check_shared_sums(const Plan& plan, CheckReport& report) { SharedSums(plan, report).run(); }

}  // namespace sluice::plan
