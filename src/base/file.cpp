#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/fail_point.h"

namespace sluice {
namespace {

constexpr Bytes kFlushEvery = 16 * MiB;  // written pages are forced out and dropped in steps of this

std::string in_file(const std::filesystem::path& path, Bytes offset) {
  return path.string() + " at offset " + std::to_string(offset);
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() { close(); }

void FileDescriptor::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

FileReader::FileReader(std::filesystem::path path)
    : FileReader(FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), path) {}

FileReader::FileReader(FileDescriptor fd, std::filesystem::path path) : path_(std::move(path)), fd_(std::move(fd)) {
  if (!fd_.valid()) throw_errno("file", "open", path_.string(), errno, "check the path");
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw_errno("file", "stat", path_.string(), errno);
  if (!S_ISREG(status.st_mode)) throw IoError("file", "open failed", path_.string() + " is not a regular file");
  size_ = status.st_size;
}

void FileReader::read(Bytes offset, std::span<std::byte> destination) const {
  std::size_t done = 0;
  while (done < destination.size()) {
    const auto here = offset + static_cast<Bytes>(done);
    const ssize_t count = ::pread(fd_.get(), destination.data() + done, destination.size() - done, here);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("file", "read", in_file(path_, here), errno);
    if (count == 0)
      throw FormatError("file", "file is too short",
                        "expected " + std::to_string(destination.size() - done) + " more bytes, got the end of " +
                            in_file(path_, here),
                        "the file is truncated: copy or download it again");
    done += static_cast<std::size_t>(count);
  }
  ::posix_fadvise(fd_.get(), offset, static_cast<off_t>(destination.size()), POSIX_FADV_DONTNEED);
}

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)) {
  temporary_ = path_;
  temporary_ += ".tmp-" + std::to_string(::getpid());
  fd_ = FileDescriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd_.valid())
    throw_errno("file", "create", temporary_.string(), errno, "check that the folder exists and is writable");
  hash_ = XXH3_createState();
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(hash_));
}

FileWriter::~FileWriter() {
  XXH3_freeState(static_cast<XXH3_state_t*>(hash_));
  if (fd_.valid()) {
    fd_.close();
    ::unlink(temporary_.c_str());
  }
}

void FileWriter::append(std::span<const std::byte> bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(hash_), bytes.data(), bytes.size());
  std::size_t done = 0;
  while (done < bytes.size()) {
    const int injected = fail_point("file.write");
    std::size_t ask = bytes.size() - done;
    if (injected == -1) ask = std::max<std::size_t>(1, ask / 2);
    const ssize_t count = injected > 0 ? (errno = injected, -1) : ::write(fd_.get(), bytes.data() + done, ask);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      throw_errno("file", "write", in_file(temporary_, position_), errno,
                  "free space on that file system or choose another folder");
    done += static_cast<std::size_t>(count);
    position_ += count;
  }
  if (position_ - flushed_ >= kFlushEvery) {
    ::sync_file_range(fd_.get(), flushed_, position_ - flushed_,
                      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    ::posix_fadvise(fd_.get(), flushed_, position_ - flushed_, POSIX_FADV_DONTNEED);
    flushed_ = position_;
  }
}

void FileWriter::append(std::string_view text) { append(std::as_bytes(std::span(text.data(), text.size()))); }

void FileWriter::publish() {
  if (const int injected = fail_point("file.sync"); injected > 0)
    throw_errno("file", "fsync", temporary_.string(), injected);
  if (::fsync(fd_.get()) != 0) throw_errno("file", "fsync", temporary_.string(), errno);
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (const int injected = fail_point("file.rename"); injected > 0)
    throw_errno("file", "rename", path_.string(), injected);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno("file", "rename", path_.string(), errno);
  fd_.close();
  sync_folder(path_.parent_path());
}

std::uint64_t FileWriter::checksum() const { return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(hash_)); }

std::string read_text(const std::filesystem::path& path, Bytes limit) {
  const FileReader file(path);
  if (file.size() > limit)
    throw FormatError(
        "file", "file is too large",
        path.string() + " has " + format_bytes(file.size()) + ", at most " + format_bytes(limit) + " are read");
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.append(text);
  writer.publish();
}

void sync_folder(const std::filesystem::path& folder) {
  const std::filesystem::path name = folder.empty() ? "." : folder;
  const FileDescriptor fd(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) throw_errno("file", "fsync of folder", name.string(), errno);
}

std::uint64_t checksum(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace sluice
