// What every communicator must do, as functions that each rank of a world runs. Threads of a test run them, and so do
// processes under a launcher.
#pragma once
#include <functional>
#include <span>
#include <string_view>

#include "collective/communicator.h"

namespace sluice::collective {

struct ContractCase {
  std::string_view name;
  void (*run)(Communicator& world);  ///< throws std::runtime_error with what is wrong
};

std::span<const ContractCase> contract_cases();

}  // namespace sluice::collective
