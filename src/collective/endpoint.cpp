#include "collective/endpoint.h"

#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "collective/call.h"

namespace sluice::collective {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The others wait for nothing while they are told, so this is time for a few bytes to arrive.
constexpr milliseconds kFarewellTime{300};

std::string list_ranks(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  return text;
}

std::string in_seconds(milliseconds time) {
  const std::string digits = std::to_string(time.count() % 1000);
  return std::to_string(time.count() / 1000) +
         (time.count() % 1000 == 0 ? "" : "." + std::string(3 - digits.size(), '0') + digits) + " s";
}

}  // namespace

Endpoint::Endpoint(std::unique_ptr<Transport> transport, const Limits& limits)
    : transport_(std::move(transport)),
      limits_(limits),
      recorder_(transport_->rank()),
      farewells_(static_cast<std::size_t>(transport_->world_size())) {
  for (int peer = 0; peer < transport_->world_size(); ++peer) {
    if (peer == transport_->rank()) continue;
    Farewell& farewell = farewells_[static_cast<std::size_t>(peer)];
    farewell.transfer = transport_->receive(&farewell.culprit, sizeof farewell.culprit, peer, kFarewellTag);
  }
}

Endpoint::~Endpoint() = default;

void Endpoint::check_usable() {
  const std::lock_guard lock(mutex_);
  if (why_unusable_.empty()) return;
  throw CommError("collective", "communication of rank " + std::to_string(transport_->rank()) + " has ended",
                  why_unusable_, "start the job again");
}

int Endpoint::farewell_of(int peer) {
  Farewell& farewell = farewells_[static_cast<std::size_t>(peer)];
  if (farewell.transfer == nullptr) return -1;
  try {
    if (farewell.transfer->wait(steady_clock::now() + kFarewellTime)) return static_cast<int>(farewell.culprit);
  } catch (const PeerLost&) {
  }
  return -1;
}

void Endpoint::tell_others(int culprit) {
  const std::int64_t word = culprit;
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (int peer = 0; peer < transport_->world_size(); ++peer) {
    if (peer == transport_->rank() || peer == culprit) continue;
    try {
      transfers.push_back(transport_->send(&word, sizeof word, peer, kFarewellTag));
    } catch (const PeerLost&) {
    }
  }
  const TimePoint until = steady_clock::now() + kFarewellTime;
  for (const auto& transfer : transfers) {
    try {
      transfer->wait(until);
    } catch (const PeerLost&) {
    }
  }
}

void Endpoint::give_up(const std::string& what, const std::vector<int>& suspects, bool is_lost) {
  const std::lock_guard lock(mutex_);
  std::string reason;
  int culprit = suspects.front();
  if (is_lost) {
    reason = list_ranks(suspects) + (suspects.size() == 1 ? " is lost" : " are lost");
    for (const int suspect : suspects) {
      const int blamed = farewell_of(suspect);
      if (blamed < 0) {
        // It said nothing: it did not follow anyone.
        culprit = suspect;
        reason = "rank " + std::to_string(suspect) + " is lost";
        break;
      }
      if (blamed != transport_->rank()) culprit = blamed;
      reason = "rank " + std::to_string(culprit) + " is missing, says rank " + std::to_string(suspect) +
               ", which has given up";
    }
  } else {
    reason = "no answer from " + list_ranks(suspects) + " within " + in_seconds(limits_.deadline);
  }
  if (why_unusable_.empty()) {
    log_info(recorder_.text());
    why_unusable_ = what + ": " + reason;
  }
  tell_others(culprit);
  transport_->abandon();
  throw CommError("collective", what + " failed", "expected every rank to take part, got " + reason,
                  "look at that rank's last lines, then start the job again: it resumes from the newest checkpoint");
}

void Endpoint::end(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (!why_unusable_.empty()) return;
  why_unusable_ = why;
  tell_others(transport_->rank());
  transport_->abandon();
}

std::unique_ptr<Communicator> make_world(std::unique_ptr<Transport> transport, const Limits& limits) {
  std::vector<int> members(static_cast<std::size_t>(transport->world_size()));
  std::iota(members.begin(), members.end(), 0);
  return std::make_unique<Communicator>(std::make_shared<Endpoint>(std::move(transport), limits), std::move(members),
                                        0);
}

}  // namespace sluice::collective
