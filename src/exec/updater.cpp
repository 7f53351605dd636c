#include "exec/updater.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "exec/device_update.h"
#include "exec/direction_exchange.h"
#include "exec/newton_schulz.h"
#include "model/parallel.h"

namespace sluice::exec {
namespace {

constexpr int kSumsTag = 2;

/// Whether it lies in the parts of several ranks.
bool is_divided(const plan::ParameterSlot& slot, const plan::ElementRange& own) {
  return slot.first_element < own.first || slot.first_element + slot.num_elements > own.first + own.count;
}

void send(collective::Communicator& ranks, std::span<const double> numbers, int to) {
  if (numbers.empty()) return;
  ranks.send(numbers.data(), static_cast<std::int64_t>(numbers.size_bytes()), collective::ElementType::Byte, to,
             kSumsTag);
}

void receive(collective::Communicator& ranks, std::span<double> numbers, int from) {
  if (numbers.empty()) return;
  ranks.receive(numbers.data(), static_cast<std::int64_t>(numbers.size_bytes()), collective::ElementType::Byte, from,
                kSumsTag);
}

}  // namespace

Updater::Updater(const plan::StepTrace& trace, const optim::RuleSet& rules, Decay decay,
                 std::span<const std::int64_t> slice_elements, const TensorPlace& place)
    : trace_(trace), rules_(rules), decay_(decay), place_(place), layout_(trace, rules) {
  for (int rule = 0; rule < static_cast<int>(rules.size()); ++rule) {
    SLUICE_CHECK(rules[rule].rule->states().size() <= kMostStates);
    sums_.emplace_back(trace, rule, rules[rule].rule->measuring(), slice_elements);
  }
  std::int64_t in_model = 0;
  for (const plan::Chunk& chunk : trace.chunks) {
    auto& firsts = first_in_model_.emplace_back();
    for (const plan::ParameterSlot& parameter : chunk.parameters) {
      firsts.push_back(in_model);
      in_model += round_up(parameter.num_elements, optim::kBlock);
    }
  }
}

void Updater::run(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
                  const optim::UpdateArgs& args) {
  const plan::Chunk& chunk = trace_.chunks[action.chunk];
  const Places places = places_of(plan, action, arenas);
  const plan::ElementRange elements = plan::slice_range(plan, action.chunk, action.slice, chunk.num_elements);
  const std::int64_t begin = elements.first, end = elements.first + elements.count;
  const optim::Measuring measuring = rule_of(chunk).measuring();
  const bool measures = action.pass >= 0 && action.pass < measuring.passes;
  const bool joint = plan.sharding.states();  // then `exchange` has started them
  if (measuring.passes > 0 && !joint && begun_ != &chunk) sums_[chunk.rule].start(chunk);
  begun_ = !measures && action.slice == 0 ? nullptr : &chunk;  // the row that applies this slice is the last
  for (int p = 0; p < static_cast<int>(chunk.parameters.size()); ++p) {
    const plan::ParameterSlot& slot = chunk.parameters[p];
    const Range range{.chunk = &chunk,
                      .parameter = p,
                      .first = std::max(begin, slot.first_element) - slot.first_element,
                      .last = std::min(end, slot.first_element + slot.num_elements) - slot.first_element};
    if (range.first >= range.last) continue;
    const optim::UpdateArgs own = args_of(chunk, slot, args);
    const bool whole = range.last - range.first == slot.num_elements;
    const bool at_once = whole && (action.pass < 0 || measuring.advanced == 0);
    if (joint && plan::updates_whole_tensors(chunk)) {
      run_jointly(action.pass, places, range, own);
    } else if (slot.update >= 0) {
      SLUICE_CHECK(whole && !measures, slot.name, " is updated whole");
      apply_whole(places, range, own);
    } else if (measures) {
      if (at_once) continue;
      measure(action.pass, places, range, own);
      const bool divided = joint && is_divided(slot, plan::own_range(plan, chunk.num_elements));
      if (!divided && range.last == slot.num_elements) conclude(action.pass, places, range, own);
    } else {
      for (int pass = 0; at_once && pass < measuring.passes; ++pass) {
        measure(pass, places, range, own);
        conclude(pass, places, range, own);
      }
      apply(places, range, own);
    }
  }
}

optim::UpdateArgs Updater::args_of(const plan::Chunk& chunk, const plan::ParameterSlot& slot,
                                   const optim::UpdateArgs& args) const {
  const optim::RuleUse& use = rules_[chunk.rule];
  optim::UpdateArgs own = use.args(args);
  if (decay_ == Decay::Matrices && slot.shape.size() < 2) own.weight_decay = 0;
  return optim::args_in_group(use.groups, slot.name, own);
}

Updater::Places Updater::places_of(const plan::Plan& plan, const plan::Action& action,
                                   const tier::ArenaBases& arenas) const {
  Places places;
  for (const plan::Slot& slot : action.slots) {
    const plan::Buffer& buffer = plan.buffers[slot.buffer];
    std::byte* const memory = arenas[slot.tier] + slot.offset;
    if (buffer.kind == plan::BufferKind::Weight) {
      places.weight = memory;
      places.held = buffer.held;
      places.on_device = place_.holds(slot);
      places.first_weight = buffer.first_element;
    }
    if (buffer.kind == plan::BufferKind::Gradient) {
      places.gradient = reinterpret_cast<float*>(memory);
      places.first_gradient = buffer.first_element;
    }
    if (buffer.kind == plan::BufferKind::Moment) places.states[buffer.moment] = {&buffer, memory};
  }
  return places;
}

// The sums of the tensor in which this rank's part begins come from the rank before, those of the one in which it ends
// go on to the next. Who has a tensor's last element finishes it and tells the others that have some of it.
void Updater::exchange(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
                       const optim::UpdateArgs& args, collective::Communicator& ranks) {
  const plan::Chunk& chunk = trace_.chunks[action.chunk];
  const plan::ElementRange own = plan::own_range(plan, chunk.num_elements);
  if (plan::updates_whole_tensors(chunk)) return exchange_directions(plan, action, arenas, ranks);
  TensorSums& sums = sums_[chunk.rule];
  const auto own_part = static_cast<int>(own.first / own.count);
  const auto rank_of = [&](int part) { return ranks.rank() - own_part + part; };
  const bool takes = action.kind == plan::ActionKind::Recv;
  if (takes && action.pass == 0) sums.start(chunk);
  for (int p = 0; p < static_cast<int>(chunk.parameters.size()); ++p) {
    const plan::ParameterSlot& slot = chunk.parameters[p];
    const std::int64_t end = slot.first_element + slot.num_elements;
    if (action.kind == plan::ActionKind::Broadcast) {
      const auto first = static_cast<int>(slot.first_element / own.count);
      const auto last = static_cast<int>((end - 1) / own.count);
      if (first == last || own_part < first || own_part > last) continue;
      const std::span<double> totals = sums.open(slot, p, slot.num_elements).totals;
      if (own_part < last) receive(ranks, totals, rank_of(last));
      for (int part = first; own_part == last && part < last; ++part) send(ranks, totals, rank_of(part));
      conclude(action.pass, places_of(plan, action, arenas), {.chunk = &chunk, .parameter = p},
               args_of(chunk, slot, args));
      continue;
    }
    const std::int64_t cut = takes ? own.first : own.first + own.count;
    if (cut <= slot.first_element || cut >= end) continue;
    const TensorSums::Open open = sums.open(slot, p, cut - slot.first_element);
    for (const std::span<double> part : {open.totals, open.piece}) {
      if (takes) {
        receive(ranks, part, rank_of(own_part - 1));
      } else {
        send(ranks, part, rank_of(own_part + 1));
      }
    }
    if (!takes) std::ranges::fill(open.piece, 0.0);  // another rank's now
  }
}

std::span<const optim::StateView> Updater::states_of(const Places& places, const Range& range, States& memory) const {
  const std::size_t num_states = rule_of(*range.chunk).states().size();
  for (std::size_t s = 0; s < num_states; ++s) {
    const Places::State& state = places.states[s];
    if (state.buffer != nullptr) memory[s] = layout_.view(*state.buffer, state.memory, range.parameter, range.first);
  }
  return {memory.data(), num_states};
}

optim::Part Updater::part_of(const Places& places, const Range& range, std::span<float> parameter, States& memory) {
  const plan::ParameterSlot& slot = range.slot();
  const auto chunk = range.chunk - trace_.chunks.data();
  const std::span<float> gradient(places.gradient + (slot.first_element + range.first - places.first_gradient),
                                  parameter.size());
  return {
      .parameter = parameter,
      .gradient = gradient,
      .states = states_of(places, range, memory),
      .shape = slot.shape,
      .first = range.first,
      .first_in_model = first_in_model_[chunk][range.parameter] + range.first,
      .totals = sums_[range.chunk->rule].totals(range.parameter),
      .direction = slot.update >= 0 || rule_of(*range.chunk).measuring().advanced > 0 ? gradient : std::span<float>(),
      .num_joined = slot.num_joined};
}

// Rules know fp32 alone. What is held in fewer bits becomes that a few thousand numbers at a time, which a first cache
// holds, and the same again: rules leave numbers that the format has.
void Updater::with_part(const Places& places, const Range& range, const std::function<void(const optim::Part&)>& use) {
  const std::int64_t at = range.slot().first_element + range.first - places.first_weight;
  const auto count = static_cast<std::size_t>(range.last - range.first);
  States states;
  if (places.held == NumberFormat::Fp32) {
    const std::span parameter(reinterpret_cast<float*>(places.weight) + at, count);
    return use(part_of(places, range, parameter, states));
  }
  SLUICE_CHECK(!places.on_device, "rules on a device take fp32 weights");
  constexpr std::int64_t kMost = 16 * optim::kBlock;
  alignas(64) std::array<float, kMost> wide;
  for (std::int64_t done = range.first; done < range.last; done += kMost) {
    Range part = range;
    part.first = done;
    part.last = std::min(range.last, done + kMost);
    std::byte* const memory = places.weight + stored_bytes(places.held, at + (done - range.first));
    const std::span parameter(wide.data(), static_cast<std::size_t>(part.last - part.first));
    widen(places.held, memory, parameter);
    use(part_of(places, part, parameter, states));
    narrow(places.held, parameter, memory);
  }
}

// Each piece on one thread, in the order of its elements.
void Updater::measure(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args) {
  const plan::ParameterSlot& slot = range.slot();
  const optim::UpdateRule& rule = rule_of(*range.chunk);
  TensorSums& sums = sums_[range.chunk->rule];
  const std::int64_t length = piece_elements(slot.shape);
  const std::int64_t first_piece = range.first / length, last_piece = (range.last + length - 1) / length;
  model::parallel_ranges(last_piece - first_piece, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = first_piece + begin; piece < first_piece + end; ++piece) {
      Range part = range;
      part.first = std::max(range.first, piece * length);
      part.last = std::min(range.last, (piece + 1) * length);
      with_part(places, part,
                [&](const optim::Part& p) { rule.measure(pass, p, args, sums.piece(slot, range.parameter, piece)); });
    }
  });
  sums.fold(slot, range.parameter, range.first, range.last);
}

