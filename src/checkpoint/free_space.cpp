#include <cerrno>
#include <system_error>

#include "checkpoint/tensor_stream.h"

namespace sluice::checkpoint {

void check_free_space(const std::filesystem::path& folder, std::span<const StateTensor> tensors) {
  constexpr Bytes kMargin = 16 * MiB;  // headers, side files, directory blocks
  Bytes needed = kMargin;
  for (const StateTensor& tensor : tensors) needed += format::stored_size(tensor_info(tensor), "checkpoint");
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  if (error) throw_errno("checkpoint", "statvfs", folder.string(), error.value());
  if (space.available < static_cast<std::uintmax_t>(needed))
    throw IoError(
        "checkpoint", "there is no room to save in " + folder.parent_path().string(),
        "expected " + format_bytes(needed) + " free, got " + format_bytes(static_cast<Bytes>(space.available)),
        "free space on that file system or lower --keep");
}

}  // namespace sluice::checkpoint
