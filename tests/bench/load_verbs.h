// The load generator's verbs, each a load on a running server that ends with one line of JSON.
// Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "proto/base/result.h"

namespace mh::bench {

struct LoadOptions {
  // HOST:PORT.
  std::string server;
  // Secrets of hosts, one a line; `attach` writes it.
  std::string secrets_file;
  // Lines "STEP HEX BYTES": updates that were uploaded before, for reports of gradients.
  std::string updates_file;
  // For the server's CPU; 0: not told.
  int server_process = 0;
  std::size_t connections = 256;
  std::chrono::milliseconds warm_up{2'000};
  std::chrono::milliseconds duration{10'000};
};

// Attaches new hosts with an invitation.
Status attach_hosts(const LoadOptions& options, const std::string& invitation);

// Every connection is a host that reports its result and asks for the next workunit in one call,
// again and again.
Status exchange(const LoadOptions& options);

// Connections that ask for work when there is none, and are held.
Status park(const LoadOptions& options);

// Hosts with a lease lose the server, wait until it listens again, and all come back at once.
Status return_at_once(const LoadOptions& options);

}  // namespace mh::bench
