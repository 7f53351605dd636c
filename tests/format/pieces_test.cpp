// Tensors in pieces read as if they were whole, and pieces that do not make them are refused.
#include "format/pieces.h"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "format/safetensors_writer.h"
#include "format/temporary_folder.h"

namespace sluice::format {
namespace {

struct Piece {
  std::int64_t first, end;
};

class Pieces : public testing::Test {
 protected:
  // One file of pieces of "w[0]" ([4, 5] of fp32: 0, 1, ...), whose name looks like a piece's.
  void write(const std::string& file, const std::vector<Piece>& pieces, const std::string& dtype = "F32") {
    std::vector<TensorInfo> infos;
    for (const Piece& piece : pieces)
      infos.push_back({piece_name("w[0]", piece.first, piece.end), dtype, {piece.end - piece.first}});
    SafetensorsWriter writer(folder_.path() / file, infos);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      std::vector<float> values(static_cast<std::size_t>(pieces[i].end - pieces[i].first));
      std::iota(values.begin(), values.end(), static_cast<float>(pieces[i].first));
      writer.append(infos[i].name, std::as_bytes(std::span(values)).first(stored_size(infos[i], file)));
    }
    writer.publish();
    files_.push_back(file);
  }
  void write_index(const std::vector<TensorInfo>& tensors = {{"w[0]", "F32", {4, 5}}}) {
    write_text(folder_.path() / pieces_index_name("model"), pieces_index_text(tensors, files_));
  }

  TemporaryFolder folder_;
  std::vector<std::string> files_;
};

TEST_F(Pieces, ReadAsOneTensorWhateverTheRange) {
  write("b", {{7, 12}, {0, 3}});
  write("empty", {});
  write("a", {{12, 20}, {3, 7}});
  write_index();
  const auto weights = open_weights(folder_.path());
  ASSERT_EQ(weights->tensors().size(), 1);
  EXPECT_EQ(weights->find("w[0]")->shape, (std::vector<std::int64_t>{4, 5}));
  for (std::int64_t first = 0; first < 20; ++first) {
    for (std::int64_t end = first; end <= 20; ++end) {
      std::vector<float> values(static_cast<std::size_t>(end - first), -1.0F);
      weights->read("w[0]", first, values);
      for (std::int64_t i = first; i < end; ++i) ASSERT_EQ(values[i - first], static_cast<float>(i));
    }
  }
  std::vector<float> beyond(3);
  EXPECT_THROW(weights->read("w[0]", 18, beyond), FormatError);
  EXPECT_THROW(weights->read("other", 0, beyond), FormatError);
}

TEST_F(Pieces, AreRefusedWhenTheyDoNotMakeTheTensor) {
  const std::vector<std::pair<const char*, std::function<void()>>> broken = {
      {"a gap",
       [&] {
         write("a", {{0, 7}}), write("b", {{8, 20}});
       }},
      {"an overlap",
       [&] {
         write("a", {{0, 9}}), write("b", {{8, 20}});
       }},
      {"the same twice",
       [&] {
         write("a", {{0, 20}}), write("b", {{0, 20}});
       }},
      {"no end",
       [&] {
         write("a", {{0, 19}});
       }},
      {"too long",
       [&] {
         write("a", {{0, 21}});
       }},
      {"another type",
       [&] {
         write("a", {{0, 20}}, "F16");
       }},
      {"nothing", [] {}},
      {"a missing file", [&] { files_.push_back("c"); }},
      {"a file elsewhere", [&] { files_.push_back("../a"); }},
  };
  for (const auto& [name, write_them] : broken) {
    files_.clear();
    write_them();
    write_index();
    EXPECT_THROW((void)open_weights(folder_.path()), Error) << name;
  }
  files_.clear();
  write("a", {{0, 20}});
  write_index({{"v", "F32", {20}}});
  EXPECT_THROW((void)open_weights(folder_.path()), FormatError) << "of another tensor";
  write_index();
  EXPECT_NO_THROW((void)open_weights(folder_.path()));
}

}  // namespace
}  // namespace sluice::format
