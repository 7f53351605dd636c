// A fault at every request of a small workload: either the bits are right or a clean error leaves everything readable
// but the bytes of the failed write, which are refused until they are written again. Never a hang, never wrong bytes.
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

constexpr Bytes kSize = MiB + 8192;    // at 256 KiB a request: five requests per read or write
constexpr std::uint64_t kKept = 1000;  // seed of the bytes that no test writes again

class DiskFaults : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    store_ = make_store();
    channel_ = store_->open_channel();
    object_ = store_->reserve(MiB + kSize, "state");
    other_ = store_->reserve(kSize, "other");
    channel_->write(object_, 0, TestBuffer(MiB, kKept).all());
    channel_->write(other_, 0, TestBuffer(kSize, kKept).all());
  }

  // Two updates of the state object's end under `fail_points`. Returns whether an error was thrown.
  bool run(const std::string& fail_points) {
    const TestBuffer target(kSize);
    bool failed = false, writing = false;
    set_fail_points(fail_points);
    try {
      for (int update = 0; update < 2; ++update) {
        const TestBuffer source(kSize, ++written_);
        writing = true;
        channel_->write(object_, MiB, source.all());
        writing = false;
        channel_->read(object_, MiB, target.all());
        EXPECT_TRUE(same_bytes(source.all(), target.all())) << fail_points;
      }
    } catch (const IoError& error) {
      failed = true;
      EXPECT_NE(std::string(error.what()).find("object 'state' at offset"), std::string::npos) << error.what();
    }
    set_fail_points("");
    if (failed) expect_nothing_lost_but(writing);
    return failed;
  }

  void expect_nothing_lost_but(bool end_of_state) {
    expect_bytes(object_, 0, MiB, kKept);
    expect_bytes(other_, 0, kSize, kKept);
    if (end_of_state) {
      expect_lost(MiB, kSize);
    } else {
      expect_bytes(object_, MiB, kSize, written_);
    }
    channel_->write(object_, MiB, TestBuffer(kSize, ++written_).all());
    expect_bytes(object_, MiB, kSize, written_);
  }

  void expect_lost(Bytes offset, Bytes length) {
    const TestBuffer target(length);
    const auto message = message_of<IoError>([&] { channel_->read(object_, offset, target.all()); });
    EXPECT_NE(message.find("was lost by an earlier failed write"), std::string::npos) << message;
  }

  void expect_bytes(ObjectId object, Bytes offset, Bytes length, std::uint64_t seed) {
    const TestBuffer target(length);
    channel_->read(object, offset, target.all());
    EXPECT_TRUE(same_bytes(TestBuffer(length, seed).all(), target.all())) << "object " << object << " at " << offset;
  }

  std::unique_ptr<Store> store_;
  std::unique_ptr<Channel> channel_;
  ObjectId object_ = 0, other_ = 0;
  std::uint64_t written_ = 0;  // seed of what the end of the state object was last written with
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

TEST_P(DiskFaults, AWriteThatFailsLosesItsOwnStripesAndNoOthers) {
  for (const auto* point : {"disk.write@1=EIO", "disk.complete_write@1=EIO"}) {
    SCOPED_TRACE(point);
    channel_->write(object_, MiB, TestBuffer(kSize, 1).all());
    const auto before = store_->checksum_of(object_);
    set_fail_points(point);
    EXPECT_THROW(channel_->write(object_, 2 * MiB, TestBuffer(8192, 2).all()), IoError);
    set_fail_points("");
    expect_lost(2 * MiB, 8192);
    expect_lost(0, MiB + kSize);
    EXPECT_NE(store_->checksum_of(object_), before);
    const TestBuffer first(kSize, 1), target(MiB);
    channel_->read(object_, MiB, target.all());
    EXPECT_TRUE(same_bytes(first.part(0, MiB), target.all()));
    channel_->write(object_, 2 * MiB, first.part(MiB, 8192));
    expect_bytes(object_, MiB, kSize, 1);
    EXPECT_EQ(store_->checksum_of(object_), before);
  }
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
