// A rank of a job that does nothing but talk: run by tests under every launcher.
//   rank_program [--nproc N] [--restarts N] [--deadline MS] LIBRARY contract|loop|fail|wait|bandwidth
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "../../collective/contract_cases.h"
#include "base/error.h"
#include "base/stop.h"
#include "launch/launcher.h"
#include "launch/world.h"

namespace {

using namespace sluice;
using collective::Communicator;
using collective::ElementType;

void say(const std::string& line) { std::cerr << line + "\n" << std::flush; }

int check_contract(Communicator& world) {
  for (const collective::ContractCase& contract : collective::contract_cases()) {
    try {
      contract.run(world);
    } catch (const std::runtime_error& error) {
      throw InternalError("contract", std::string(contract.name) + ": " + error.what());
    }
  }
  if (world.rank() == 0) say("contract holds on " + std::to_string(world.world_size()) + " ranks");
  return 0;
}

/// Works until it is told to stop, as a training run does.
int loop(Communicator& world) {
  install_stop_handlers();
  say("process " + std::to_string(world.rank()) + " " + std::to_string(getpid()) + " ");
  std::vector<float> data(200'000, 1.0F);
  world.barrier();
  if (world.rank() == 0) say("looping");
  while (world.agree_max(stop_requests()) == 0) {
    world.all_reduce(data.data(), 200'000, ElementType::Fp32, collective::Reduce::Max);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return static_cast<int>(ExitCode::Preempted);
}

/// The last rank finds that its disk is full.
int fail(Communicator& world) {
  world.barrier();
  if (world.rank() == world.world_size() - 1) throw IoError("disk", "write failed", "/spill: no space left");
  world.barrier();
  return 0;
}

/// The last rank never comes.
int wait(Communicator& world) {
  while (world.rank() == world.world_size() - 1) pause();
  world.barrier();
  return 0;
}

int measure(Communicator& world) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t kCount = 4 << 20;
  std::vector<float> all(kCount), mine(kCount / world.world_size());
  const auto seconds = [&](const auto& operation) {
    double best = 1e9;
    for (int round = 0; round < 10; ++round) {
      world.barrier();
      const auto begin = Clock::now();
      operation();
      best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return best;
  };
  const auto count = static_cast<std::int64_t>(mine.size());
  const double reduce =
      seconds([&] { world.all_reduce(all.data(), kCount, ElementType::Fp32, collective::Reduce::Sum); });
  const double scatter = seconds([&] { world.reduce_scatter(all.data(), mine.data(), count, ElementType::Fp32); });
  const double gather = seconds([&] { world.all_gather(mine.data(), all.data(), count, ElementType::Fp32); });
  const double barrier = seconds([&] { world.barrier(); });
  if (world.rank() == 0) {
    std::cout << "16 MiB on " << world.world_size() << " ranks: all_reduce " << reduce * 1e3 << " ms, reduce_scatter "
              << scatter * 1e3 << " ms, all_gather " << gather * 1e3 << " ms; barrier " << barrier * 1e6 << " us\n";
  }
  return 0;
}

int run(int argc, char** argv) {
  launch::JobOptions job;
  collective::Limits limits = {.deadline = std::chrono::seconds(60), .connect_deadline = std::chrono::seconds(60)};
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--nproc") == 0) {
      job.num_ranks = std::stoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--restarts") == 0) {
      job.restarts = std::stoi(argv[++i]);
    } else if (std::strcmp(argv[i], "--deadline") == 0) {
      limits.deadline = limits.connect_deadline = std::chrono::milliseconds(std::stoi(argv[++i]));
    } else {
      words.emplace_back(argv[i]);
    }
  }
  if (words.size() != 2) throw ConfigError("rank_program", "expected LIBRARY MODE");
  job.library = words[0];
  if (const auto code = launch::run_job_unless_launched(job)) return *code;
  const launch::World world = launch::open_world(words[0], limits);
  if (words[1] == "contract") return check_contract(*world.communicator);
  if (words[1] == "loop") return loop(*world.communicator);
  if (words[1] == "fail") return fail(*world.communicator);
  if (words[1] == "wait") return wait(*world.communicator);
  if (words[1] == "bandwidth") return measure(*world.communicator);
  throw ConfigError("rank_program", "unknown mode " + words[1]);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    say(std::string("sluice: ") + error.what());
    return static_cast<int>(error.exit_code());
  }
}
