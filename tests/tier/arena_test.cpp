#include "tier/arena.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tier/limits.h"

namespace sluice::tier {
namespace {

TEST(Arena, IsAlignedZeroedAndExactlyAsLargeAsAsked) {
  const Arena arena(3 * MiB + 100);
  EXPECT_EQ(arena.capacity(), 3 * MiB + 100);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.data()) % 4096, 0U);
  for (Bytes at = 0; at < arena.capacity(); at += 4000) EXPECT_EQ(arena.data()[at], std::byte{0});
}

TEST(Arena, CostsNoMemoryUntilTouchedAndThenWhatWasTouched) {
  Arena arena(256 * MiB);
  const Bytes before = read_process_memory().resident;
  arena.touch(32 * MiB);
  const Bytes grown = read_process_memory().resident - before;
  EXPECT_GE(grown, 31 * MiB);
  EXPECT_LT(grown, 64 * MiB);
}

TEST(Arena, TouchKeepsTheBytes) {
  Arena arena(8 * MiB);
  arena.data()[5000] = std::byte{42};
  arena.touch(4 * MiB + 1);
  arena.touch(8 * MiB);
  EXPECT_EQ(arena.data()[5000], std::byte{42});
}

TEST(Arena, SaysThatMemoryIsLackingInsteadOfBeingKilled) {
  EXPECT_THROW(Arena(Bytes{1} << 42).touch(Bytes{1} << 42), CapacityError);
}

TEST(Arena, RefusesMoreAddressesThanThereAre) { EXPECT_THROW(Arena(Bytes{1} << 62), CapacityError); }

}  // namespace
}  // namespace sluice::tier
