// A fault at every request of a small workload: either the bits are right or a clean error leaves the last commit as it
// was. Never a hang, never a half state.
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

constexpr Bytes kSize = MiB + 8192;  // at 256 KiB a request: five requests per read or write

class DiskFaults : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    store_ = make_store();
    channel_ = store_->open_channel();
    object_ = store_->reserve(kSize, 2, "state");
  }

  // Two updates of the state object under `fail_points`. Returns whether an error was thrown.
  bool run(const std::string& fail_points) {
    const TestBuffer target(kSize);
    bool failed = false;
    set_fail_points(fail_points);
    try {
      for (int update = 0; update < 2; ++update) {
        const TestBuffer source(kSize, committed_ + 1);
        channel_->write(object_, 0, source.all());
        channel_->commit(object_);
        ++committed_;
        channel_->read(object_, 0, target.all());
        EXPECT_TRUE(same_bytes(source.all(), target.all())) << fail_points;
      }
    } catch (const IoError& error) {
      failed = true;
      EXPECT_NE(std::string(error.what()).find("object 'state' at offset"), std::string::npos) << error.what();
    }
    set_fail_points("");
    if (failed) expect_last_commit();
    return failed;
  }

  void expect_last_commit() {
    const TestBuffer target(kSize);
    if (committed_ != 0) {
      channel_->read(object_, 0, target.all());
      EXPECT_TRUE(same_bytes(TestBuffer(kSize, committed_).all(), target.all()));
    }
    const TestBuffer again(kSize, ++committed_);
    channel_->write(object_, 0, again.all());
    channel_->commit(object_);
    channel_->read(object_, 0, target.all());
    EXPECT_TRUE(same_bytes(again.all(), target.all()));
  }

  std::unique_ptr<Store> store_;
  std::unique_ptr<Channel> channel_;
  ObjectId object_ = 0;
  std::uint64_t committed_ = 0;  // the seed of the bytes that must be there
};

constexpr int kRequests = 10;  // of each direction in `run`

TEST_P(DiskFaults, DeviceErrorsAtEveryRequestAreCleanErrors) {
  for (const auto* point : {"disk.read", "disk.write", "disk.complete_read", "disk.complete_write"}) {
    for (const auto* error : {"EIO", "ENOSPC", "EDQUOT"}) {
      for (int k = 1; k <= kRequests; ++k)
        EXPECT_TRUE(run(std::string(point) + "@" + std::to_string(k) + "=" + error)) << point << " " << k << error;
    }
  }
}

TEST_P(DiskFaults, ShortAndInterruptedTransfersAtEveryRequestAreContinued) {
  for (const auto* point : {"disk.read", "disk.write", "disk.complete_read", "disk.complete_write"}) {
    for (const auto* error : {"SHORT", "EINTR", "EAGAIN"}) {
      for (int k = 1; k <= kRequests + 1; ++k)
        EXPECT_FALSE(run(std::string(point) + "@" + std::to_string(k) + "=" + error)) << point << " " << k << error;
    }
  }
}

TEST_P(DiskFaults, EndlessInterruptionsEndInAnError) {
  for (const auto* point : {"disk.read", "disk.write", "disk.complete_read", "disk.complete_write"}) {
    EXPECT_TRUE(run(std::string(point) + "=EINTR")) << point;
    EXPECT_TRUE(run(std::string(point) + "=EAGAIN")) << point;
  }
  EXPECT_TRUE(run("disk.complete_read=SHORT"));  // at the last page half a transfer is no progress
  EXPECT_TRUE(run("disk.complete_write=SHORT"));
  EXPECT_FALSE(run("disk.read=SHORT,disk.write=SHORT"));  // whole pages, ever fewer: it ends
}

TEST_P(DiskFaults, SeveralFaultsAtOnceAreSurvived) {
  EXPECT_FALSE(run("disk.write@2=SHORT,disk.complete_write@3=EINTR,disk.read@1=SHORT,disk.complete_read@4=SHORT"));
  EXPECT_TRUE(run("disk.write@2=SHORT,disk.complete_write@6=EIO"));
}

TEST_P(DiskFaults, AFailedWriteForbidsTheCommit) {
  const TestBuffer first(kSize, 1), second(kSize, 2), target(kSize);
  channel_->write(object_, 0, first.all());
  channel_->commit(object_);
  channel_->write(object_, 0, second.all());
  set_fail_points("disk.write@1=EIO");
  EXPECT_THROW(channel_->write(object_, MiB, second.part(MiB, 8192)), IoError);
  set_fail_points("");
  const auto message = message_of<IoError>([&] { channel_->commit(object_); });
  EXPECT_NE(message.find("commit refused"), std::string::npos) << message;
  channel_->read(object_, 0, target.all());
  EXPECT_TRUE(same_bytes(first.all(), target.all()));
}

TEST_P(DiskFaults, ScratchLostByAFailedWriteIsNotRead) {
  const TestBuffer buffer(kSize, 1);
  const ObjectId object = store_->reserve(kSize, 1, "scratch");
  channel_->write(object, 0, buffer.all());
  set_fail_points("disk.complete_write@1=EIO");
  EXPECT_THROW(channel_->write(object, 0, buffer.all()), IoError);
  set_fail_points("");
  EXPECT_THROW(channel_->read(object, 0, buffer.all()), IoError);
  channel_->write(object, 0, buffer.all());
  channel_->read(object, 0, buffer.all());
}

std::vector<StoreCase> disk_cases() {
  std::vector<StoreCase> found;
  for (const StoreCase& each : store_cases()) {
    if (each.name == "disk_uring" || each.name == "disk_threads" || each.num_folders > 1) found.push_back(each);
  }
  return found;
}

INSTANTIATE_TEST_SUITE_P(Engines, DiskFaults, testing::ValuesIn(disk_cases()), case_name);

}  // namespace
}  // namespace sluice::tier
