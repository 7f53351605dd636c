// Libraries that carry a job between processes, and where a rank stands in it.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/catalog.h"
#include "collective/communicator.h"
#include "collective/transport.h"

namespace sluice::collective {

/// A rank's place in the job and how it finds the others.
struct Place {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;  ///< among the ranks of this node
  int local_size = 1;  ///< ranks of this node
  std::string master_address = "127.0.0.1";
  int master_port = 0;
  int listener = -1;        ///< rank 0: a socket that listens on that port already; -1: none
  bool store_runs = false;  ///< the launcher itself serves the rendezvous there
  std::string secret;       ///< of this job: a rank of another one that comes to the same port finds nobody
};

struct Library {
  /// Connects to all ranks of the job. Throws CommError that names the ranks that did not come, ConfigError when the
  /// library is not installed or cannot serve this place.
  std::unique_ptr<Transport> (*connect)(const Place& place, const Limits& limits);
  bool (*is_installed)();
};

using LibraryRow = CatalogRow<Library>;

/// All rows, for `sluice list collectives`.
std::span<const LibraryRow> library_catalog();

/// The communicator of all ranks over the library called `name`. Throws as Library::connect.
std::unique_ptr<Communicator> connect_world(std::string_view name, const Place& place, const Limits& limits = {});

}  // namespace sluice::collective
