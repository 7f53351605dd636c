#include "tier/store.h"

namespace sluice::tier {

Channel::~Channel() = default;

bool Channel::register_memory(std::span<std::byte> /*memory*/) { return false; }

Store::~Store() = default;

}  // namespace sluice::tier
