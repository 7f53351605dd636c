#include "train/joint_reads.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace sluice::train {
namespace {

using collective::ElementType;

constexpr std::int64_t kDone = -1, kFailed = -2;  // in place of an index
constexpr std::size_t kPiece = 256 << 10;
constexpr int kTag = 1;

struct Request {
  std::int64_t index = 0, first = 0, bytes = 0;
};

void share(const Ranks& ranks, Request& request) {
  ranks.world().broadcast(&request, sizeof(request) / sizeof(std::int64_t), ElementType::Int64, 0);
}

}  // namespace

void JointReads::read(std::int64_t index, std::int64_t first, std::span<std::byte> into) const {
  Request request{index, first, static_cast<std::int64_t>(into.size())};
  share(ranks_, request);
  std::ranges::fill(into, std::byte{0});
  fill_(index, first, into);
  std::vector<std::byte> piece(std::min(kPiece, into.size()));
  for (std::size_t at = 0; at < into.size(); at += kPiece) {
    const auto part = into.subspan(at, std::min(kPiece, into.size() - at));
    for (int rank = 1; rank < ranks_.count(); ++rank) {
      ranks_.world().receive(piece.data(), static_cast<std::int64_t>(part.size()), ElementType::Byte, rank, kTag);
      for (std::size_t i = 0; i < part.size(); ++i)
        part[i] |= piece[i];  // every byte is one rank's, zero of the others
    }
  }
}

void JointReads::finish(bool failed) const {
  Request request{failed ? kFailed : kDone};
  share(ranks_, request);
}

void JointReads::serve(std::span<std::byte> memory) const {
  for (;;) {
    Request request;
    share(ranks_, request);
    if (request.index == kDone) return;
    if (request.index == kFailed)
      throw CommError("save", "rank 0 could not save", "see its message", "start the job again to resume");
    SLUICE_CHECK(static_cast<std::size_t>(request.bytes) <= memory.size(), "a read of ", request.bytes, " bytes");
    const auto into = memory.first(static_cast<std::size_t>(request.bytes));
    std::ranges::fill(into, std::byte{0});
    fill_(request.index, request.first, into);
    for (std::size_t at = 0; at < into.size(); at += kPiece) {
      const auto part = into.subspan(at, std::min(kPiece, into.size() - at));
      ranks_.world().send(part.data(), static_cast<std::int64_t>(part.size()), ElementType::Byte, 0, kTag);
    }
  }
}

}  // namespace sluice::train
