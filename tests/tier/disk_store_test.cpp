// The disk tier's own promises: nothing left behind, corruption noticed, folders and engines, errors that help.
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "tier/limits.h"
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

class DiskStore : public testing::Test {
 protected:
  void SetUp() override { set_fail_points(""); }
  void TearDown() override { set_fail_points(""); }
  DiskOptions options(Bytes capacity = 64 * MiB) { return {.folders = {folder_.path()}, .capacity = capacity}; }
  // New folders of these names.
  DiskOptions several(std::initializer_list<const char*> names) {
    DiskOptions wanted{.folders = {}, .capacity = 64 * MiB};
    for (const char* name : names) {
      wanted.folders.push_back(folder_.path() / name);
      std::filesystem::create_directory(wanted.folders.back());
    }
    return wanted;
  }
  TemporaryFolder folder_;
};

// Nameless files of ours in `folder`, as paths that can be opened.
std::vector<std::filesystem::path> open_spill_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.starts_with(folder.string()) && target.ends_with("(deleted)")) found.push_back(entry.path());
  }
  return found;
}

void flip_bit(const std::filesystem::path& file, Bytes offset) {
  const FileDescriptor fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  unsigned char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, offset), 1);
  byte ^= 0x10;
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, offset), 1);
  ASSERT_EQ(::fsync(fd.get()), 0);
}

TEST_F(DiskStore, LeavesNoNameInTheFolder) {
  const auto store = make_disk_store(options());
  store->reserve(4 * MiB, "state");
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_EQ(open_spill_files(folder_.path()).size(), 1U);
}

