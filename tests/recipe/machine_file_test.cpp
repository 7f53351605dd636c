// Machine files read back exactly; every shipped machine is one that a planner can use.
#include "recipe/machine_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace sluice::recipe {
namespace {

namespace fs = std::filesystem;

std::string with(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(MachineFile, EveryShippedMachineReadsBackExactly) {
  for (const MachineRow& row : machine_catalog()) {
    const plan::Machine machine = machine_by_name_or_file(row.name);
    EXPECT_EQ(machine.name, row.name);
    const std::string text = machine_to_json(machine);
    EXPECT_EQ(machine_to_json(machine_from_json(text, "test")), text);
  }
}

TEST(MachineFile, ShippedMachinesHaveRatesAndRoom) {
  for (const MachineRow& row : machine_catalog()) {
    const plan::Machine machine = make_machine(row.name, row.make);
    EXPECT_EQ(machine.tiers.size(), row.make.card.memory > 0 ? 3u : 2u) << row.name;
    EXPECT_EQ(machine.tiers.back().kind, plan::TierKind::Disk);
    for (std::size_t i = 0; i < machine.tiers.size(); ++i) {
      EXPECT_GT(machine.tiers[i].capacity, GiB) << row.name;
      if (i + 1 < machine.tiers.size()) {
        EXPECT_GT(machine.tiers[i].down, 0) << row.name;
      }
    }
    EXPECT_GT(machine.compute.matmul, 1e11) << row.name;
    EXPECT_GT(machine.network.within_node.rate, 0) << row.name;
    EXPECT_GT(machine.network.within_node.rate, machine.network.between_nodes.rate) << row.name;
    EXPECT_GT(machine.network.between_nodes.rate, 0) << row.name;
  }
}

// "rtx-3090-24gb" has 24 GB: the size in a name is the card's, or of a computer without one the memory.
TEST(MachineFile, NamesSayTheSizeOfTheirMemory) {
  for (const MachineRow& row : machine_catalog()) {
    const std::string name(row.name);
    const double named = std::stod(name.substr(name.rfind('-') + 1));
    const CardFigures& card = row.make.card;
    const Bytes bytes = card.memory > 0 ? card.memory : row.make.host.memory;
    EXPECT_NEAR(static_cast<double>(bytes) / 1e9, named, 0.08 * named) << name;
    if (card.memory == 0) continue;
    EXPECT_GE(card.half, card.tf32) << name;
    EXPECT_GT(card.half, card.fp32) << name;
    EXPECT_TRUE(card.tf32 == 0 || card.tf32 >= card.fp32) << name;
    EXPECT_GE(card.bandwidth, card.link) << name;
  }
}

TEST(MachineFile, RanksOfOneComputerShareIt) {
  const plan::Machine whole = machine_by_name_or_file("desktop-32gb");
  plan::Machine share = whole;
  take_rank_share(share, 4);
  EXPECT_EQ(share.network.ranks_per_node, 4);
  EXPECT_EQ(share.num_threads, 2);
  EXPECT_EQ(share.tiers[0].capacity + share.process_overhead, (whole.tiers[0].capacity + whole.process_overhead) / 4);
  EXPECT_EQ(share.tiers[1].capacity, whole.tiers[1].capacity / 4);
  EXPECT_DOUBLE_EQ(share.tiers[0].up, whole.tiers[0].up / 4);
  EXPECT_DOUBLE_EQ(share.compute.matmul, whole.compute.matmul / 4);
  EXPECT_DOUBLE_EQ(share.update_memory, whole.update_memory / 4);
  plan::Machine card = machine_by_name_or_file("h100-80gb");
  const std::string text = machine_to_json(card);
  take_rank_share(card, 8);
  EXPECT_EQ(machine_to_json(card), text) << "a card is one rank's already";
  EXPECT_EQ(card.network.ranks_per_node, 8);
}

TEST(MachineFile, AProcessHasItsShareOfRates) {
  const plan::Machine whole = machine_by_name_or_file("desktop-32gb");
  plan::Machine share = whole;
  take_rate_share(share, 0.5, 0.25);
  EXPECT_DOUBLE_EQ(share.compute.memory, whole.compute.memory / 2);
  EXPECT_DOUBLE_EQ(share.norm_memory, whole.norm_memory / 2);
  EXPECT_DOUBLE_EQ(share.tiers[0].down_both, whole.tiers[0].down_both / 4);
  EXPECT_EQ(share.tiers[0].capacity, whole.tiers[0].capacity);
  EXPECT_EQ(share.num_threads, whole.num_threads);
}

TEST(MachineFile, WritesAndReadsAFile) {
  const fs::path folder = fs::path(testing::TempDir()) / "sluice_machine_test";
  fs::remove_all(folder);
  const fs::path path = folder / "deep" / "machine.json";
  plan::Machine machine = default_cpu_machine(3, 5 * GiB);
  machine.name = "mine";
  machine.compute.matmul = 1.0 / 3 * 1e12;
  machine.compute.products = {{64, 576, 1536, 1e11 / 3}, {2048, 49152, 576, 2e11}};
  machine.compute.narrow_matmul = 2e12;
  machine.compute.narrow_products = {{64, 576, 1536, 3e11}};
  machine.compute.attention_backward = {{512, 9, 64, 3e10}};
  machine.compute.memory_by_size = {{1 << 20, 4e10}, {1 << 26, 1e10}};
  machine.contention = {.compute_beside_both = 0.75, .write_beside_compute = 0.5};
  machine.norm_memory = 7e9;
  machine.tiers[0].up_both = 3e8;
  machine.network = {.within_node = {5e9, 2e-6}, .between_nodes = {1e9 / 3, 3e-5}};
  write_machine_file(path, machine);
  const plan::Machine back = machine_by_name_or_file(path.string());
  EXPECT_EQ(back.name, "mine");
  EXPECT_EQ(back.num_threads, 3);
  EXPECT_EQ(back.tiers.at(0).capacity, 5 * GiB);
  EXPECT_EQ(back.compute.matmul, machine.compute.matmul);
  EXPECT_EQ(machine_to_json(back), machine_to_json(machine));
  ASSERT_EQ(back.compute.products.size(), 2U);
  EXPECT_EQ(back.compute.products[0].n, 576);
  EXPECT_EQ(back.compute.products[0].rate, 1e11 / 3);
  EXPECT_EQ(back.compute.narrow_matmul, 2e12);
  ASSERT_EQ(back.compute.narrow_products.size(), 1U);
  EXPECT_EQ(back.compute.narrow_products[0].rate, 3e11);
  EXPECT_EQ(back.compute.memory_by_size[1].bytes, 1 << 26);
  EXPECT_EQ(back.contention.compute_beside_both, 0.75);
  EXPECT_EQ(back.tiers[0].up_both, 3e8);
  EXPECT_EQ(back.network.within_node.rate, 5e9);
  EXPECT_EQ(back.network.between_nodes.rate, 1e9 / 3);
  EXPECT_EQ(back.network.between_nodes.latency, 3e-5);
  setenv("SLUICE_MACHINE", path.c_str(), 1);
  EXPECT_EQ(this_machine().name, "mine");
  unsetenv("SLUICE_MACHINE");
  fs::remove_all(folder);
}

TEST(MachineFile, IsLookedForWhereConfigurationsLive) {
  setenv("SLUICE_MACHINE", "/x/y.json", 1);
  EXPECT_EQ(machine_file_path(), "/x/y.json");
  unsetenv("SLUICE_MACHINE");
  setenv("XDG_CONFIG_HOME", "/nowhere/c", 1);
  EXPECT_EQ(machine_file_path(), "/nowhere/c/sluice/machine.json");
  EXPECT_EQ(this_machine().name, "default-cpu");
  unsetenv("XDG_CONFIG_HOME");
}

TEST(MachineFile, TakesSizesAsPeopleWriteThem) {
  const std::string text = machine_to_json(default_cpu_machine(2, 4 * GiB));
  const std::string edited = with(text, std::to_string(4 * GiB), "\"3GiB\"");
  EXPECT_EQ(machine_from_json(edited, "test").tiers.at(0).capacity, 3 * GiB);
}

TEST(MachineFile, MayLeaveTheNetworkOut) {
  const std::string text = machine_to_json(default_cpu_machine());
  const std::size_t begin = text.find("\"network\""), end = text.find("\"threads\"");
  ASSERT_NE(begin, std::string::npos);
  const plan::Machine machine = machine_from_json(text.substr(0, begin) + text.substr(end), "test");
  EXPECT_EQ(machine.network.within_node.rate, plan::Network{}.within_node.rate);
}

TEST(MachineFile, RefusesWhatNoMachineCanBe) {
  const std::string good = machine_to_json(default_cpu_machine());
  for (const std::string& text :
       {std::string("[]"), std::string("{}"), with(good, "\"threads\": 2", "\"threads\": 0"),
        with(good, "\"threads\": 2", "\"threads\": 2.5"), with(good, "\"threads\"", "\"thread\""),
        with(good, "\"kind\": \"host\"", "\"kind\": \"disk\""), with(good, "\"kind\": \"disk\"", "\"kind\": \"tape\""),
        with(good, "\"update_tier\": 0", "\"update_tier\": 1"), with(good, "\"update_tier\": 0", "\"update_tier\": 7"),
        with(good, "\"shared_link\": true", "\"shared_link\": 1"), with(good, "\"launch_seconds\"", "\"launch\""),
        with(good, "\"name\": \"default-cpu\"", "\"name\": 5"),
        with(good, "\"products\": {}", "\"products\": {\"8 x 8\": 1e9}"),
        with(good, "\"products\": {}", "\"products\": {\"8 x 8 x 8\": 0}"),
        with(good, "\"products\": {}", "\"products\": []"),
        with(good, "\"memory_by_size\": {}", "\"memory_by_size\": {\"1MiB\": 1e9}"),
        with(good, "\"between_nodes\"", "\"beyond_nodes\""),
        with(good, "\"compute_beside_read\": 1.0", "\"compute_beside_read\": 1.5"),
        with(good, "\"compute_beside_read\": 1.0", "\"compute_beside_read\": 0.0")}) {
    EXPECT_THROW(machine_from_json(text, "test"), ConfigError) << text;
  }
}

TEST(MachineFile, NamesTheShippedMachinesForAnUnknownOne) {
  try {
    machine_by_name_or_file("rtx-4090");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'rtx-4090-24gb'"), std::string::npos) << error.what();
  }
  EXPECT_THROW(machine_by_name_or_file("no/such.json"), IoError);
}

TEST(MachineFile, ComputeMeasurementsReadBackExactly) {
  const fs::path path = fs::path(testing::TempDir()) / "sluice_measurement.json";
  write_compute_measurement(path, {.compute = {1e11 / 3, 2e10, 3e10, 4e-6},
                                   .contention = {.read_beside_compute = 0.25},
                                   .update_memory = 5e9,
                                   .norm_memory = 6e9,
                                   .process_overhead = 7});
  const ComputeMeasurement back = read_compute_measurement(path);
  EXPECT_EQ(back.compute.matmul, 1e11 / 3);
  EXPECT_EQ(back.compute.launch, 4e-6);
  EXPECT_EQ(back.update_memory, 5e9);
  EXPECT_EQ(back.norm_memory, 6e9);
  EXPECT_EQ(back.contention.read_beside_compute, 0.25);
  EXPECT_EQ(back.process_overhead, 7);
  fs::remove(path);
}

}  // namespace
}  // namespace sluice::recipe
