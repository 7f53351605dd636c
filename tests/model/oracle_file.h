// What a generator in tools/oracles wrote: a JSON line with the model's configuration and the tensors' names, then
// their values.
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "format/model_config.h"

namespace sluice::model {

struct Oracle {
  nlohmann::json header;
  format::ModelConfig config;
  std::map<std::string, at::Tensor> tensors;
};

inline Oracle read_oracle(const std::string& name) {
  std::ifstream file(std::string(SLUICE_TEST_DATA) + "/model/" + name + ".bin", std::ios::binary);
  std::string line;
  std::getline(file, line);
  const auto header = nlohmann::json::parse(line);
  Oracle oracle{header, format::parse_model_config(header["config"].dump(), name), {}};
  for (const auto& entry : header["tensors"]) {
    const auto type = entry[1] == "int64" ? at::kLong : at::kFloat;
    at::Tensor tensor = at::empty(entry[2].get<std::vector<std::int64_t>>(), type);
    file.read(static_cast<char*>(tensor.mutable_data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
    oracle.tensors[entry[0]] = tensor;
  }
  EXPECT_TRUE(file.good());
  return oracle;
}

// Relative to the largest element: single elements may cancel to nearly nothing.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max().clamp_min(1e-6)).item<double>();
}

}  // namespace sluice::model
