// Weights of a llama GGUF under Hugging Face names. Converters permute the rows of q and k for interleaved rotation;
// here they are read back in half-split order: in each head, row half * d/2 + j lies at row 2j + half of the file.
#include <algorithm>
#include <vector>

#include "base/error.h"
#include "format/gguf_model.h"
#include "format/quote.h"
#include "format/tabled_weights.h"

namespace sluice::format {
namespace {

[[noreturn]] void refuse(const GgufFile& file, const std::string& what, const std::string& expected_got) {
  throw FormatError("format.gguf", file.name() + ": " + what, expected_got, "convert the model again");
}

class GgufWeights final : public TabledWeights {
 public:
  explicit GgufWeights(std::unique_ptr<GgufFile> file) : file_(std::move(file)), config_(gguf_model_config(*file_)) {
    for (const GgufTensor& tensor : file_->tensors()) {
      if (tensor.name == "rope_freqs.weight") continue;
      std::string name = hugging_face_name(tensor.name);
      if (name.empty()) name = tensor.name;
      if (!add({name, tensor.dtype, tensor.shape})) refuse(*file_, "tensor " + quote(name), "expected it once");
      stored_.push_back(&tensor);
    }
  }

  void read(std::string_view name, std::int64_t first_element, std::span<float> destination) const override {
    const auto found = index_of(name);
    if (!found) throw FormatError("format.gguf", "no tensor " + quote(name) + " in " + file_->name());
    const GgufTensor& tensor = *stored_[*found];
    const StoredElements elements{&file_->source(), tensor.offset, tensor.type, tensor.num_elements()};
    const std::int64_t num_heads = permuted_heads(tensor);
    if (num_heads == 0) return read_widened(elements, first_element, destination);
    if (first_element < 0 || first_element > elements.num_elements ||
        static_cast<std::uint64_t>(elements.num_elements - first_element) < destination.size())
      throw FormatError("format.gguf", "read outside of tensor " + quote(name) + " in " + file_->name());
    const std::int64_t rows = tensor.shape[0];
    if (rows % (2 * num_heads) != 0)
      refuse(*file_, "rows of tensor " + quote(name),
             "expected a multiple of twice the heads, got " + std::to_string(rows));
    read_unpermuted(elements, {rows / num_heads, elements.num_elements / rows}, first_element, destination);
  }

 private:
  static constexpr std::int64_t kWholeHead = 512 * 1024;  // elements; 2 MiB of fp32

  std::int64_t permuted_heads(const GgufTensor& tensor) const {
    if (tensor.shape.empty()) return 0;
    if (tensor.name.find(".attn_q.") != std::string::npos) return config_.num_heads;
    if (tensor.name.find(".attn_k.") != std::string::npos) return config_.num_kv_heads;
    return 0;
  }

  struct HeadShape {
    std::int64_t rows;
    std::int64_t columns;
  };

  // A head that is small enough is read whole and its rows dealt out; else each row is read where it lies.
  static void read_unpermuted(const StoredElements& elements, HeadShape shape, std::int64_t first,
                              std::span<float> destination) {
    const std::int64_t head_size = shape.rows * shape.columns;
    const bool whole_heads = head_size <= kWholeHead && static_cast<std::int64_t>(destination.size()) > shape.columns;
    std::vector<float> head(whole_heads ? static_cast<std::size_t>(head_size) : 0);
    std::int64_t loaded = -1;
    for (std::size_t done = 0; done < destination.size();) {
      const std::int64_t at = first + static_cast<std::int64_t>(done);
      const std::int64_t head_index = at / head_size;
      const std::int64_t row = at % head_size / shape.columns;
      const std::int64_t column = at % shape.columns;
      const std::int64_t source_row = 2 * (row % (shape.rows / 2)) + row / (shape.rows / 2);
      const std::int64_t source = source_row * shape.columns + column;
      const auto count = std::min(destination.size() - done, static_cast<std::size_t>(shape.columns - column));
      if (!whole_heads) {
        read_widened(elements, head_index * head_size + source, destination.subspan(done, count));
      } else {
        if (loaded != head_index) read_widened(elements, head_index * head_size, head);
        loaded = head_index;
        std::copy_n(head.begin() + source, count, destination.begin() + static_cast<std::ptrdiff_t>(done));
      }
      done += count;
    }
  }

  std::unique_ptr<GgufFile> file_;
  ModelConfig config_;
  std::vector<const GgufTensor*> stored_;
};

}  // namespace

std::unique_ptr<WeightSource> make_gguf_weights(std::unique_ptr<GgufFile> file) {
  return std::make_unique<GgufWeights>(std::move(file));
}

}  // namespace sluice::format
