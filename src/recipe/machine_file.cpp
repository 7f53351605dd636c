#include "recipe/machine_file.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "format/strict_json.h"
#include "recipe/compute_json.h"
#include "recipe/object_reader.h"

namespace sluice::recipe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr plan::TierKind kKinds[] = {plan::TierKind::Device, plan::TierKind::Host, plan::TierKind::Disk};

/// Spelled here and not by plan::name, whose words are for people.
const char* kind_text(plan::TierKind kind) {
  switch (kind) {
    case plan::TierKind::Device:
      return "device";
    case plan::TierKind::Host:
      return "host";
    case plan::TierKind::Packed:  // a plan's own: no machine has it
      break;
    case plan::TierKind::Disk:
      return "disk";
  }
  return "?";
}

Json tier_json(const plan::Tier& tier) {
  return {{"kind", kind_text(tier.kind)},
          {"capacity_bytes", tier.capacity},
          {"down_bytes_per_second", tier.down},
          {"up_bytes_per_second", tier.up},
          {"latency_seconds", tier.latency},
          {"shared_link", tier.shared_link},
          {"down_both_bytes_per_second", tier.down_both},
          {"up_both_bytes_per_second", tier.up_both}};
}

plan::Tier read_tier(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  plan::Tier tier;
  const std::string kind = reader.text("kind");
  bool known = false;
  for (const plan::TierKind candidate : kKinds) {
    if (kind == kind_text(candidate)) {
      tier.kind = candidate;
      known = true;
    }
  }
  if (!known) reader.fail("kind", "device, host or disk");
  tier.capacity = reader.bytes("capacity_bytes");
  tier.down = reader.number("down_bytes_per_second", 0);
  tier.up = reader.number("up_bytes_per_second", 0);
  tier.latency = reader.number("latency_seconds", 0, 60);
  tier.shared_link = reader.boolean("shared_link");
  tier.down_both = reader.number_or("down_both_bytes_per_second", 0, 0);
  tier.up_both = reader.number_or("up_both_bytes_per_second", 0, 0);
  reader.finish();
  return tier;
}

Json link_json(const plan::RankLink& link) {
  return {{"bytes_per_second", link.rate}, {"latency_seconds", link.latency}};
}

plan::RankLink read_link(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  const plan::RankLink link{.rate = reader.number("bytes_per_second", 1),
                            .latency = reader.number("latency_seconds", 0, 60)};
  reader.finish();
  return link;
}

// How many ranks a node has is the run's, not the machine's.
plan::Network read_network(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  plan::Network network;
  network.within_node = read_link(reader.find("within_node"), where + ".within_node");
  network.between_nodes = read_link(reader.find("between_nodes"), where + ".between_nodes");
  reader.finish();
  return network;
}

/// Tiers must go from fast to large and be linked; updates run where block math runs or one tier below.
void check_tiers(const plan::Machine& machine, const std::string& origin) {
  const auto& tiers = machine.tiers;
  for (std::size_t i = 0; i + 1 < tiers.size(); ++i) {
    if (tiers[i].kind >= tiers[i + 1].kind) {
      throw ConfigError("machine", origin + ".tiers are in a wrong order",
                        "expected device, host, disk without repetition");
    }
    if (tiers[i].down <= 0 || tiers[i].up <= 0) {
      throw ConfigError("machine", origin + ".tiers[" + std::to_string(i) + "] has no link to the next tier",
                        "expected rates above 0");
    }
  }
  if (tiers.empty() || tiers.front().kind == plan::TierKind::Disk) {
    throw ConfigError("machine", origin + ".tiers lack a place to compute",
                      "expected device or host as the first tier");
  }
  if (tiers[static_cast<std::size_t>(machine.update_tier)].kind == plan::TierKind::Disk) {
    throw ConfigError("machine", origin + ".update_tier is the disk", "expected the index of device or host");
  }
}

nlohmann::json parse(std::string_view text, const std::string& origin) {
  try {
    return format::parse_json_object(text, origin);
  } catch (const FormatError& error) {
    throw ConfigError("machine", origin + " is not a machine file", error.what());
  }
}

void write_json(const fs::path& path, const Json& json) { write_text(path, json.dump(2) + "\n"); }

}  // namespace

