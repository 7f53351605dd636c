#include "launch/environment.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace sluice::launch {
namespace {

using collective::Place;

constexpr int kDefaultPort = 29500;  // torchrun's

class Reader {
 public:
  Reader(const Lookup& lookup, std::string launcher) : lookup_(lookup), launcher_(std::move(launcher)) {}

  [[nodiscard]] bool has(const char* name) const { return lookup_(name).has_value(); }

  [[nodiscard]] std::string text(const char* name, const std::string& absent) const {
    return lookup_(name).value_or(absent);
  }

  [[nodiscard]] int number(const char* name, std::optional<int> absent = std::nullopt) const {
    const std::optional<std::string> text = lookup_(name);
    if (!text && absent) return *absent;
    int value = 0;
    const char* end = text ? text->data() + text->size() : nullptr;
    if (!text || std::from_chars(text->data(), end, value).ptr != end || value < 0) {
      throw ConfigError("launch", "the environment of " + launcher_ + " is broken",
                        "expected a number in " + std::string(name) + ", got " + (text ? "'" + *text + "'" : "nothing"),
                        "start through the launcher, or unset its variables");
    }
    return value;
  }

  [[nodiscard]] Place ranks(const char* rank, const char* size) const {
    Place place;
    place.rank = number(rank);
    place.world_size = number(size);
    return place;
  }

  /// Where rank 0 is: torchrun's names, which users set for other launchers too.
  void read_master(Place& place) const {
    place.master_address = text("MASTER_ADDR", place.master_address);
    place.master_port = number("MASTER_PORT", place.master_port == 0 ? kDefaultPort : place.master_port);
    place.secret = text(kSecretVariable, place.secret);
  }

  void check(const Place& place) const {
    if (place.rank < place.world_size && place.local_rank < place.local_size) return;
    throw ConfigError("launch", "the environment of " + launcher_ + " contradicts itself",
                      "expected a rank below " + std::to_string(place.world_size) + ", got " +
                          std::to_string(place.rank) + " (local " + std::to_string(place.local_rank) + " of " +
                          std::to_string(place.local_size) + ")",
                      "unset the variables that another launcher left");
  }

 private:
  const Lookup& lookup_;
  std::string launcher_;
};

Place read_torchrun(const Reader& reader) {
  Place place = reader.ranks("RANK", "WORLD_SIZE");
  place.local_rank = reader.number("LOCAL_RANK", place.rank);
  place.local_size = reader.number("LOCAL_WORLD_SIZE", place.world_size);
  // torchrun serves a store of its own at that address while its ranks run.
  place.store_runs = reader.text("TORCHELASTIC_USE_AGENT_STORE", "False") == "True";
  place.secret = reader.text("TORCHELASTIC_RUN_ID", "") + "/" + reader.text("TORCHELASTIC_RESTART_COUNT", "0");
  place.listener = reader.number(kListenerVariable, -1);
  reader.read_master(place);
  return place;
}

Place read_mpirun(const Reader& reader) {
  Place place = reader.ranks("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
  place.local_rank = reader.number("OMPI_COMM_WORLD_LOCAL_RANK", place.rank);
  place.local_size = reader.number("OMPI_COMM_WORLD_LOCAL_SIZE", place.world_size);
  place.secret = reader.text("OMPI_MCA_ess_base_jobid", "") + reader.text("PMIX_NAMESPACE", "");
  reader.read_master(place);
  return place;
}

Place read_pmi(const Reader& reader) {
  Place place = reader.ranks("PMI_RANK", "PMI_SIZE");
  place.local_rank = reader.number("MPI_LOCALRANKID", place.rank);
  place.local_size = reader.number("MPI_LOCALNRANKS", place.world_size);
  reader.read_master(place);
  return place;
}

/// "3(x2),1": the number of the tasks of each node, in the order of the nodes.
int tasks_of_node(std::string_view counts, int node) {
  int first_node = 0, tasks = 1;
  while (!counts.empty()) {
    const std::string_view item = counts.substr(0, counts.find(','));
    counts.remove_prefix(std::min(counts.size(), item.size() + 1));
    int times = 1;
    std::from_chars(item.data(), item.data() + item.size(), tasks);
    if (const std::size_t x = item.find("(x"); x != std::string_view::npos) {
      std::from_chars(item.data() + x + 2, item.data() + item.size(), times);
    }
    first_node += times;
    if (node < first_node) break;
  }
  return tasks;
}

Place read_slurm(const Reader& reader) {
  Place place = reader.ranks("SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
  place.local_rank = reader.number("SLURM_LOCALID", 0);
  const std::string counts = reader.text("SLURM_STEP_TASKS_PER_NODE", std::to_string(place.world_size));
  place.local_size = tasks_of_node(counts, reader.number("SLURM_NODEID", 0));
  const std::string nodes = reader.text("SLURM_STEP_NODELIST", reader.text("SLURM_JOB_NODELIST", ""));
  if (reader.number("SLURM_STEP_NUM_NODES", 1) > 1) place.master_address = first_slurm_host(nodes);
  // Jobs that share a node must not share a port; those of one user would not share a secret either.
  const int job = reader.number("SLURM_JOB_ID", 0);
  const int step = reader.number("SLURM_STEP_ID", 0);
  place.master_port = 20000 + (job * 16 + step % 16) % 10000;
  place.secret = std::to_string(job) + "." + std::to_string(step);
  reader.read_master(place);
  return place;
}

struct Source {
  Launcher launcher;
  const char* rank;
  const char* size;
  Place (*read)(const Reader& reader);
};

// The most specific first: under Slurm or torchrun an MPI's variables may stand beside theirs, and the reverse.
constexpr Source kSources[] = {
    {Launcher::Torchrun, "RANK", "WORLD_SIZE", read_torchrun},
    {Launcher::Mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", read_mpirun},
    {Launcher::Pmi, "PMI_RANK", "PMI_SIZE", read_pmi},
    {Launcher::Slurm, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", read_slurm},
};

}  // namespace

std::string_view launcher_name(Launcher launcher) {
  switch (launcher) {
    case Launcher::None:
      return "no launcher";
    case Launcher::Sluice:
      return "sluice --nproc";
    case Launcher::Torchrun:
      return "torchrun";
    case Launcher::Mpirun:
      return "mpirun";
    case Launcher::Pmi:
      return "an MPI launcher (PMI)";
    case Launcher::Slurm:
      return "Slurm";
  }
  return "";
}

std::optional<std::string> process_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string first_slurm_host(std::string_view nodes) {
  const std::size_t bracket = nodes.find('[');
  const std::size_t comma = nodes.find(',');
  if (bracket == std::string_view::npos || comma < bracket) return std::string(nodes.substr(0, comma));
  const std::string_view inside = nodes.substr(bracket + 1);
  const std::string_view after = inside.substr(std::min(inside.size(), inside.find(']') + 1));
  return std::string(nodes.substr(0, bracket)) + std::string(inside.substr(0, inside.find_first_of(",-]"))) +
         std::string(after.substr(0, after.find(',')));
}

Environment detect(const Lookup& lookup) {
  for (const Source& source : kSources) {
    const Launcher launcher = lookup(kListenerVariable) ? Launcher::Sluice : source.launcher;
    const Reader reader(lookup, std::string(launcher_name(launcher)));
    if (!reader.has(source.rank) || !reader.has(source.size)) continue;
    const Place place = source.read(reader);
    if (place.world_size <= 1) continue;
    reader.check(place);
    return {launcher, place};
  }
  return {};
}

}  // namespace sluice::launch
