#include "recipe/machine_file.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "format/strict_json.h"

namespace sluice::recipe {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// The keys of one JSON object; `finish` refuses those that nobody read.
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fail("", "an object of keys");
  }

  double number(const char* key, double lowest, double highest = 1e30) {
    const nlohmann::json& value = find(key);
    if (!value.is_number()) fail(key, "a number");
    const double number = value.get<double>();
    if (!(number >= lowest && number <= highest)) fail(key, "a number in range");
    return number;
  }

  Bytes bytes(const char* key) {
    const nlohmann::json& value = find(key);
    if (value.is_string()) return parse_bytes(value.get<std::string>(), where_ + "." + key);
    return static_cast<Bytes>(number(key, 0, 0x1p62));
  }

  int integer(const char* key, int lowest, int highest) {
    const double value = number(key, lowest, highest);
    if (value != std::floor(value)) fail(key, "a whole number");
    return static_cast<int>(value);
  }

  std::string text(const char* key) {
    const nlohmann::json& value = find(key);
    if (!value.is_string()) fail(key, "a text");
    return value.get<std::string>();
  }

  bool boolean(const char* key) {
    const nlohmann::json& value = find(key);
    if (!value.is_boolean()) fail(key, "true or false");
    return value.get<bool>();
  }

  const nlohmann::json& find(const char* key) {
    read_.insert(key);
    const auto found = object_.find(key);
    if (found == object_.end())
      throw ConfigError("machine", where_ + " lacks a key", std::string("expected '") + key + "', got none");
    return *found;
  }

  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (!read_.contains(key)) {
        throw ConfigError(
            "machine", where_ + " has an unknown key '" + key + "'", {},
            "did you mean '" + nearest_name(key, std::vector<std::string>(read_.begin(), read_.end())) + "'?");
      }
    }
  }

  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    const std::string place = key.empty() ? where_ : where_ + "." + key;
    const nlohmann::json& value = key.empty() ? object_ : object_.at(key);
    throw ConfigError("machine", place + " cannot be read",
                      "expected " + expected + ", got " + value.dump().substr(0, 60));
  }

 private:
  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> read_;
};

constexpr plan::TierKind kKinds[] = {plan::TierKind::Device, plan::TierKind::Host, plan::TierKind::Disk};

/// Spelled here and not by plan::name, whose words are for people.
const char* kind_text(plan::TierKind kind) {
  switch (kind) {
    case plan::TierKind::Device:
      return "device";
    case plan::TierKind::Host:
      return "host";
    case plan::TierKind::Disk:
      return "disk";
  }
  return "?";
}

Json tier_json(const plan::Tier& tier) {
  return {{"kind", kind_text(tier.kind)},   {"capacity_bytes", tier.capacity}, {"down_bytes_per_second", tier.down},
          {"up_bytes_per_second", tier.up}, {"latency_seconds", tier.latency}, {"shared_link", tier.shared_link}};
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
  reader.finish();
  return tier;
}

Json compute_json(const plan::ComputeRate& rate) {
  return {{"matmul_flops", rate.matmul},
          {"attention_flops", rate.attention},
          {"memory_bytes_per_second", rate.memory},
          {"launch_seconds", rate.launch}};
}

plan::ComputeRate read_compute(const nlohmann::json& json, const std::string& where) {
  ObjectReader reader(json, where);
  const plan::ComputeRate rate{.matmul = reader.number("matmul_flops", 1),
                               .attention = reader.number("attention_flops", 1),
                               .memory = reader.number("memory_bytes_per_second", 1),
                               .launch = reader.number("launch_seconds", 0, 60)};
  reader.finish();
  return rate;
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
  json["update_bytes_per_second"] = machine.update_memory;
  json["update_tier"] = machine.update_tier;
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
  machine.update_memory = reader.number("update_bytes_per_second", 1);
  machine.update_tier = reader.integer("update_tier", 0, static_cast<int>(tiers.size()) - 1);
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
                    {"update_bytes_per_second", measurement.update_memory},
                    {"process_overhead_bytes", measurement.process_overhead}});
}

ComputeMeasurement read_compute_measurement(const fs::path& path) {
  const std::string where = path.string();
  const nlohmann::json json = parse(read_text(path, MiB), where);
  ObjectReader reader(json, where);
  ComputeMeasurement measurement;
  measurement.compute = read_compute(reader.find("compute"), where + ".compute");
  measurement.update_memory = reader.number("update_bytes_per_second", 1);
  measurement.process_overhead = reader.bytes("process_overhead_bytes");
  reader.finish();
  return measurement;
}

}  // namespace sluice::recipe
