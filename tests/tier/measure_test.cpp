#include "tier/measure.h"

#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

TEST(Measure, DiskRatesArePositiveAndNothingIsLeft) {
  const TemporaryFolder folder;
  const DiskRates rates = measure_disk(folder.path(), 9 * MiB + 4096);
  for (const BytesPerSecond rate : {rates.write, rates.read, rates.mixed_write, rates.mixed_read}) EXPECT_GT(rate, 0);
  EXPECT_TRUE(rates.engine == "io_uring" || rates.engine == "threads");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Measure, CountsWhatRunsBesideTheDisk) {
  const TemporaryFolder folder;
  int calls = 0;
  const DiskRates rates = measure_disk(folder.path(), 16 * MiB, [&] { ++calls; });
  EXPECT_GT(calls, 0);
  EXPECT_GT(rates.beside_write + rates.beside_read + rates.beside_both, 0);
  EXPECT_EQ(measure_disk(folder.path(), 16 * MiB).beside_read, 0);
}

TEST(Measure, DiskErrorsComeThrough) {
  const TemporaryFolder folder;
  for (const auto* point : {"disk.complete_write@30=EIO", "disk.complete_read@15=EIO"}) {
    set_fail_points(point);
    EXPECT_THROW(measure_disk(folder.path(), 9 * MiB), IoError) << point;
    set_fail_points("");
  }
}

TEST(Measure, MemoryCopyRateIsPositive) {
  EXPECT_GT(measure_memory_copy(1, MiB), 0);
  EXPECT_GT(measure_memory_copy(3, MiB), 0);
}

}  // namespace
}  // namespace sluice::tier
