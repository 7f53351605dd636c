#include "train/ranks.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "launch/world.h"
#include "tier/limits.h"

namespace sluice::train {

using collective::ElementType;

Ranks::Ranks(const launch::Environment& environment, const recipe::Settings& settings) {
  if (environment.place.world_size == 1) {
    if (settings.reduce_order != recipe::ReduceOrder::Fixed) return;
    world_ = std::move(collective::make_local_world(1).front());
    lane_ = world_->split(0, 0);
    return;
  }
  collective::Limits limits;
  if (settings.collective_timeout)
    limits.deadline = std::chrono::milliseconds(std::llround(*settings.collective_timeout * 1000));
  world_ = launch::open_world(settings.collective, limits, environment).communicator;
  per_node_ = std::max(environment.place.local_size, 1);
  const plan::Sharding sharding{.num_ranks = world_->world_size(), .group_size = settings.zero_shard_size.value_or(0)};
  if (!sharding.is_grouped()) {
    lane_ = world_->split(0, world_->rank());
    return;
  }
  group_ = world_->split(world_->rank() / sharding.ranks_per_group(), world_->rank());
  replicas_ = world_->split(world_->rank() % sharding.ranks_per_group(), world_->rank());
}

std::int64_t Ranks::sum(std::int64_t value) const {
  if (are_many()) world_->all_reduce(&value, 1, ElementType::Int64, collective::Reduce::Sum);
  return value;
}

std::int64_t Ranks::max(std::int64_t value) const { return are_many() ? world_->agree_max(value) : value; }

std::vector<double> Ranks::collect(double value) const {
  std::vector<double> all(count(), value);
  if (are_many()) world_->all_gather(&value, all.data(), sizeof(double), ElementType::Byte);
  return all;
}

std::vector<std::string> Ranks::collect(std::string text) const {
  if (!are_many()) return {std::move(text)};
  const auto size = static_cast<std::int64_t>(text.size()), room = max(size) + static_cast<std::int64_t>(sizeof(size));
  text.insert(0, reinterpret_cast<const char*>(&size), sizeof(size));
  text.resize(static_cast<std::size_t>(room));
  std::string joined(static_cast<std::size_t>(room * count()), '\0');
  world_->all_gather(text.data(), joined.data(), room, ElementType::Byte);
  std::vector<std::string> all;
  for (int rank = 0; rank < count(); ++rank) {
    const char* const from = joined.data() + rank * room;
    std::int64_t length = 0;
    std::memcpy(&length, from, sizeof(length));
    all.emplace_back(from + sizeof(length), static_cast<std::size_t>(length));
  }
  return all;
}

std::string Ranks::share(std::string text) const {
  if (!are_many()) return text;
  text.resize(static_cast<std::size_t>(max(is_first() ? static_cast<std::int64_t>(text.size()) : 0)));
  world_->broadcast(text.data(), static_cast<std::int64_t>(text.size()), ElementType::Byte, 0);
  return text;
}

void Ranks::first_then_others(const std::function<void()>& work) const {
  if (is_first()) work();
  if (are_many()) world_->barrier();
  if (!is_first()) work();
}

std::int64_t Ranks::bytes_sent() const {
  std::int64_t total = 0;
  for (const auto& ranks : {&world_, &lane_, &group_, &replicas_})
    if (*ranks) total += (*ranks)->traffic().total_bytes_sent();
  return total;
}

std::int64_t Ranks::bytes_sent_across_groups() const { return replicas_ ? replicas_->traffic().total_bytes_sent() : 0; }

recipe::Settings settings_of_rank(recipe::Settings settings, const collective::Place& place) {
  if (place.world_size == 1) return settings;
  settings.nproc = place.world_size;
  settings.nodes.reset();
  const int here = std::max(place.local_size, 1);
  settings.host_memory = settings.host_memory.value_or(tier::available_host_memory() / 10 * 9) / here / 4096 * 4096;
  if (settings.disk_memory) *settings.disk_memory /= here;
  settings.threads = std::max(1, settings.threads.value_or(tier::physical_cores()) / here);
  return settings;
}

}  // namespace sluice::train
