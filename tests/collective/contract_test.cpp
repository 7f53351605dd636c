// The contract of communicators with ranks as threads, for each library that allows it and worlds of 1 to 5.
#include <gtest/gtest.h>

#include <exception>
#include <thread>

#include "contract_cases.h"

namespace sluice::collective {
namespace {

class Contract : public testing::TestWithParam<std::tuple<ContractCase, int>> {};

TEST_P(Contract, HoldsOnLocalRanks) {
  const auto& [contract, world_size] = GetParam();
  auto world = make_local_world(world_size, {.deadline = std::chrono::minutes(1)});
  std::vector<std::string> failures(static_cast<std::size_t>(world_size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank, run = contract.run] {
      const auto mine = std::move(world[static_cast<std::size_t>(rank)]);
      try {
        run(*mine);
      } catch (const std::exception& error) {
        failures[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int rank = 0; rank < world_size; ++rank) {
    EXPECT_EQ(failures[static_cast<std::size_t>(rank)], "") << "rank " << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(Local, Contract,
                         testing::Combine(testing::ValuesIn(contract_cases().begin(), contract_cases().end()),
                                          testing::Range(1, 6)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "On" +
                                  std::to_string(std::get<1>(test.param));
                         });

}  // namespace
}  // namespace sluice::collective
