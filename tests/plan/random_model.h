// Random models, machines and recipes for property tests of planner, checker and simulator.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "plan/planner.h"

namespace sluice::plan {

// Sanitizers run the same code five to ten times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kNumSeeds = 6;
#else
inline constexpr int kNumSeeds = 40;
#endif

class RandomModel {
 public:
  explicit RandomModel(unsigned seed) : random_(seed) {}

  StepTrace trace() {
    StepTrace trace;
    const int num_layers = pick(1, 6);
    const bool tied = pick(0, 1) == 1;
    trace.tokens_per_micro_batch = pick(1, 64);
    trace.traces = {block_trace(0), block_trace(pick(1, 3)), block_trace(0)};
    for (int i = 0; i < num_layers + 2; ++i) {
      trace.chunks.push_back(chunk(i, i == 0 ? 8000 : 2000));
      Block block{
          .name = "block" + std::to_string(i), .chunks = {i}, .reads = i - 1, .writes = i <= num_layers ? i : -1};
      block.trace = i == 0 ? 0 : (i <= num_layers ? 1 : 2);
      if (i > num_layers && tied) block.chunks.push_back(0);
      trace.blocks.push_back(block);
      if (i <= num_layers) trace.boundary_bytes.push_back(Bytes{pick(1, 12)} * 4096);
    }
    if (pick(0, 1) == 1) cut(trace, pick(2, 4), tied);
    return trace;
  }

  /// Some chunks frozen, and perhaps all of the lowest blocks, but not everything.
  StepTrace partly_frozen_trace() {
    StepTrace trace = this->trace();
    const int below = pick(0, static_cast<int>(trace.chunks.size()) - 1);
    for (int chunk = 0; chunk < static_cast<int>(trace.chunks.size()); ++chunk) {
      trace.chunks[chunk].trained = chunk >= below && (chunk == below || pick(0, 2) > 0);
      trace.chunks[chunk].rule = pick(0, 1);
    }
    return trace;
  }

  /// Chunks of several tensors, some of which updates need whole.
  StepTrace whole_tensor_trace() {
    StepTrace trace = this->trace();
    trace.updates = {computation(), computation()};
    for (Chunk& chunk : trace.chunks) {
      const std::int64_t blocks = chunk.num_elements / kStateBlock;
      chunk.parameters.clear();
      for (std::int64_t first = 0; first < blocks;) {
        const std::int64_t count = std::min<std::int64_t>(pick(1, 1 + static_cast<int>(blocks)), blocks - first);
        chunk.parameters.push_back({.name = "p" + std::to_string(first),
                                    .shape = {count * kStateBlock},
                                    .first_element = first * kStateBlock,
                                    .num_elements = count * kStateBlock,
                                    .update = pick(-1, 1)});
        first += count;
      }
    }
    return trace;
  }

  StepTrace generation_trace() {
    StepTrace trace = this->trace();
    trace.pass_tokens = {pick(2, 64), 1};
    for (BlockTrace& block : trace.traces) {
      block.generate = {computation(), computation()};
      block.generate_segments = {block.evaluate_segments, block.evaluate_segments};
    }
    for (const Block& block : trace.blocks)
      trace.cache_bytes.push_back(block.reads < 0 ? 0 : Bytes{pick(1, 40)} * 1000);
    for (Chunk& chunk : trace.chunks) chunk.trained = false;
    return trace;
  }

  RuleNeeds rule_needs() {
    RuleNeeds rule;
    rule.states.resize(pick(0, 3));
    for (StateBytes& state : rule.states) {
      state.per_block = std::array<Bytes, 4>{1024, 512, 260, 0}[pick(0, 3)];
      if (state.per_block == 0) state.per_chunk.assign(kMostChunks, Bytes{pick(0, 3)} * 4000);
    }
    rule.measuring_passes = std::max(0, pick(-2, 2));
    rule.measures_states = pick(0, 1) == 1;
    return rule;
  }

  Recipe recipe() {
    Recipe recipe;
    recipe.num_micro_batches = pick(1, 4);
    recipe.rules = {rule_needs(), rule_needs()};
    recipe.update = static_cast<UpdateWhen>(pick(0, 3));
    recipe.clamps = pick(0, 3) == 0;
    return recipe;
  }

  Machine machine(bool with_device) {
    Machine machine;
    machine.name = "random";
    if (with_device)
      machine.tiers.push_back(
          {.kind = TierKind::Device, .capacity = Bytes{1} << 50, .down = rate(), .up = rate(), .latency = 1e-6});
    machine.tiers.push_back({.kind = TierKind::Host,
                             .capacity = Bytes{1} << 50,
                             .down = rate(),
                             .up = rate(),
                             .latency = 1e-5,
                             .shared_link = true});
    machine.tiers.push_back({.kind = TierKind::Disk, .capacity = Bytes{1} << 50});
    machine.compute = {.matmul = rate() * 10, .attention = rate() * 5, .memory = rate(), .launch = 1e-6};
    machine.update_memory = rate();
    machine.update_tier = with_device ? pick(0, 1) : 0;
    return machine;
  }

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

