// What `manyhands-server run` can be told. The command line is made from it in commands.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mh::server {

struct ServerOptions {
  // Made by `init`.
  std::filesystem::path folder;
  // HOST:PORT; port 0 takes a free one.
  std::string listen = "127.0.0.1:8470";
  // Where the port is written once the server listens; empty: nowhere.
  std::filesystem::path port_file;
  // What volunteers reach the server by; empty: http:// and the listening address.
  std::string public_url;
  // Listen beyond this machine without TLS.
  bool insecure_http = false;
  unsigned io_threads = 2;
  unsigned pool_threads = 2;
  // Which checkpoints of a job are kept (scheduler/coordinator.h, rule 16).
  std::uint32_t checkpoints_kept = 3;
  std::uint64_t checkpoint_every = 0;
};

inline constexpr unsigned kThreadsMax = 64;

}  // namespace mh::server
