#include "format/byte_source.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "format/quote.h"

namespace sluice::format {
namespace {

void check_range(const ByteSource& source, Bytes offset, std::size_t size) {
  if (offset < 0 || offset > source.size() || static_cast<std::uint64_t>(source.size() - offset) < size)
    throw FormatError("format", "read outside of " + source.name(),
                      "expected at most " + std::to_string(source.size()) + " bytes, got offset " +
                          std::to_string(offset) + " and length " + std::to_string(size),
                      "the file is truncated: copy or download it again");
}

class FileSource final : public ByteSource {
 public:
  explicit FileSource(FileReader file) : file_(std::move(file)), name_(file_.path().string()) {}
  Bytes size() const override { return file_.size(); }
  const std::string& name() const override { return name_; }
  void read(Bytes offset, std::span<std::byte> destination) const override {
    check_range(*this, offset, destination.size());
    file_.read(offset, destination);
  }

 private:
  FileReader file_;
  std::string name_;
};

class MemorySource final : public ByteSource {
 public:
  MemorySource(std::string bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}
  Bytes size() const override { return static_cast<Bytes>(bytes_.size()); }
  const std::string& name() const override { return name_; }
  void read(Bytes offset, std::span<std::byte> destination) const override {
    check_range(*this, offset, destination.size());
    if (!destination.empty()) std::memcpy(destination.data(), bytes_.data() + offset, destination.size());
  }

 private:
  std::string bytes_;
  std::string name_;
};

// Opens `relative` under `root`; links may not lead out of `root`. Kernels and sandboxes without openat2 get a plain
// open that follows no link at the last component.
int open_beneath(const std::filesystem::path& root, const std::filesystem::path& relative) {
  const FileDescriptor folder(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return -1;
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH;
  const long fd = ::syscall(SYS_openat2, folder.get(), relative.c_str(), &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  return ::openat(folder.get(), relative.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
}

}  // namespace

std::unique_ptr<ByteSource> open_file_source(const std::filesystem::path& path) {
  return std::make_unique<FileSource>(FileReader(path));
}

std::unique_ptr<ByteSource> open_file_in(const std::filesystem::path& folder, std::string_view file_name) {
  if (!is_clean_name(file_name, 255) || file_name.find('/') != std::string_view::npos || file_name == "." ||
      file_name == "..")
    throw FormatError("format", "bad file name", "expected one path component, got " + quote(file_name),
                      "do not use this model folder: its index points elsewhere");
  std::filesystem::path root = std::filesystem::absolute(folder).lexically_normal();
  if (!root.has_filename()) root = root.parent_path();
  std::filesystem::path relative(file_name);
  // The hub cache keeps models--ORG--NAME/snapshots/COMMIT/file as links to ../../blobs/HASH.
  if (const auto parent = root.parent_path(); parent.filename() == "snapshots") {
    relative = std::filesystem::path("snapshots") / root.filename() / relative;
    root = parent.parent_path();
  }
  const std::filesystem::path path = folder / file_name;
  const int fd = open_beneath(root, relative);
  if (fd < 0 && (errno == EXDEV || errno == ELOOP))
    throw FormatError("format", "link out of the model folder", "expected a file inside of it, got " + path.string(),
                      "copy the file itself into the folder");
  if (fd < 0)
    throw_errno("format", "open", path.string(), errno, "the model folder lacks a file: copy or download it again");
  return std::make_unique<FileSource>(FileReader(FileDescriptor(fd), path));
}

std::unique_ptr<ByteSource> make_memory_source(std::string bytes, std::string name) {
  return std::make_unique<MemorySource>(std::move(bytes), std::move(name));
}

}  // namespace sluice::format
