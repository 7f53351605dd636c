#include "model/tracer.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/adapt.h"
#include "model/cpu_allocator.h"
#include "model/small_models.h"
#include "plan/first_fit.h"

namespace sluice::model {
namespace {

void expect_equal(const plan::ComputeTrace& meta, const plan::ComputeTrace& real, const std::string& what) {
  SCOPED_TRACE(what);
  ASSERT_EQ(meta.events.size(), real.events.size());
  for (std::size_t i = 0; i < meta.events.size(); ++i) {
    ASSERT_EQ(meta.events[i].id, real.events[i].id) << "event " << i;
    ASSERT_EQ(meta.events[i].bytes, real.events[i].bytes) << "event " << i;
  }
  ASSERT_EQ(meta.saved.size(), real.saved.size());
  for (std::size_t i = 0; i < meta.saved.size(); ++i) {
    ASSERT_EQ(meta.saved[i].id, real.saved[i].id) << "saved " << i;
    ASSERT_EQ(meta.saved[i].saved_class, real.saved[i].saved_class) << "saved " << i;
    ASSERT_EQ(meta.saved[i].offset, real.saved[i].offset) << "saved " << i;
  }
  ASSERT_EQ(meta.ops.size(), real.ops.size());
  for (std::size_t i = 0; i < meta.ops.size(); ++i) {
    ASSERT_EQ(meta.ops[i].kind, real.ops[i].kind) << "op " << i;
    ASSERT_EQ(meta.ops[i].flops, real.ops[i].flops) << "op " << i;
    ASSERT_EQ(meta.ops[i].bytes, real.ops[i].bytes) << "op " << i;
  }
}

void expect_equal(const std::vector<plan::SegmentTrace>& meta, const std::vector<plan::SegmentTrace>& real,
                  const std::string& what) {
  ASSERT_EQ(meta.size(), real.size()) << what;
  for (std::size_t i = 0; i < meta.size(); ++i)
    expect_equal(meta[i].compute, real[i].compute, what + " segment " + std::to_string(i));
}

void expect_equal(const plan::BlockTrace& meta, const plan::BlockTrace& real) {
  expect_equal(meta.forward_segments, real.forward_segments, "forward");
  expect_equal(meta.backward_segments, real.backward_segments, "backward");
  expect_equal(meta.evaluate_segments, real.evaluate_segments, "evaluate");
  EXPECT_EQ(meta.scratch_bytes, real.scratch_bytes);
  EXPECT_EQ(meta.saved_bytes, real.saved_bytes);
  ASSERT_EQ(meta.forward.size(), real.forward.size());
  for (std::size_t mask = 0; mask < meta.forward.size(); ++mask)
    expect_equal(meta.forward[mask], real.forward[mask], "forward that saves " + std::to_string(mask));
  ASSERT_EQ(meta.backward.size(), real.backward.size());
  for (std::size_t mask = 0; mask < meta.backward.size(); ++mask)
    expect_equal(meta.backward[mask], real.backward[mask], "backward from saved " + std::to_string(mask));
  expect_equal(meta.evaluate, real.evaluate, "evaluate");
}

std::vector<format::ModelConfig> configs() {
  std::vector<format::ModelConfig> all(6, small_config());
  all[1].num_kv_heads = 4;
  all[1].rope_scaling = {"linear", 2.0, 1, 4, 0};
  all[2].attention_bias = all[2].mlp_bias = true;
  all[2].tie_word_embeddings = true;
  all[3].head_dim = 10;
  all[3].num_kv_heads = 1;
  all[3].rope_scaling = {"llama3", 8.0, 1, 4, 32};
  all[4].hidden_size = 48;
  all[4].intermediate_size = 251;  // beyond the grain size of element-wise operators
  all[4].vocab_size = 40001;       // several tiles in the head, above the grain size of reductions
  all[4].attention_bias = true;
  all[5].hidden_size = 24;
  all[5].head_dim = 64;
  all.insert(all.end(), 3, small_gpt2_config());
  all[6].max_position_embeddings = all[7].max_position_embeddings = all[8].max_position_embeddings = 256;
  all[7].tie_word_embeddings = true;
  all[7].hidden_size = 48;  // heads of 12
  all[7].head_dim = 12;
  all[7].intermediate_size = 251;
  all[7].hidden_act = "gelu";
  all[8].vocab_size = 40001;
  all[8].num_heads = all[8].num_kv_heads = 1;
  all[8].head_dim = 16;
  return all;
}

class Threads {
 public:
  explicit Threads(int n) : before_(at::get_num_threads()) { at::set_num_threads(n); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

TEST(Tracer, MetaTraceEqualsTheCpuTraceEventByEvent) {
  const std::vector<BatchShape> shapes = {{1, 1}, {1, 2}, {1, 17}, {2, 33}, {4, 40}, {1, 200}};
  for (const int threads : {1, 2}) {
    const Threads guard(threads);
    int number = 0;
    for (const auto& config : configs()) {
      const Model model = make_model(config);
      for (const auto& shape : shapes) {
        for (const int block : {0, 1, static_cast<int>(model.blocks.size()) - 1}) {
          SCOPED_TRACE("config " + std::to_string(number) + " batch " + std::to_string(shape.micro_batch_size) + " x " +
                       std::to_string(shape.seq_len) + " block " + std::to_string(block) + " threads " +
                       std::to_string(threads));
          expect_equal(trace_block(model, block, shape, c10::DeviceType::Meta),
                       trace_block(model, block, shape, c10::DeviceType::CPU));
          if (testing::Test::HasFatalFailure()) return;
        }
      }
      ++number;
    }
  }
}

TEST(Tracer, AgreesOnTheSegmentsOfAVocabularyInPieces) {
  for (const auto& config : configs_in_pieces()) {
    const Model model = make_model(config);
    const int last = static_cast<int>(model.blocks.size()) - 1;
    for (const BatchShape& shape : {BatchShape{1, 1}, {2, 33}}) {
      for (const int block : {0, last}) {
        SCOPED_TRACE(config.model_type + " batch " + std::to_string(shape.micro_batch_size) + " x " +
                     std::to_string(shape.seq_len) + " block " + std::to_string(block));
        const plan::BlockTrace meta = trace_block(model, block, shape, c10::DeviceType::Meta);
        EXPECT_EQ(meta.backward_segments.size(), block == 0 ? 2U : 4U);
        expect_equal(meta, trace_block(model, block, shape, c10::DeviceType::CPU));
      }
    }
    for (const int block : {0, last}) {
      const plan::BlockTrace meta = trace_pass(model, block, {64, 32, 32}, c10::DeviceType::Meta);
      const plan::BlockTrace real = trace_pass(model, block, {64, 32, 32}, c10::DeviceType::CPU);
      expect_equal(meta.generate_segments[0], real.generate_segments[0], "generate");
    }
  }
}

// Rounded copies are temporaries, in the workspace like all others.
TEST(Tracer, AgreesOnProductsOfBf16Numbers) {
  std::vector<format::ModelConfig> all = configs();
  all.push_back(configs_in_pieces()[0]);
  for (const auto& config : all) {
    const Model model = make_model(config, {.compute = NumberFormat::Bf16});
    for (const BatchShape& shape : {BatchShape{1, 1}, {2, 33}}) {
      for (const int block : {1, static_cast<int>(model.blocks.size()) - 1}) {
        SCOPED_TRACE(config.model_type + " batch " + std::to_string(shape.micro_batch_size) + " block " +
                     std::to_string(block));
        const plan::BlockTrace meta = trace_block(model, block, shape, c10::DeviceType::Meta);
        expect_equal(meta, trace_block(model, block, shape, c10::DeviceType::CPU));
        for (const plan::OpCost& op : meta.evaluate.ops) EXPECT_NE(op.kind, plan::OpClass::MatMul);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
    for (const int block : {1, static_cast<int>(model.blocks.size()) - 1}) {
      expect_equal(trace_pass(model, block, {64, 32, 32}, c10::DeviceType::Meta).generate[0],
                   trace_pass(model, block, {64, 32, 32}, c10::DeviceType::CPU).generate[0], "generate");
    }
  }
}

// Weights are widened into temporaries where products, or vectors, are not of their format.
TEST(Tracer, AgreesOnWeightsHeldInFewerBits) {
  std::vector<format::ModelConfig> all = configs();
  all.push_back(configs_in_pieces()[0]);
  for (const auto& config : all) {
    for (const NumberFormat held : {NumberFormat::Bf16, NumberFormat::Fp8}) {
      for (const NumberFormat compute : {NumberFormat::Fp32, NumberFormat::Bf16, NumberFormat::Fp16}) {
        Model model = make_model(config, {.compute = compute});
        hold(model, [&](const ChunkSpec&) { return held; });
        for (const int block : {0, 1, static_cast<int>(model.blocks.size()) - 1}) {
          SCOPED_TRACE(config.model_type + " held in " + name(held) + ", multiplied in " + name(compute) + ", block " +
                       std::to_string(block));
          expect_equal(trace_block(model, block, {2, 33}, c10::DeviceType::Meta),
                       trace_block(model, block, {2, 33}, c10::DeviceType::CPU));
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Tracer, SaysWhichChunksASegmentTakes) {
  const plan::StepTrace step = trace_model(make_model(configs_in_pieces()[1]), {1, 8});
  EXPECT_EQ(step.blocks[0].chunks, (std::vector<int>{0, 1, 2}));  // two pieces, positions
  const plan::BlockTrace& embedding = step.traces[0];
  EXPECT_EQ(embedding.forward_segments[0].chunks, (std::vector<int>{0}));
  EXPECT_EQ(embedding.forward_segments[1].chunks, (std::vector<int>{1, 2}));
  EXPECT_TRUE(embedding.backward_segments[1].chunks.empty());
  EXPECT_EQ(embedding.backward_segments[1].gradient_chunks, (std::vector<int>{1, 2}));
  EXPECT_EQ(step.blocks.back().chunks, (std::vector<int>{5, 0, 1}));  // norm, the embedding's pieces
  const plan::BlockTrace& head = step.traces[2];
  EXPECT_EQ(head.backward_segments[1].chunks, (std::vector<int>{0, 2}));
  EXPECT_TRUE(head.backward_segments[1].gradient_chunks.empty());
  EXPECT_EQ(head.backward_segments[2].gradient_chunks, (std::vector<int>{1}));
  EXPECT_EQ(head.backward_segments[3].gradient_chunks, (std::vector<int>{0, 2}));
  const std::vector<plan::PublishedTensor> tensors = plan::published_tensors(step.chunks);
  EXPECT_EQ(tensors[0].name, "transformer.wte.weight");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{70001, 128}));
  ASSERT_EQ(tensors[0].parts.size(), 2U);
  EXPECT_EQ(tensors[0].parts[1].chunk, 1);
}

TEST(Tracer, AgreesOnLongSequencesWhereAttentionChangesItsTiles) {
  format::ModelConfig config = small_config();
  for (const std::int64_t seq_len : {191, 192, 511, 513, 767, 768, 1030}) {
    SCOPED_TRACE(seq_len);
    const Model model = make_model(config);
    expect_equal(trace_block(model, 1, {1, seq_len}, c10::DeviceType::Meta),
                 trace_block(model, 1, {1, seq_len}, c10::DeviceType::CPU));
  }
}

TEST(Tracer, APassOfGenerationAllocatesTheSameOnMetaAndAtEveryPosition) {
  int number = 0;
  for (const auto& config : configs()) {
    const Model model = make_model(config);
    for (const std::int64_t tokens : {1, 2, 32}) {
      for (const int block : {0, 1, static_cast<int>(model.blocks.size()) - 1}) {
        for (const std::int64_t position : {0, 1, 7, 40, 96}) {
          SCOPED_TRACE("config " + std::to_string(number) + " tokens " + std::to_string(tokens) + " position " +
                       std::to_string(position) + " block " + std::to_string(block));
          plan::ComputeTrace meta = trace_pass(model, block, {128, tokens, 96}, c10::DeviceType::Meta).generate[0];
          plan::ComputeTrace real = trace_pass(model, block, {128, tokens, position}, c10::DeviceType::CPU).generate[0];
          if (position != 96) meta.ops = real.ops = {};
          expect_equal(meta, real, "generate");
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
    ++number;
  }
}

TEST(Tracer, TracesEqualLayersOnceAndLaysOutChunks) {
  format::ModelConfig config = small_config();
  config.num_layers = 5;
  config.tie_word_embeddings = true;
  const plan::StepTrace step = trace_model(make_model(config), {2, 8});
  EXPECT_EQ(step.blocks.size(), 7U);
  EXPECT_EQ(step.traces.size(), 3U);
  EXPECT_EQ(step.blocks[3].trace, step.blocks[1].trace);
  EXPECT_EQ(step.blocks[0].reads, -1);
  EXPECT_EQ(step.blocks[6].writes, -1);
  EXPECT_EQ(step.blocks[6].reads, 5);
  EXPECT_EQ(step.blocks[6].chunks, (std::vector<int>{6, 0}));
  EXPECT_EQ(step.boundary_bytes, std::vector<Bytes>(6, 2 * 8 * 16 * 4));
  for (const auto& chunk : step.chunks) {
    EXPECT_EQ(chunk.num_elements % 1024, 0);
    std::int64_t end = 0;
    for (const auto& slot : chunk.parameters) {
      EXPECT_EQ(slot.first_element % 256, 0);
      EXPECT_GE(slot.first_element, end);
      end = slot.first_element + slot.num_elements;
    }
    EXPECT_LE(end, chunk.num_elements);
  }
  EXPECT_TRUE(step.traces[2].forward.empty());
  EXPECT_EQ(step.traces[1].forward.size(), 4U);
}

TEST(Tracer, RefusesSequencesLongerThanTheTableOfPositions) {
  const Model model = make_model(small_gpt2_config());
  EXPECT_NO_THROW(static_cast<void>(trace_model(model, {1, 64})));
  try {
    static_cast<void>(trace_model(model, {1, 65}));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("expected at most 64 tokens, got 65"), std::string::npos);
  }
}

TEST(Tracer, CountsTheFlopsOfALayer) {
  const format::ModelConfig config = small_config();
  const std::int64_t tokens = 2 * 32;
  const plan::BlockTrace trace = trace_block(make_model(config), 1, {2, 32}, c10::DeviceType::Meta);
  const auto matmul = [](const plan::ComputeTrace& compute) {
    double flops = 0;
    for (const auto& op : compute.ops) flops += op.kind == plan::OpClass::MatMul ? op.flops : 0;
    return flops;
  };
  const double projections = 16 * 16 * 2 + 16 * 8 * 2, mlp = 3 * 16 * 24;
  EXPECT_EQ(matmul(trace.forward[0]), 2.0 * tokens * (projections + mlp));
  EXPECT_EQ(matmul(trace.backward[3]), 4.0 * tokens * (projections + mlp));
  // The output of the last product is not needed for the backward.
  EXPECT_EQ(matmul(trace.backward[0]), 6.0 * tokens * (projections + mlp) - 2.0 * tokens * 16 * 24);
}

TEST(Tracer, FirstFitReplayOfTheMetaTraceGivesTheWorkspacePeakOfARealRun) {
  format::ModelConfig config = small_config();
  config.hidden_size = 48;
  config.intermediate_size = 80;
  const MicroBatch batch = random_batch(config.vocab_size, 2, 40);
  SmallModel small(config);
  small.forward(batch);
  std::vector<std::byte> memory((16 << 20) + 64);
  auto* base = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  for (std::size_t i = 0; i < small.model.blocks.size(); ++i) {
    const plan::BlockTrace trace = trace_block(small.model, static_cast<int>(i), {2, 40}, c10::DeviceType::Meta);
    BlockTensors t = small.tensors(i, batch);
    t.output_gradient = at::ones_like(small.boundaries[0]);
    if (t.input.defined()) t.input_gradient = at::empty_like(t.input);
    plan::FirstFit placement;
    std::unordered_map<std::int32_t, Bytes> offsets;
    for (const auto& event : trace.backward[0].events) {
      if (event.bytes > 0) offsets[event.id] = placement.allocate(event.bytes);
      if (event.bytes == 0) placement.release(offsets.at(event.id));
    }
    use_workspace(base, 16 << 20);
    run_backward(*small.model.blocks[i].block, t);
    EXPECT_EQ(workspace_peak(), placement.peak()) << i;
    EXPECT_EQ(workspace_live(), 0);
    use_workspace(nullptr, 0);
  }
}

}  // namespace
}  // namespace sluice::model
