#include "collective/call.h"

#include <algorithm>
#include <cstddef>

namespace sluice::collective {

using std::chrono::steady_clock;

namespace {

// Libraries count a message's bytes in 31 bits.
constexpr std::int64_t kLargestMessage = std::int64_t{1} << 30;

// How soon a call that waits sees that another thread of this rank has ended communication.
constexpr std::chrono::milliseconds kLookAround{200};

}  // namespace

Call::Call(Endpoint& endpoint, Traffic& traffic, std::span<const int> members, const Record& record, int tag)
    : endpoint_(endpoint), traffic_(traffic), members_(members), record_(record), tag_(tag) {
  endpoint_.check_usable();
  ticket_ = endpoint_.recorder().begin(record_);
  ++traffic_.num_calls[static_cast<std::size_t>(record_.operation)];
}

std::string Call::title() const {
  return "rank " + std::to_string(endpoint_.transport().rank()) + ": " +
         std::string(operation_name(record_.operation)) + " number " + std::to_string(record_.sequence) + " of group " +
         std::to_string(record_.context);
}

void Call::send(Round& round, const void* data, std::int64_t bytes, int peer) {
  if (bytes == 0) return;
  const int rank = members_[static_cast<std::size_t>(peer)];
  try {
    for (std::int64_t begin = 0; begin < bytes; begin += kLargestMessage) {
      const auto size = static_cast<std::size_t>(std::min(kLargestMessage, bytes - begin));
      round.emplace_back(rank,
                         endpoint_.transport().send(static_cast<const std::byte*>(data) + begin, size, rank, tag_));
    }
  } catch (const PeerLost&) {
    endpoint_.give_up(title(), {rank}, true);
  }
  traffic_.bytes_sent[static_cast<std::size_t>(record_.operation)] += bytes;
}

void Call::receive(Round& round, void* data, std::int64_t bytes, int peer) {
  if (bytes == 0) return;
  const int rank = members_[static_cast<std::size_t>(peer)];
  try {
    for (std::int64_t begin = 0; begin < bytes; begin += kLargestMessage) {
      const auto size = static_cast<std::size_t>(std::min(kLargestMessage, bytes - begin));
      round.emplace_back(rank, endpoint_.transport().receive(static_cast<std::byte*>(data) + begin, size, rank, tag_));
    }
  } catch (const PeerLost&) {
    endpoint_.give_up(title(), {rank}, true);
  }
}

void Call::wait(Round& round) {
  const auto begin = steady_clock::now();
  const TimePoint deadline = begin + endpoint_.limits().deadline;
  for (std::size_t i = 0; i < round.size(); ++i) {
    bool is_done = false, is_lost = false;
    try {
      TimePoint until = begin;
      while (!is_done && until < deadline) {
        until = std::min(deadline, steady_clock::now() + kLookAround);
        is_done = round[i].second->wait(until);
        if (!is_done) endpoint_.check_usable();
      }
    } catch (const PeerLost&) {
      is_lost = true;
    }
    if (!is_done) name_the_missing(round, i, is_lost);
  }
  round.clear();
  traffic_.wait_seconds[static_cast<std::size_t>(record_.operation)] +=
      std::chrono::duration<double>(steady_clock::now() - begin).count();
}

void Call::name_the_missing(Round& round, std::size_t first, bool is_lost) {
  // A message that is not done counts only where the rank has not been named; a lost rank outweighs a late one.
  std::vector<int> late, lost;
  (is_lost ? lost : late).push_back(round[first].first);
  for (std::size_t i = first + 1; i < round.size(); ++i) {
    try {
      if (!round[i].second->wait(steady_clock::now())) late.push_back(round[i].first);
    } catch (const PeerLost&) {
      lost.push_back(round[i].first);
    }
  }
  std::vector<int>& missing = lost.empty() ? late : lost;
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  const bool any_lost = !lost.empty();
  round.clear();
  endpoint_.give_up(title(), missing, any_lost);
}

}  // namespace sluice::collective
