#include "tier/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "tier/limits.h"

namespace sluice::tier {
namespace {

constexpr Bytes kPage = 4096;

// Before Linux 5.14 there is no MADV_POPULATE_WRITE: write each page with what it holds.
void touch_by_hand(std::byte* data, Bytes bytes) {
  for (Bytes at = 0; at < bytes; at += kPage) {
    auto* place = reinterpret_cast<volatile unsigned char*>(data + at);
    *place = *place;
  }
}

}  // namespace

Arena::Arena(Bytes capacity) : capacity_(capacity) {
  SLUICE_CHECK(capacity > 0, "arena of ", capacity, " bytes");
  const auto size = static_cast<std::size_t>(capacity);
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    throw CapacityError("tier.arena", "reserving addresses failed",
                        "asked " + format_bytes(capacity) + ": " + std::strerror(errno),
                        "lower --host-memory or raise ulimit -v");
  ::madvise(address, size, MADV_NOHUGEPAGE);  // a refusal (kernel without huge pages) changes nothing
  data_ = static_cast<std::byte*>(address);
}

Arena::~Arena() { ::munmap(data_, static_cast<std::size_t>(capacity_)); }

void Arena::touch(Bytes up_to) {
  SLUICE_CHECK(up_to >= 0 && up_to <= capacity_, "touch ", up_to, " of an arena of ", capacity_);
  const Bytes more = up_to - touched_;
  if (more <= 0) return;
  if (const Bytes free = available_host_memory(); more > free)
    throw CapacityError("tier.arena", "not enough memory",
                        "asked " + format_bytes(more) + " more, free " + format_bytes(free),
                        "lower --host-memory, close other programs or raise the memory limit of this job");
  const Bytes begin = touched_ / kPage * kPage;
  std::byte* const from = data_ + begin;
  const auto size = static_cast<std::size_t>(up_to - begin);
  int result = -1;
#ifdef MADV_POPULATE_WRITE
  do {
    result = ::madvise(from, size, MADV_POPULATE_WRITE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
#else
  errno = EINVAL;
#endif
  if (result != 0 && errno != EINVAL)
    throw CapacityError("tier.arena", "not enough memory",
                        "asked " + format_bytes(more) + " more: " + std::strerror(errno), "lower --host-memory");
  if (result != 0) touch_by_hand(from, up_to - begin);
  touched_ = up_to;
}

}  // namespace sluice::tier
