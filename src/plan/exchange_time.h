// What an exchange between ranks costs in time, over links of two speeds.
#pragma once
#include "plan/machine.h"

namespace sluice::plan {

/// Predicted seconds of an exchange as the ranks make it (collective/communicator.cpp): in each of `rounds`, every rank
/// sends an equal part of `sent` (bytes, over all rounds) straight to every other rank, no ring and no tree. Messages
/// to ranks of the same node and to those of other nodes go at the same time, each kind over its own link, so the
/// slower link decides; `latency` is paid per message of that link. 0 for one rank. Pure.
[[nodiscard]] Seconds exchange_seconds(const Network& network, int num_ranks, Bytes sent, int rounds);

}  // namespace sluice::plan