 private:
  double rate() { return 1e9 * std::pow(10.0, std::uniform_real_distribution<double>(-0.5, 1.0)(random_)); }

  // The table becomes so many chunks; embedding and loss block get segments that each take one of them.
  void cut(StepTrace& trace, int num_pieces, bool tied) {
    const auto add_chunks = [&](std::vector<int>& to) {
      for (int p = 1; p < num_pieces; ++p) {
        to.push_back(static_cast<int>(trace.chunks.size()));
        trace.chunks.push_back(chunk(to.back(), 4000));
      }
    };
    add_chunks(trace.blocks.front().chunks);
    std::vector<int>& head = trace.blocks.back().chunks;
    if (!tied) head.push_back(static_cast<int>(trace.chunks.size()));
    if (!tied) trace.chunks.push_back(chunk(head.back(), 4000));
    if (!tied) add_chunks(head);
    if (tied) head.insert(head.end(), trace.blocks.front().chunks.begin() + 1, trace.blocks.front().chunks.end());
    BlockTrace &embedding = trace.traces.front(), &loss = trace.traces.back();
    loss.scratch_bytes = Bytes{pick(1, 9)} * 1000;
    for (int p = 0; p < num_pieces; ++p) {
      embedding.forward_segments.push_back({{p}, {}, computation()});
      embedding.backward_segments.push_back({{}, {p}, computation()});
      embedding.evaluate_segments.push_back({{p}, {}, computation()});
      loss.evaluate_segments.push_back({{0, p + 1}, {}, computation()});
    }
    loss.backward_segments = loss.evaluate_segments;
    for (int p = 0; p < num_pieces; ++p) {
      const bool last = p + 1 == num_pieces;
      loss.backward_segments.push_back(
          {{0, p + 1}, last ? std::vector<int>{0, p + 1} : std::vector{p + 1}, computation()});
    }
  }

  Chunk chunk(int index, int most_pages) {
    Chunk chunk;
    chunk.name = "chunk" + std::to_string(index);
    chunk.num_elements = std::int64_t{pick(1, most_pages)} * 1024;
    chunk.parameters = {{"p" + std::to_string(index), {chunk.num_elements}, 0, chunk.num_elements}};
    return chunk;
  }

  // Allocations and releases in random order, and somewhere between them those that are `saved`.
  ComputeTrace computation(std::vector<std::pair<SavedAllocation, Bytes>> saved = {}) {
    ComputeTrace trace;
    std::vector<int> live;
    int next_id = 0;
    const int num_events = pick(2, 20);
    for (int i = 0; i < num_events || !saved.empty(); ++i) {
      if (!saved.empty() && pick(0, 2) == 0) {
        saved.back().first.id = next_id;
        trace.saved.push_back(saved.back().first);
        trace.events.push_back({next_id++, saved.back().second});
        saved.pop_back();
      } else if (!live.empty() && pick(0, 2) == 0) {
        release(trace, live, pick(0, static_cast<int>(live.size()) - 1));
      } else {
        live.push_back(next_id);
        trace.events.push_back({next_id++, Bytes{pick(1, 2000)} * 64});
      }
    }
    while (!live.empty()) release(trace, live, pick(0, static_cast<int>(live.size()) - 1));
    trace.ops.push_back({OpClass::MatMul, 1e6 * pick(1, 100), Bytes{pick(1, 1000)} * 1000, 64, 64, 64});
    trace.ops.push_back({OpClass::Memory, 0, Bytes{pick(1, 1000)} * 1000});
    return trace;
  }

  static void release(ComputeTrace& trace, std::vector<int>& live, int which) {
    trace.events.push_back({live[which], 0});
    live.erase(live.begin() + which);
  }

  // Each class saves one to three allocations; a backward that must make more again takes longer.
  BlockTrace block_trace(int num_classes) {
    BlockTrace block;
    std::vector<std::vector<std::pair<SavedAllocation, Bytes>>> classes(num_classes);
    for (int c = 0; c < num_classes; ++c) {
      block.saved_classes.push_back("class" + std::to_string(c));
      block.saved_bytes.push_back(0);
      for (int i = pick(1, 3); i > 0; --i) {
        const Bytes bytes = Bytes{pick(1, 2000)} * 64;
        classes[c].push_back({{.saved_class = c, .offset = block.saved_bytes[c]}, bytes});
        block.saved_bytes[c] += bytes;
      }
    }
    for (SavedMask mask = 0; mask <= block.all_classes(); ++mask) {
      std::vector<std::pair<SavedAllocation, Bytes>> saved;
      ComputeTrace backward = computation();
      for (int c = 0; c < num_classes; ++c) {
        if ((mask >> c & 1U) != 0) {
          saved.insert(saved.end(), classes[c].begin(), classes[c].end());
        } else {
          backward.ops.push_back({OpClass::MatMul, 1e7 * pick(1, 100), 64, 64, 64, 64});
        }
      }
      block.forward.push_back(computation(saved));
      block.backward.push_back(std::move(backward));
    }
    block.evaluate = computation();
    return block;
  }

  static constexpr std::size_t kMostChunks = 16;
  std::mt19937 random_;
};

}  // namespace sluice::plan
