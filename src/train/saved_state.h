// All that a run saves, and how to read what this rank holds of it: of an adapter its own weights alone where its base
// is as it was.
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/writer.h"
#include "exec/state_layout.h"
#include "train/session.h"

namespace sluice::train {

inline constexpr const char* kModel = "model";
inline constexpr const char* kAdapter = "adapter_model";
inline constexpr const char* kOptimizer = "optimizer";
inline constexpr const char* kResidual = "residual";

/// What a rank has not sent of a tensor's gradients, as a checkpoint names it.
[[nodiscard]] std::string residual_name(int rank, const std::string& tensor);

/// How safetensors spells what weights of this precision are stored as.
[[nodiscard]] const char* dtype_of(NumberFormat weights);

/// Elements from `first` on in a file's dtype; `read` gives them as fp32, or leaves them alone: zero.
void read_as(std::string_view dtype, std::int64_t first, std::span<std::byte> into,
             const std::function<void(std::int64_t first, std::span<float> values)>& read);

/// Refers to the session. One thread, between periods.
class SavedState {
 public:
  SavedState(Session& session, bool with_states);

  [[nodiscard]] const std::vector<checkpoint::StateTensor>& tensors() const { return tensors_; }
  [[nodiscard]] std::vector<checkpoint::StateTensor> tensors_of(const std::string& file) const;
  /// Files that tensors are of, weights before states.
  [[nodiscard]] std::vector<std::string> files() const;

  /// Whether ranks hold parts of it.
  [[nodiscard]] bool is_divided(const checkpoint::StateTensor& tensor) const;
  [[nodiscard]] std::int64_t index_of(const checkpoint::StateTensor& tensor) const;

  /// Which elements this rank holds, ascending, none of them empty.
  [[nodiscard]] std::vector<plan::ElementRange> held(const checkpoint::StateTensor& tensor) const;
  /// What this rank holds of it; the rest of `into` is left alone.
  void read(const checkpoint::StateTensor& tensor, std::int64_t first, std::span<std::byte> into) const;

 private:
  /// A run of a tensor's elements and where they are: from `at` on, in elements of a chunk or bytes of a buffer.
  struct Run {
    std::int64_t first = 0, count = 0;
    std::int64_t at = 0;
    int chunk = -1;          // of weights
    plan::BufferId id = -1;  // of states and residuals
  };
  [[nodiscard]] std::vector<Run> runs_of(const checkpoint::StateTensor& tensor) const;
  [[nodiscard]] std::vector<Run> weight_runs(const std::string& name) const;
  [[nodiscard]] std::vector<Run> array_runs(const exec::StateArray& array) const;
  [[nodiscard]] std::vector<Run> residual_runs(const std::string& name) const;
  void add_residuals();
  void read_weights(const std::vector<Run>& runs, std::int64_t first, std::span<float> values) const;
  void read_array(const std::vector<Run>& runs, std::int64_t width, std::int64_t first,
                  std::span<std::byte> into) const;

  Session& session_;
  exec::StateLayout layout_;
  std::vector<checkpoint::StateTensor> tensors_;
  std::map<std::string, std::vector<plan::PublishedTensor::Part>> weights_;
  std::map<std::string, exec::StateArray> arrays_;
  std::map<std::string, std::vector<plan::PublishedTensor::Part>> residuals_;  // this rank's
};

}  // namespace sluice::train
