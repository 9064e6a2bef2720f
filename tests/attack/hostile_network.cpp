// Attempts to reach anything over sockets.
#include <linux/if_alg.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "tests/attack/hostile.h"

namespace mh::hostile {
namespace {

int made(int domain, int type, int protocol) {
  const int socket = ::socket(domain, type, protocol);
  if (socket < 0) return errno;
  ::close(socket);
  return kSucceeded;
}

template <class Address>
int connect_to(int domain, int type, const Address& address, socklen_t size = sizeof(Address)) {
  const int socket = ::socket(domain, type, 0);
  if (socket < 0) return errno;
  const int code = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), size);
  const int why = errno;
  int sent = code;
  if (code == 0 && type == SOCK_DGRAM) sent = ::send(socket, "x", 1, 0) == 1 ? 0 : -1;
  const int send_why = errno;
  ::close(socket);
  if (code != 0) return why;
  return sent == 0 ? kSucceeded : send_why;
}

sockaddr_in loopback(long port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_in6 loopback6(long port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<std::uint16_t>(port));
  address.sin6_addr = in6addr_loopback;
  return address;
}

int listen_tcp(const Targets&) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (socket < 0) return errno;
  const sockaddr_in address = loopback(0);
  int code = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (code == 0) code = ::listen(socket, 1);
  const int why = errno;
  ::close(socket);
  return code == 0 ? kSucceeded : why;
}

int connect_unix(const Targets& targets, const char* key, bool is_abstract) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const char* name = targets.text(key);
  std::strncpy(address.sun_path + (is_abstract ? 1 : 0), name, sizeof address.sun_path - 2);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name) + 1);
  return connect_to(AF_UNIX, SOCK_STREAM, address, size);
}

constexpr std::array kAttempts = {
    Attempt{"connect by TCP",
            [](const Targets& t) {
              return connect_to(AF_INET, SOCK_STREAM, loopback(t.number("tcp_port")));
            }},
    Attempt{"connect by TCP over IPv6",
            [](const Targets& t) {
              return connect_to(AF_INET6, SOCK_STREAM, loopback6(t.number("tcp6_port")));
            }},
    Attempt{"send by UDP",
            [](const Targets& t) {
              return connect_to(AF_INET, SOCK_DGRAM, loopback(t.number("udp_port")));
            }},
    Attempt{"listen on TCP", listen_tcp},
    Attempt{"connect to a Unix socket",
            [](const Targets& t) { return connect_unix(t, "unix_path", false); }},
    Attempt{"connect to an abstract socket",
            [](const Targets& t) { return connect_unix(t, "abstract_name", true); }},
    Attempt{"open a raw socket",
            [](const Targets&) { return made(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
    Attempt{"open a packet socket", [](const Targets&) { return made(AF_PACKET, SOCK_DGRAM, 0); }},
    Attempt{"open a netlink socket", [](const Targets&) { return made(AF_NETLINK, SOCK_RAW, 0); }},
    Attempt{"open a socket to the hypervisor",
            [](const Targets&) { return made(40, SOCK_STREAM, 0); }},
    Attempt{"open a socket to the kernel's crypto",
            [](const Targets&) { return made(AF_ALG, SOCK_SEQPACKET, 0); }},
};

}  // namespace

std::span<const Attempt> network_attempts() { return kAttempts; }

}  // namespace mh::hostile
