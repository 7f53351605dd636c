#include "base/stop.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace sluice {
namespace {

constexpr int kInterruptedTwice = 130;
std::atomic<int> requests{0};
std::atomic<int> interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void count(int signal_number) {
  if (signal_number == SIGINT && interrupts.fetch_add(1, std::memory_order_relaxed) >= 1) _exit(kInterruptedTwice);
  requests.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = count;
  action.sa_flags = SA_RESTART;  // file I/O in flight must not fail with EINTR
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int stop_requests() { return requests.load(std::memory_order_relaxed); }

void request_stop() { requests.fetch_add(1, std::memory_order_relaxed); }

}  // namespace sluice
