#include "exec/direction_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "exec/newton_schulz.h"

namespace sluice::exec {
namespace {

constexpr int kTag = 3;

class JointDirections {
 public:
  JointDirections(const DirectionPart& part, collective::Communicator& ranks)
      : part_(part), ranks_(ranks), own_part_(part.own.first / part.own.count) {}

  void hand_over() {
    for (const plan::ParameterSlot& slot : part_.chunk.parameters) {
      if (is_mine_to_hand_over(slot))
        send(memory_of(slot, own_part_), range_in(slot, own_part_).count, last_part(slot));
    }
  }

  void orthogonalize(const optim::NewtonSchulz& iteration) {
    for (const plan::ParameterSlot& slot : part_.chunk.parameters) {
      if (slot.update < 0 || last_part(slot) != own_part_) continue;
      const std::int64_t rows = matrix_rows(slot);
      const std::array<std::int64_t, 2> shape = {rows, slot.num_elements / rows};
      if (first_part(slot) == own_part_) {
        orthogonalize_joined(iteration, at::from_blob(memory_of(slot, own_part_), shape, at::kFloat), slot.num_joined);
      } else {
        put_together(iteration, slot, at::empty(shape, at::kFloat));
      }
    }
    for (const plan::ParameterSlot& slot : part_.chunk.parameters) {
      if (is_mine_to_hand_over(slot))
        receive(memory_of(slot, own_part_), range_in(slot, own_part_).count, last_part(slot));
    }
  }

 private:
  void put_together(const optim::NewtonSchulz& iteration, const plan::ParameterSlot& slot, const at::Tensor& whole) {
    auto* const elements = whole.mutable_data_ptr<float>();
    const auto place = [&](std::int64_t part) { return elements + (range_in(slot, part).first - slot.first_element); };
    const std::int64_t own_count = range_in(slot, own_part_).count;
    std::copy_n(memory_of(slot, own_part_), own_count, place(own_part_));
    for (std::int64_t part = first_part(slot); part < own_part_; ++part)
      receive(place(part), range_in(slot, part).count, part);
    orthogonalize_joined(iteration, whole, slot.num_joined);
    std::copy_n(place(own_part_), own_count, memory_of(slot, own_part_));
    for (std::int64_t part = first_part(slot); part < own_part_; ++part)
      send(place(part), range_in(slot, part).count, part);
  }

  [[nodiscard]] std::int64_t first_part(const plan::ParameterSlot& slot) const {
    return slot.first_element / part_.own.count;
  }
  [[nodiscard]] std::int64_t last_part(const plan::ParameterSlot& slot) const {
    return (slot.first_element + slot.num_elements - 1) / part_.own.count;
  }
  [[nodiscard]] bool is_mine_to_hand_over(const plan::ParameterSlot& slot) const {
    return slot.update >= 0 && first_part(slot) <= own_part_ && own_part_ < last_part(slot);
  }

  /// What `part` has of a tensor, as elements of the chunk.
  [[nodiscard]] plan::ElementRange range_in(const plan::ParameterSlot& slot, std::int64_t part) const {
    const std::int64_t size = part_.own.count, first = std::max(slot.first_element, part * size);
    return {first, std::min(slot.first_element + slot.num_elements, (part + 1) * size) - first};
  }

  [[nodiscard]] float* memory_of(const plan::ParameterSlot& slot, std::int64_t part) const {
    return part_.memory + (range_in(slot, part).first - part_.first_in_memory);
  }

  [[nodiscard]] int rank_of(std::int64_t part) const { return ranks_.rank() + static_cast<int>(part - own_part_); }
  void send(const float* data, std::int64_t count, std::int64_t part) {
    ranks_.send(data, count, collective::ElementType::Fp32, rank_of(part), kTag);
  }
  void receive(float* data, std::int64_t count, std::int64_t part) {
    ranks_.receive(data, count, collective::ElementType::Fp32, rank_of(part), kTag);
  }

  const DirectionPart& part_;
  collective::Communicator& ranks_;
  const std::int64_t own_part_;
};

}  // namespace

// Every rank sends before it works, so that none waits for another one's matrices.
void hand_over_direction(const DirectionPart& part, collective::Communicator& ranks) {
  JointDirections(part, ranks).hand_over();
}

void orthogonalize_jointly(const optim::NewtonSchulz& iteration, const DirectionPart& part,
                           collective::Communicator& ranks) {
  JointDirections(part, ranks).orthogonalize(iteration);
}

}  // namespace sluice::exec
