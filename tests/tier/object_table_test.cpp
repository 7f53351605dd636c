// Which stripes may be read and written while a write is under way, after it and after one that failed.
#include "tier/object_table.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::tier {
namespace {

class ObjectTableTest : public testing::Test {
 protected:
  ObjectTable table_{"tier.test"};
  const ObjectId object_ = table_.add(3 * MiB, "state");
};

TEST_F(ObjectTableTest, RefusesToReadOrWriteWhatIsBeingWrittenAndNothingElse) {
  table_.end_write(object_, table_.begin_write(object_, 0, 3 * MiB));
  const auto writing = table_.begin_write(object_, MiB, MiB);
  EXPECT_THROW((void)table_.begin_read(object_, 0, 2 * MiB), InternalError);
  EXPECT_THROW(table_.begin_write(object_, 0, 3 * MiB), InternalError);
  EXPECT_EQ(table_.begin_read(object_, 0, MiB).size(), 1U);  // the refused write has not taken it
  EXPECT_EQ(table_.begin_read(object_, 2 * MiB, MiB).size(), 1U);
  table_.end_write(object_, writing);
  EXPECT_EQ(table_.begin_read(object_, 0, 3 * MiB).size(), 3U);
}

TEST_F(ObjectTableTest, RefusesWhatWasNeverWritten) {
  EXPECT_THROW((void)table_.begin_read(object_, 0, MiB), InternalError);
  table_.end_write(object_, table_.begin_write(object_, 0, MiB));
  EXPECT_EQ(table_.begin_read(object_, 0, MiB).size(), 1U);
  EXPECT_THROW((void)table_.begin_read(object_, 0, 2 * MiB), InternalError);
}

TEST_F(ObjectTableTest, RefusesWhatAFailedWriteLostUntilItIsWrittenAgain) {
  table_.end_write(object_, table_.begin_write(object_, 0, 3 * MiB));
  table_.fail_write(object_, table_.begin_write(object_, MiB, MiB));
  EXPECT_THROW((void)table_.begin_read(object_, 0, 3 * MiB), IoError);
  EXPECT_EQ(table_.begin_read(object_, 0, MiB).size(), 1U);
  EXPECT_EQ(table_.begin_read(object_, 2 * MiB, MiB).size(), 1U);
  table_.end_write(object_, table_.begin_write(object_, MiB, MiB));
  EXPECT_EQ(table_.begin_read(object_, 0, 3 * MiB).size(), 3U);
}

TEST_F(ObjectTableTest, KnowsTheChecksumOfTheLastWrite) {
  for (const std::uint64_t checksum : {7U, 8U}) {
    auto stripes = table_.begin_write(object_, 0, MiB);
    stripes[0].checksum = checksum;
    table_.end_write(object_, stripes);
    const StripeUse read = table_.begin_read(object_, 0, MiB)[0];
    EXPECT_NO_THROW(table_.verify(object_, read, checksum));
    EXPECT_THROW(table_.verify(object_, read, checksum + 1), FormatError);
  }
}

}  // namespace
}  // namespace sluice::tier
