// Ranks as threads: what happens when one of them is missing.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "base/error.h"
#include "collective/communicator.h"

namespace sluice::collective {
namespace {

using std::chrono::milliseconds;

/// Runs `body` on every rank; returns what each threw, empty where nothing was thrown. A rank's communicator ends with
/// its body.
std::vector<std::string> failures_of(int world_size, milliseconds deadline,
                                     const std::function<void(Communicator&)>& body) {
  auto world = make_local_world(world_size, {.deadline = deadline});
  std::vector<std::string> failures(static_cast<std::size_t>(world_size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      const auto mine = std::move(world[static_cast<std::size_t>(rank)]);
      try {
        body(*mine);
      } catch (const CommError& error) {
        failures[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

TEST(LocalWorld, NamesTheRankThatDoesNotAnswer) {
  std::atomic<bool> over{false};
  std::atomic<int> num_failed{0};
  const auto failures = failures_of(4, milliseconds(300), [&](Communicator& world) {
    world.barrier();
    if (world.rank() == 2) {
      while (!over) std::this_thread::yield();
      return;
    }
    std::vector<float> data(100'000);
    try {
      world.all_reduce(data.data(), 100'000, ElementType::Fp32, Reduce::Sum);
    } catch (...) {
      if (++num_failed == 3) over = true;
      throw;
    }
  });
  EXPECT_EQ(failures[2], "");
  for (const int rank : {0, 1, 3}) {
    const std::string& text = failures[static_cast<std::size_t>(rank)];
    EXPECT_NE(text.find("rank " + std::to_string(rank) + ": all_reduce number 2"), std::string::npos) << text;
    EXPECT_TRUE(text.find("no answer from rank 2 within 0.300 s") != std::string::npos ||
                text.find("rank 2 is missing") != std::string::npos)
        << text;
  }
}

TEST(LocalWorld, NamesTheRankThatEndedFirstEvenToThoseThatWaitedForAnother) {
  const auto failures = failures_of(4, milliseconds(60'000), [](Communicator& world) {
    std::int64_t word = 0;
    if (world.rank() == 3) return;
    // 0 waits for 1, 1 for 2, 2 for the one that has ended.
    world.receive(&word, 1, ElementType::Int64, world.rank() + 1, 0);
  });
  EXPECT_NE(failures[2].find("rank 3 is lost"), std::string::npos) << failures[2];
  EXPECT_NE(failures[1].find("rank 3 is missing, says rank 2"), std::string::npos) << failures[1];
  EXPECT_NE(failures[0].find("rank 3 is missing, says rank 1"), std::string::npos) << failures[0];
}

TEST(LocalWorld, RefusesEveryCallAfterAFailure) {
  const auto failures = failures_of(2, milliseconds(60'000), [](Communicator& world) {
    if (world.rank() == 1) return;
    const auto group = world.split(0, 0);
  });
  EXPECT_NE(failures[0].find("split number 1"), std::string::npos) << failures[0];
  failures_of(2, milliseconds(60'000), [](Communicator& world) {
    const auto group = world.split(0, 0);
    if (world.rank() == 1) return;
    EXPECT_THROW(world.barrier(), CommError);
    try {
      group->barrier();
      ADD_FAILURE() << "a call after a failure returned";
    } catch (const CommError& error) {
      EXPECT_NE(std::string(error.what()).find("rank 1 is lost"), std::string::npos) << error.what();
      EXPECT_EQ(error.exit_code(), ExitCode::Communication);
    }
  });
}

TEST(LocalWorld, NeverMixesDifferentOperations) {
  const auto failures = failures_of(2, milliseconds(200), [](Communicator& world) {
    float value = 1;
    std::vector<float> all(2);
    if (world.rank() == 0) world.all_reduce(&value, 1, ElementType::Fp32, Reduce::Sum);
    if (world.rank() == 1) world.all_gather(&value, all.data(), 1, ElementType::Fp32);
  });
  EXPECT_NE(failures[0].find("all_reduce number 1"), std::string::npos) << failures[0];
  EXPECT_NE(failures[1].find("all_gather number 1"), std::string::npos) << failures[1];
}

TEST(LocalWorld, RefusesASumOfBytes) {
  failures_of(1, milliseconds(200), [](Communicator& world) {
    std::byte byte{};
    EXPECT_NO_THROW(world.all_reduce(&byte, 1, ElementType::Byte, Reduce::Max));
  });
  auto world = make_local_world(1);
  std::byte all{}, mine{};
  EXPECT_THROW(world[0]->reduce_scatter(&all, &mine, 1, ElementType::Byte), ConfigError);
}

}  // namespace
}  // namespace sluice::collective
