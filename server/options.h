// What `manyhands-server run` can be told. The command line is made from it in commands.cpp.
#pragma once

#include <chrono>
#include <cstddef>
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
  // What volunteers reach the server by; empty: from the listening address.
  std::string public_url;
  // Who runs this project, for volunteers who are asked whether they want to join.
  std::string run_by;
  // PEM files in the place of the folder's own certificate; both or neither.
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  // No TLS, on this machine; no TLS, wherever it listens.
  bool plain_http = false;
  bool insecure_http = false;
  unsigned io_threads = 1;
  unsigned pool_threads = 2;
  // With less free on the folder's disk the server is degraded (server/disk_watch.h).
  std::uint64_t disk_reserve_bytes = 256'000'000;
  // An unfinished upload that nobody touched for so long is removed.
  std::chrono::milliseconds upload_lifetime = std::chrono::hours(24);
  // Unfinished uploads that one host (or account) may have, and their announced bytes together.
  std::uint32_t uploads_per_owner = 64;
  std::uint64_t upload_bytes_per_owner = std::uint64_t{16} << 30;
  // Connections at a time, in all and of one address. The first is lowered to what the process's
  // limit of descriptors allows (descriptors.h).
  std::size_t connections_max = 10'000;
  std::size_t connections_per_address_max = 2'000;
  // Calls that wait for work or news at a time.
  std::size_t held_calls_max = 10'000;
  // Transitions on their way to the disk at a time; above, calls are refused before any work.
  std::size_t commits_max = 4'096;
  // Which checkpoints of a job are kept (scheduler/coordinator.h, rule 16).
  std::uint32_t checkpoints_kept = 3;
  std::uint64_t checkpoint_every = 0;
  // Of how many past steps of a job the updates are kept, and their bytes over all jobs (rule 26).
  std::uint32_t keep_steps = 32;
  std::uint64_t keep_bytes = 4'000'000'000;
};

// A rewind may not go further back (proto/base/step_record.h).
inline constexpr std::uint32_t kKeepStepsMax = 65'536;
inline constexpr unsigned kThreadsMax = 64;
inline constexpr std::size_t kRunByBytesMax = 200;
inline constexpr std::size_t kConnectionsMax = 1'000'000;

}  // namespace mh::server
