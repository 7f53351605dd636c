// Against torch: runs that begin with folders which PEFT and transformers wrote
// (tools/oracles/make_base_rule_oracles.py).
#include <cmath>
#include <filesystem>

#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

namespace fs = std::filesystem;

class AdapterOracleProgram : public TrainingProgram {
 protected:
  static std::string data(const std::string& name) { return SLUICE_TEST_DATA "/train/" + name; }

  /// How far the tensors of `names` differ at most from those expected.
  static double difference(const format::WeightSource& expected, const format::WeightSource& source) {
    double most = 0;
    for (const format::TensorInfo& tensor : source.tensors()) {
      std::vector<float> is(static_cast<std::size_t>(tensor.num_elements())), should_be(is.size());
      source.read(tensor.name, 0, is);
      expected.read(tensor.name, 0, should_be);
      for (std::size_t i = 0; i < is.size(); ++i) most = std::max(most, std::abs(double{is[i]} - should_be[i]));
    }
    return most;
  }
};

TEST_F(AdapterOracleProgram, TrainsPeftsAdapterByAdamwAndItsBaseByLomoAsTorchDoes) {
  const std::string from = data("lora_lomo/");
  const Json expected = Json::parse(cli::read_whole(from + "expected.json"));
  for (const char* how : {"", "--update next-forward", "--clip-mode global --update sweep"}) {
    const auto result =
        run("train --model " + from + "base --adapter-path " + from + "adapter --data " + from +
            "data.safetensors --output " + path("out") +
            " --no-shuffle --seq-len 16 --micro-batch-size 2 --grad-accumulation 2 --max-steps 4 --threads 2"
            " --resume never --optimizer adamw --lr 1e-2 --weight-decay 0.1 --max-grad-norm 0.7 --lr-schedule constant"
            " --base-optimizer lomo --base-lr 5e-2 --base-weight-decay 0.02 " +
            how);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto lines = steps("out");
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(lines.at(static_cast<std::int64_t>(i) + 1)[0].get<double>(), expected["losses"][i], 1e-5) << how;
      EXPECT_NEAR(lines.at(static_cast<std::int64_t>(i) + 1)[1].get<double>(), expected["norms"][i], 1e-4) << how;
    }
    const auto weights = format::open_weights(from + "expected.safetensors");
    const auto base = format::open_weights(path("out/base"));
    const auto adapter = format::open_weights(path("out/adapter_model.safetensors"));
    EXPECT_EQ(base->tensors().size() + adapter->tensors().size(), weights->tensors().size());
    EXPECT_LT(difference(*weights, *base), 2e-6) << how;
    EXPECT_LT(difference(*weights, *adapter), 2e-5) << how << ": of steps of 1e-2";
  }
}

}  // namespace
}  // namespace sluice::train
