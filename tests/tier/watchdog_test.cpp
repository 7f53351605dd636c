// A disk that never answers is named while it is waited for, whatever the engine, and the wait goes on as if nothing
// had been said.
#include "tier/watchdog.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/file.h"
#include "tier/store_cases.h"

namespace sluice::tier {
namespace {

constexpr Seconds kPatience = 0.02;

// Standard error goes to a file from construction to `end`.
class Listener {
 public:
  Listener() : file_(folder_.path() / "said"), before_(::dup(STDERR_FILENO)) {
    const FileDescriptor into(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    ::dup2(into.get(), STDERR_FILENO);
  }
  ~Listener() {
    if (before_.valid()) end();
  }
  std::string end() {
    ::dup2(before_.get(), STDERR_FILENO);
    before_ = FileDescriptor();
    return read_text(file_);
  }
  void wait_for(std::string_view text) const {
    while (read_text(file_).find(text) == std::string::npos) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path file_;
  FileDescriptor before_;
};

TEST(Watchdog, SpeaksOfWhatIsLateAndOfItsEndAndOfNothingElse) {
  Listener listener;
  {
    Watchdog dog(kPatience);
    Watchdog other(3600);
    const auto patient = other.watch([] { return std::string("patient"); });
    {
      const auto quick = dog.watch([] { return std::string("quick work"); });
    }
    const auto slow = dog.watch([] { return std::string("slow work"); });
    listener.wait_for("slow work");
  }
  const std::string said = listener.end();
  EXPECT_NE(said.find("slow work has not come to an end for"), std::string::npos) << said;
  EXPECT_NE(said.find("slow work has come to an end after"), std::string::npos) << said;
  EXPECT_EQ(said.find("quick"), std::string::npos) << said;
  EXPECT_EQ(said.find("patient"), std::string::npos) << said;
}

class HungDisk : public StoreTest {};

TEST_P(HungDisk, IsNamedWhileItIsWaitedForAndNothingIsLost) {
  const auto store = make_store();
  const auto channel = store->open_channel();
  const TestBuffer source(3 * MiB, 1), target(3 * MiB);
  const ObjectId object = store->reserve(3 * MiB, "layer 3 weight");
  for (const char* point : {"disk.complete_write@2=HANG", "disk.read@2=HANG", "disk.complete_read@2=HANG"}) {
    SCOPED_TRACE(point);
    Listener listener;
    set_fail_points(point);
    std::atomic<bool> ended{false};
    std::thread work([&] {
      channel->write(object, 0, source.all());
      channel->read(object, 0, target.all());
      ended = true;
    });
    listener.wait_for("has not come to an end");
    EXPECT_FALSE(ended.load());
    set_fail_points("");
    work.join();
    const std::string said = listener.end();
    const bool reads = std::string_view(point).find("read") != std::string_view::npos;
    for (const std::string& part :
         {std::string(reads ? "reading" : "writing"), std::string("object 'layer 3 weight' at offset"),
          folder_.path().string(), std::string("has not come to an end"), std::string("has come to an end")})
      EXPECT_NE(said.find(part), std::string::npos) << said;
    EXPECT_TRUE(same_bytes(source.all(), target.all()));
  }
}

std::vector<StoreCase> impatient_cases() {
  std::vector<StoreCase> found;
  for (StoreCase each : store_cases()) {
    if (each.name != "disk_uring" && each.name != "disk_threads" && each.num_folders == 1) continue;
    each.options.patience = kPatience;
    found.push_back(each);
  }
  return found;
}

INSTANTIATE_TEST_SUITE_P(Engines, HungDisk, testing::ValuesIn(impatient_cases()), case_name);

}  // namespace
}  // namespace sluice::tier
