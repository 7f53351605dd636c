// What ranks say to each other: one class over any library that moves bytes. Sums, sub-groups, deadlines, the flight
// recorder and the counters of bytes live here once; a library (transport.h) only sends and receives.
//
// Every reduction adds in the order of ranks, 0 first, 16-bit values in fp32 with one rounding at the end. So a result
// depends on the contributions alone: not on the library, the sizes of messages or who was late.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::collective {

enum class ElementType { Fp32, Bf16, Fp16, Int64, Byte };
/// Bytes of one element.
[[nodiscard]] std::int64_t element_bytes(ElementType type);

enum class Reduce { Sum, Max };  ///< a NaN wins a Max; Bytes cannot be summed

/// What becomes of the values that stand where a reduction writes.
enum class Into {
  Replace,
  Add  ///< the sum begins with them: ((mine + rank 0) + rank 1) + ..., rounded to the type once, at the end
};

enum class Operation { AllReduce, AllGather, ReduceScatter, Broadcast, AllToAll, Send, Receive, Barrier, Split };
inline constexpr std::size_t kNumOperations = 9;
[[nodiscard]] std::string_view operation_name(Operation operation);

/// What this rank has put on the wire, by kind of operation, since the communicator was made.
struct Traffic {
  std::array<std::int64_t, kNumOperations> bytes_sent{};
  std::array<std::int64_t, kNumOperations> num_calls{};
  std::array<double, kNumOperations> wait_seconds{};  ///< blocked on other ranks

  [[nodiscard]] std::int64_t sent(Operation operation) const { return bytes_sent[static_cast<std::size_t>(operation)]; }
  [[nodiscard]] std::int64_t total_bytes_sent() const;
};

class Endpoint;
class Call;

/// A group of ranks as one of them sees it. All members make the same calls in the same order with the same counts and
/// types. A call blocks until its result is there (a send: until the memory may be reused) and is made by one thread at
/// a time; communicators that came from `split` may be used by different threads at the same time. Data is host memory,
/// aligned to its element.
///
/// Throws CommError when a call is not complete at its deadline or a rank is lost: the message names this rank, the
/// operation, its sequence number and the ranks that are missing, after the flight recorder (the last operations of
/// this rank) has been printed. The communicator, and those split from the same one, are useless from then on: every
/// further call throws at once.
class Communicator {
 public:
  Communicator(std::shared_ptr<Endpoint> endpoint, std::vector<int> members, int context);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int world_size() const { return static_cast<int>(members_.size()); }

  /// `data` of all ranks, reduced, in all ranks' `data`. Sends 2 (N-1)/N of the bytes; a small one is gathered and
  /// summed by each rank: (N-1) times the bytes, one latency.
  void all_reduce(void* data, std::int64_t count, ElementType type, Reduce reduce);

  /// `all` = the pieces of rank 0, 1, ... one after the other. In place when `mine` is this rank's piece of `all`.
  void all_gather(const void* mine, void* all, std::int64_t count_per_rank, ElementType type);

  /// `mine` = the sum of every rank's piece number `rank()` of `all`. In place when `mine` is that piece of `all`; then
  /// Into::Add has no meaning and is refused. `all` is otherwise unchanged.
  void reduce_scatter(const void* all, void* mine, std::int64_t count_per_rank, ElementType type,
                      Into into = Into::Replace);

  void broadcast(void* data, std::int64_t count, ElementType type, int root);

  /// Rank r gets send_counts[r] elements; pieces stand one after the other in both buffers, which must not overlap.
  void all_to_all_v(const void* send, std::span<const std::int64_t> send_counts, void* receive,
                    std::span<const std::int64_t> receive_counts, ElementType type);
  void all_to_all(const void* send, void* receive, std::int64_t count_per_rank, ElementType type);

  /// Messages between two ranks with one tag (0 ... 65535) arrive in the order in which they were sent.
  void send(const void* data, std::int64_t count, ElementType type, int peer, int tag);
  void receive(void* data, std::int64_t count, ElementType type, int peer, int tag);

  /// Returns when every rank has called it.
  void barrier();

  /// A communicator of the ranks that gave the same `color`, in the order of `key`, then of rank here. Collective; a
  /// rank with a negative color gets nullptr.
  std::unique_ptr<Communicator> split(int color, int key);

  /// The largest of the ranks' values: agreeing on a flag, a step, a stop request.
  [[nodiscard]] std::int64_t agree_max(std::int64_t value);

  /// This rank has failed elsewhere and will call no more: calls of its other threads throw CommError within a second,
  /// and the other ranks are told. The only call that any thread may make at any time.
  void end(const std::string& why);

  [[nodiscard]] const Traffic& traffic() const { return traffic_; }

  /// Memory that a communicator of two or more ranks takes when it is made; its operations take no more.
  static constexpr std::int64_t kScratchBytes = std::int64_t{4} << 20;

 private:
  Call begin(Operation operation, std::int64_t count, ElementType type, int root = -1);
  Call begin_message(Operation operation, std::int64_t count, ElementType type, int peer, int tag);
  void reduce_small(Call& call, void* data, std::int64_t count, ElementType type, Reduce reduce);
  /// `target` = the reduction of this rank's piece of `all`.
  template <typename PieceOf>
  void exchange_and_reduce(Call& call, const void* all, void* target, const PieceOf& piece_of, ElementType type,
                           Reduce reduce, Into into);
  /// Every rank's piece of `all` goes to all ranks.
  template <typename PieceOf>
  void exchange_pieces(Call& call, void* all, const PieceOf& piece_of);

  std::shared_ptr<Endpoint> endpoint_;
  std::vector<int> members_;  ///< their ranks in the whole job
  int context_ = 0;
  int rank_ = 0;
  std::int64_t sequence_ = 0;
  std::int64_t num_messages_ = 0;
  Traffic traffic_;
  std::unique_ptr<std::byte[]> scratch_;
};

/// How long a call may wait for other ranks.
struct Limits {
  std::chrono::milliseconds deadline = std::chrono::minutes(10);
  std::chrono::milliseconds connect_deadline = std::chrono::minutes(2);
};

/// `world_size` communicators of one process, for as many threads: tests, and ranks that are threads.
std::vector<std::unique_ptr<Communicator>> make_local_world(int world_size, const Limits& limits = {});

}  // namespace sluice::collective