void Updater::conclude(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args) {
  const Range tensor{.chunk = range.chunk, .parameter = range.parameter};
  States states;
  const optim::Part whole{.states = states_of(places, tensor, states),
                          .shape = range.slot().shape,
                          .totals = sums_[range.chunk->rule].totals(range.parameter)};
  rule_of(*range.chunk).conclude(pass, whole, args);
}

void Updater::apply(const Places& places, const Range& range, const optim::UpdateArgs& args) {
  const optim::UpdateRule& rule = rule_of(*range.chunk);
  if (places.on_device) {
    const std::optional<optim::DeviceForm> form = rule.device_form();
    SLUICE_CHECK(form.has_value(), "a rule that no device computes");
    return with_part(places, range, [&](const optim::Part& part) { update_on_device(place_, *form, part, args); });
  }
  for_each_part(places, range, [&](const optim::Part& part) { rule.update(part, args); });
}

// The direction takes the gradient's place, which nobody reads any more.
void Updater::apply_whole(const Places& places, const Range& range, const optim::UpdateArgs& args) {
  const optim::UpdateRule& rule = rule_of(*range.chunk);
  const plan::ParameterSlot& slot = range.slot();
  for_each_part(places, range, [&](const optim::Part& part) { rule.direct(part, args); });
  const std::int64_t rows = matrix_rows(slot);
  const at::Tensor direction = at::from_blob(places.gradient + (slot.first_element - places.first_gradient),
                                             {rows, slot.num_elements / rows}, at::kFloat);
  orthogonalize_joined(*rule.orthogonalizes(), direction, slot.num_joined);
  apply(places, range, args);
}