std::string machine_to_json(const plan::Machine& machine) {
  Json json = {{"name", machine.name}, {"tiers", Json::array()}, {"compute", compute_json(machine.compute)}};
  for (const plan::Tier& tier : machine.tiers) json["tiers"].push_back(tier_json(tier));
  json["contention"] = contention_json(machine.contention);
  json["update_bytes_per_second"] = machine.update_memory;
  json["norm_bytes_per_second"] = machine.norm_memory;
  json["update_tier"] = machine.update_tier;
  json["network"] = {{"within_node", link_json(machine.network.within_node)},
                     {"between_nodes", link_json(machine.network.between_nodes)}};
  json["threads"] = machine.num_threads;
  json["process_overhead_bytes"] = machine.process_overhead;
  return json.dump(2) + "\n";
}

plan::Machine machine_from_json(std::string_view text, std::string_view origin) {
  const std::string where(origin);
  const nlohmann::json json = parse(text, where);
  ObjectReader reader(json, where);
  plan::Machine machine;
  machine.name = reader.text("name");
  const nlohmann::json& tiers = reader.find("tiers");
  if (!tiers.is_array() || tiers.empty() || tiers.size() > 3) reader.fail("tiers", "a list of one to three tiers");
  for (std::size_t i = 0; i < tiers.size(); ++i) {
    machine.tiers.push_back(read_tier(tiers[i], where + ".tiers[" + std::to_string(i) + "]"));
  }
  machine.compute = read_compute(reader.find("compute"), where + ".compute");
  if (reader.has("contention")) machine.contention = read_contention(reader.find("contention"), where + ".contention");
  machine.update_memory = reader.number("update_bytes_per_second", 1);
  machine.norm_memory = reader.number_or("norm_bytes_per_second", 0, 0);
  machine.update_tier = reader.integer("update_tier", 0, static_cast<int>(tiers.size()) - 1);
  if (reader.has("network")) machine.network = read_network(reader.find("network"), where + ".network");
  machine.num_threads = reader.integer("threads", 1, 4096);
  machine.process_overhead = reader.bytes("process_overhead_bytes");
  reader.finish();
  check_tiers(machine, where);
  return machine;
}

void write_machine_file(const fs::path& path, const plan::Machine& machine) {
  if (path.has_parent_path()) {
    std::error_code code;
    fs::create_directories(path.parent_path(), code);
    if (code) throw_errno("machine", "create folder", path.parent_path().string(), code.value());
  }
  write_text(path, machine_to_json(machine));
}

plan::Machine read_machine_file(const fs::path& path) { return machine_from_json(read_text(path, MiB), path.string()); }

plan::Machine machine_by_name_or_file(std::string_view text) {
  for (const MachineRow& row : machine_catalog()) {
    if (row.name == text) return make_machine(row.name, row.make);
  }
  const fs::path path{std::string(text)};
  std::error_code code;
  if (fs::exists(path, code) || path.has_parent_path() || path.extension() == ".json") return read_machine_file(path);
  return make_machine(text, find_row(machine_catalog(), "machine", text).make);  // throws with the known names
}

fs::path machine_file_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string file = variable("SLUICE_MACHINE"); !file.empty()) return file;
  if (const std::string folder = variable("XDG_CONFIG_HOME"); !folder.empty()) {
    return fs::path(folder) / "sluice" / "machine.json";
  }
  return fs::path(variable("HOME")) / ".config" / "sluice" / "machine.json";
}

plan::Machine this_machine() {
  const fs::path path = machine_file_path();
  std::error_code code;
  return fs::exists(path, code) ? read_machine_file(path) : default_cpu_machine();
}

void write_compute_measurement(const fs::path& path, const ComputeMeasurement& measurement) {
  write_json(path, {{"compute", compute_json(measurement.compute)},
                    {"contention", contention_json(measurement.contention)},
                    {"update_bytes_per_second", measurement.update_memory},
                    {"norm_bytes_per_second", measurement.norm_memory},
                    {"process_overhead_bytes", measurement.process_overhead}});
}

ComputeMeasurement read_compute_measurement(const fs::path& path) {
  const std::string where = path.string();
  const nlohmann::json json = parse(read_text(path, MiB), where);
  ObjectReader reader(json, where);
  ComputeMeasurement measurement;
  measurement.compute = read_compute(reader.find("compute"), where + ".compute");
  measurement.contention = read_contention(reader.find("contention"), where + ".contention");
  measurement.update_memory = reader.number("update_bytes_per_second", 1);
  measurement.norm_memory = reader.number("norm_bytes_per_second", 1);
  measurement.process_overhead = reader.bytes("process_overhead_bytes");
  reader.finish();
  return measurement;
}

}  // namespace sluice::recipe
