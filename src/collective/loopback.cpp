#include "collective/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace sluice::collective {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr int kNumPings = 200;

[[noreturn]] void fail(const char* operation) { throw_errno("network", operation, "127.0.0.1", errno); }

FileDescriptor open_socket() {
  FileDescriptor made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made.valid()) fail("open a socket");
  return made;
}

/// Both ends of a connection.
struct Connection {
  FileDescriptor one = open_socket(), other;
  Connection() {
    const FileDescriptor listener = open_socket();
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof address;
    if (::bind(listener.get(), any, length) != 0 || ::listen(listener.get(), 1) != 0 ||
        ::getsockname(listener.get(), any, &length) != 0)
      fail("listen on");
    if (::connect(one.get(), any, length) != 0) fail("connect to");
    other = FileDescriptor(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!other.valid()) fail("accept a connection from");
    const int at_once = 1;
    for (const int end : {one.get(), other.get()})
      ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
  }
};

// `transfer` is ::send or ::recv bound to a socket; false when the other end has gone.
bool move_all(Bytes bytes, const std::function<ssize_t(std::size_t)>& transfer) {
  while (bytes > 0) {
    const ssize_t moved = transfer(std::min(kPiece, static_cast<std::size_t>(bytes)));
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return false;
    bytes -= moved;
  }
  return true;
}

bool send_all(int to, std::vector<std::byte>& piece, Bytes bytes) {
  return move_all(bytes, [&](std::size_t size) { return ::send(to, piece.data(), size, MSG_NOSIGNAL); });
}

bool receive_all(int from, std::vector<std::byte>& piece, Bytes bytes) {
  return move_all(bytes, [&](std::size_t size) { return ::recv(from, piece.data(), size, 0); });
}

Seconds seconds_of(const std::function<bool()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  if (!work()) fail("exchange messages with");
  return std::max(std::chrono::duration<Seconds>(std::chrono::steady_clock::now() - begin).count(), 1e-9);
}

bool exchange(const Connection& connection, Bytes bytes) {
  std::array<bool, 4> done = {};
  const auto run = [&](std::size_t index, auto move, int end) {
    return std::jthread([&done, index, move, end, bytes] {
      std::vector<std::byte> piece(kPiece);
      done[index] = move(end, piece, bytes);
    });
  };
  {
    const std::array threads = {run(0, send_all, connection.one.get()), run(1, receive_all, connection.one.get()),
                                run(2, send_all, connection.other.get()), run(3, receive_all, connection.other.get())};
  }
  return std::ranges::all_of(done, [](bool each) { return each; });
}

bool ping(const Connection& connection) {
  std::vector<std::byte> message(64);
  const auto size = static_cast<Bytes>(message.size());
  std::jthread echo([&] {
    std::vector<std::byte> copy(message.size());
    for (int i = 0; i < kNumPings; ++i)
      if (!receive_all(connection.other.get(), copy, size) || !send_all(connection.other.get(), copy, size)) return;
  });
  for (int i = 0; i < kNumPings; ++i)
    if (!send_all(connection.one.get(), message, size) || !receive_all(connection.one.get(), message, size))
      return false;
  return true;
}

}  // namespace

LoopbackRates measure_loopback(Bytes bytes) {
  const Connection connection;
  if (!exchange(connection, 8 * MiB)) fail("exchange messages with");  // buffers of the kernel grow with use
  LoopbackRates rates;
  rates.rate = static_cast<double>(bytes) / seconds_of([&] { return exchange(connection, bytes); });
  rates.latency = seconds_of([&] { return ping(connection); }) / (2 * kNumPings);
  return rates;
}

}  // namespace sluice::collective
