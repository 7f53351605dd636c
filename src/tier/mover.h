// What a lane does with one move of a plan: the bytes of a buffer go to the neighbouring tier. Disk lanes move between
// the lowest arena and a store, copy lanes between the arenas of a device and the host.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "plan/plan.h"
#include "tier/copy_engine.h"
#include "tier/store.h"

namespace sluice::tier {

/// Where each arena tier's memory begins, fastest first.
using ArenaBases = std::vector<std::byte*>;

struct Period;

/// For one thread. Memory, store and objects are borrowed.
class Mover {
 public:
  virtual ~Mover();
  /// The moves that follow are of this period.
  virtual void begin(const Period& /*period*/) {}
  /// Plays a fetch or write_back of `buffer`. Returns when the bytes have arrived. Throws IoError, FormatError, and
  /// InternalError for slots that name no place.
  virtual void move(const plan::Action& action, const plan::Buffer& buffer) = 0;
};

/// Memory that a disk mover takes when it first writes numbers of 16 bits.
inline constexpr Bytes kNarrowStaging = 8 * MiB;

/// Between an arena and `store`, through a channel of its own. `objects` maps buffers to the
/// store's objects. Numbers change their format where a buffer says that arena and disk have different ones.
std::unique_ptr<Mover> make_disk_mover(Store& store, ArenaBases arenas, std::span<const ObjectId> objects);

/// Between two arenas.
std::unique_ptr<Mover> make_copy_mover(std::unique_ptr<CopyEngine> engine, ArenaBases arenas);

}  // namespace sluice::tier
