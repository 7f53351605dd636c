// A device for tests that is none: torch's PrivateUse1 place, whose operators are those of the CPU, in memory that
// nobody may touch but they. Code that reads a tensor of it through a pointer dies at once, as it would read nonsense
// on a card. Torch programs alone.
#pragma once
#include <c10/core/Device.h>

#include <cstddef>

namespace sluice::foreign {

/// Teaches torch the device; idempotent.
c10::Device device();

/// Memory of the device, page by page.
class Memory {
 public:
  explicit Memory(std::size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

/// While one lives, on whichever thread, the device's memory may be read and written: for copies and operators.
class Access {
 public:
  Access();
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
};

}  // namespace sluice::foreign