TEST_F(DiskStore, NoticesAFlippedBitAndNamesObjectAndOffset) {
  for (const auto engine : {DiskOptions::Engine::IoUring, DiskOptions::Engine::Threads}) {
    auto wanted = options();
    wanted.engine = engine;
    const auto store = make_disk_store(wanted);
    const auto channel = store->open_channel();
    const TestBuffer buffer(3 * MiB, 1);
    const ObjectId object = store->reserve(3 * MiB, "layer 3 weight");
    channel->write(object, 0, buffer.all());
    const auto files = open_spill_files(folder_.path());
    ASSERT_EQ(files.size(), 1U);
    flip_bit(files[0], 2 * MiB + 12345);
    channel->read(object, 0, buffer.part(0, 2 * MiB));
    const auto message = message_of<FormatError>([&] { channel->read(object, 0, buffer.all()); });
    for (const auto* part : {"tier.disk", "layer 3 weight", "offset 2097152"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
    channel->write(object, 2 * MiB, buffer.part(2 * MiB, MiB));
    channel->read(object, 0, buffer.all());
  }
}

TEST_F(DiskStore, ReadPastATruncatedFileIsAnError) {
  for (const auto engine : {DiskOptions::Engine::IoUring, DiskOptions::Engine::Threads}) {
    auto wanted = options();
    wanted.engine = engine;
    const auto store = make_disk_store(wanted);
    const auto channel = store->open_channel();
    const TestBuffer buffer(2 * MiB, 1);
    const ObjectId object = store->reserve(2 * MiB, "cut");
    channel->write(object, 0, buffer.all());
    ASSERT_EQ(::truncate(open_spill_files(folder_.path()).at(0).c_str(), MiB + 4096), 0);
    const auto message = message_of<IoError>([&] { channel->read(object, 0, buffer.all()); });
    EXPECT_NE(message.find("the file ended"), std::string::npos) << message;
  }
}

TEST_F(DiskStore, UsesThreadsWhereTheKernelRefusesARing) {
  const auto store = make_disk_store(options());
  for (const auto* error : {"EPERM", "ENOSYS", "ENOMEM"}) {
    set_fail_points(std::string("disk.setup=") + error);
    EXPECT_EQ(store->open_channel()->engine(), "threads");
  }
}

TEST_F(DiskStore, SpreadsStripesOverItsFolders) {
  const DiskOptions wanted = several({"a", "b", "c"});
  const auto store = make_disk_store(wanted);
  store->reserve(12 * MiB, "striped");
  for (const auto& folder : wanted.folders) {
    const auto files = open_spill_files(folder);
    ASSERT_EQ(files.size(), 1U);
    EXPECT_EQ(std::filesystem::file_size(files[0]), static_cast<std::uintmax_t>(4 * MiB));
  }
}

TEST_F(DiskStore, NamesTheFolderOfTheStripeThatIsBroken) {
  const DiskOptions wanted = several({"a", "b", "c"});
  const auto store = make_disk_store(wanted);
  const auto channel = store->open_channel();
  const TestBuffer buffer(3 * MiB, 1);
  const ObjectId object = store->reserve(3 * MiB, "striped");
  channel->write(object, 0, buffer.all());
  const auto file = open_spill_files(wanted.folders[1]).at(0);
  flip_bit(file, 4711);
  const auto flipped = message_of<FormatError>([&] { channel->read(object, 0, buffer.all()); });
  EXPECT_NE(flipped.find(wanted.folders[1].string()), std::string::npos) << flipped;
  ASSERT_EQ(::truncate(file.c_str(), 4096), 0);
  const auto cut = message_of<IoError>([&] { channel->read(object, 0, buffer.all()); });
  EXPECT_NE(cut.find(wanted.folders[1].string()), std::string::npos) << cut;
  channel->read(object, 2 * MiB, buffer.part(2 * MiB, MiB));
}

TEST_F(DiskStore, FoldersOfOneDiskShareItsSpace) {
  auto wanted = several({"a", "b"});
  wanted.capacity = 0;
  const auto free = static_cast<Bytes>(std::filesystem::space(folder_.path()).available);
  EXPECT_LT(make_disk_store(wanted)->info().capacity, free);
  const std::vector<std::string> names = {wanted.folders[0].string(), wanted.folders[1].string(),
                                          (folder_.path() / "not/there/yet").string()};
  const Bytes spill = free_spill_space(names);
  EXPECT_GT(spill, free / 100 * 85);
  EXPECT_LT(spill, free);
}

TEST_F(DiskStore, AFullFolderLeavesTheOthers) {
  const DiskOptions wanted = several({"a", "b"});
  const auto store = make_disk_store(wanted);
  set_fail_points("disk.reserve@2=ENOSPC");
  const ObjectId object = store->reserve(4 * MiB, "all in a");
  set_fail_points("");
  EXPECT_EQ(std::filesystem::file_size(open_spill_files(wanted.folders[0]).at(0)),
            static_cast<std::uintmax_t>(4 * MiB));
  EXPECT_EQ(std::filesystem::file_size(open_spill_files(wanted.folders[1]).at(0)), 0U);
  const auto channel = store->open_channel();
  const TestBuffer source(4 * MiB, 1), target(4 * MiB);
  channel->write(object, 0, source.all());
  channel->read(object, 0, target.all());
  EXPECT_TRUE(same_bytes(source.all(), target.all()));
}

TEST_F(DiskStore, SaysAtReserveThatTheDiskIsFull) {
  const auto store = make_disk_store(options(Bytes{1} << 60));
  for (const auto* error : {"ENOSPC", "EDQUOT"}) {
    set_fail_points(std::string("disk.reserve=") + error);
    const auto message = message_of<CapacityError>([&] { store->reserve(4 * MiB, "state"); });
    for (const auto& part : {std::string("asked 4.0 MiB"), folder_.path().string(), std::string("--spill-dir")})
      EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(store->info().used, 0);
  }
  set_fail_points("");
  EXPECT_THROW(store->reserve(Bytes{1} << 58, "no disk is so large"), CapacityError);
}

TEST_F(DiskStore, SaysWhichFolderCannotBeUsed) {
  const auto message_for = [](const std::filesystem::path& folder) {
    return message_of<IoError>([&] { make_disk_store({.folders = {folder}}); });
  };
  EXPECT_NE(message_for(folder_.path() / "missing").find("missing is not a folder"), std::string::npos);
  EXPECT_NE(message_for("/proc").find("/proc"), std::string::npos);  // even root cannot create files there
  for (const auto* error : {"EIO", "EPERM", "ENOSPC", "EINTR"}) {
    set_fail_points(std::string("disk.open=") + error);
    EXPECT_NE(message_for(folder_.path()).find(folder_.path().string()), std::string::npos);
  }
  set_fail_points("disk.reserve=EIO");
  const auto store = make_disk_store(options());
  EXPECT_THROW(store->reserve(MiB, "state"), IoError);
}

TEST_F(DiskStore, RefusesBadOptions) {
  EXPECT_THROW(make_disk_store({}), ConfigError);
  EXPECT_THROW(make_disk_store({.folders = {folder_.path(), folder_.path() / "."}}), ConfigError);
  for (const Bytes request : {Bytes{0}, Bytes{5000}, 2 * MiB})
    EXPECT_THROW(make_disk_store({.folders = {folder_.path()}, .request_bytes = request}), ConfigError);
  EXPECT_THROW(make_disk_store({.folders = {folder_.path()}, .queue_depth = 0}), ConfigError);
}

TEST_F(DiskStore, TakesFreeSpaceLessFivePercentWhenNoCapacityIsNamed) {
  const auto store = make_disk_store(options(0));
  const auto free = static_cast<Bytes>(std::filesystem::space(folder_.path()).available);
  EXPECT_GT(store->info().capacity, free / 100 * 85);
  EXPECT_LT(store->info().capacity, free / 100 * 99);
}

}  // namespace
}  // namespace sluice::tier