// First the directions of this rank's part; what follows them comes after the exchange.
void Updater::run_jointly(int pass, const Places& places, const Range& range, const optim::UpdateArgs& args) {
  if (pass > 0) return apply(places, range, args);
  if (range.slot().update < 0) return;
  const optim::UpdateRule& rule = rule_of(*range.chunk);
  for_each_part(places, range, [&](const optim::Part& part) { rule.direct(part, args); });
}

void Updater::exchange_directions(const plan::Plan& plan, const plan::Action& action, const tier::ArenaBases& arenas,
                                  collective::Communicator& ranks) {
  if (action.kind == plan::ActionKind::Recv) return;  // a direction goes on from nothing
  const plan::Chunk& chunk = trace_.chunks[action.chunk];
  const Places places = places_of(plan, action, arenas);
  const DirectionPart part{.chunk = chunk,
                           .own = plan::own_range(plan, chunk.num_elements),
                           .memory = places.gradient,
                           .first_in_memory = places.first_gradient};
  if (action.kind == plan::ActionKind::Send) return hand_over_direction(part, ranks);
  orthogonalize_jointly(*rule_of(chunk).orthogonalizes(), part, ranks);
}

void Updater::for_each_part(const Places& places, const Range& range,
                            const std::function<void(const optim::Part&)>& use) {
  constexpr std::int64_t kLeast = (1 << 16) / optim::kBlock;  // blocks
  const std::int64_t blocks = (range.last - range.first + optim::kBlock - 1) / optim::kBlock;
  model::parallel_ranges(blocks, kLeast, [&](std::int64_t begin, std::int64_t end) {
    Range part = range;
    part.first = range.first + begin * optim::kBlock;
    part.last = std::min(range.last, range.first + end * optim::kBlock);
    with_part(places, part, use);
  });
}

}  // namespace sluice::exec
