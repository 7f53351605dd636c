// Against torch: models that transformers wrote, trained by torch's Muon and AdamW
// (tools/oracles/make_muon_oracles.py).
#include <cmath>

#include "format/weight_source.h"
#include "train/training_program.h"

namespace sluice::train {
namespace {

class MuonOracleProgram : public TrainingProgram {
 protected:
  static std::string data(const std::string& name) { return SLUICE_TEST_DATA "/train/" + name; }
};

TEST_F(MuonOracleProgram, TrainsMatricesOfLayersByMuonAndTheRestByAdamwAsTorchDoes) {
  for (const char* family : {"muon_llama/", "muon_gpt2/"}) {
    const std::string from = data(family);
    const Json expected = Json::parse(cli::read_whole(from + "expected.json"));
    for (const char* how : {"", "--update sweep", "--clip-mode two-pass"}) {
      SCOPED_TRACE(std::string(family) + how);
      const auto result =
          run("train --model " + from + "base --data " + from + "data.safetensors --output " + path("out") +
              " --no-shuffle --seq-len 16 --micro-batch-size 2 --grad-accumulation 2 --max-steps 4 --threads 2"
              " --resume never --optimizer muon --lr 0.02 --optimizer-option adamw_lr=3e-3,adamw_eps=1e-4"
              " --optimizer-option ns_coefficients=3.4445,-4.775,2.0315 --weight-decay 0.1 --max-grad-norm 0.7"
              " --lr-schedule constant " +
              how);
      ASSERT_EQ(result.exit_code, 0) << result.err;
      const auto lines = steps("out");
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NEAR(lines.at(static_cast<std::int64_t>(i) + 1)[0].get<double>(), expected["losses"][i], 1e-5);
        EXPECT_NEAR(lines.at(static_cast<std::int64_t>(i) + 1)[1].get<double>(), expected["norms"][i], 1e-4);
      }
      const auto weights = format::open_weights(from + "expected.safetensors");
      const auto trained = format::open_weights(path("out"));
      EXPECT_EQ(trained->tensors().size(), weights->tensors().size());
      for (const format::TensorInfo& tensor : weights->tensors()) {
        std::vector<float> is(static_cast<std::size_t>(tensor.num_elements())), should_be(is.size());
        trained->read(tensor.name, 0, is);
        weights->read(tensor.name, 0, should_be);
        for (std::size_t i = 0; i < is.size(); ++i)
          ASSERT_NEAR(is[i], should_be[i], 3e-5) << tensor.name << " of steps of 0.02";
      }
    }
  }
}

TEST_F(MuonOracleProgram, RefusesWhatItCannotDo) {
  expect_failure(train("out", "--optimizer muon --optimizer-option ns_coefficients=1,2"), 2, "3.4445,-4.775,2.0315");
  expect_failure(run("plan --model llama-65b --machine rtx-4090-24gb --optimizer muon"), 2, "--optimizer muon");
}

}  // namespace
}  // namespace sluice::train
