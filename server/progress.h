// Tells people on stderr how far a long piece of work is: nothing in the first two seconds, then
// once a second on a terminal and every ten seconds elsewhere. Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mh::server {

class Progress {
 public:
  // "checking blobs"; amounts are told as bytes if `is_bytes`.
  Progress(std::string doing, bool is_bytes, std::uint64_t all);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(std::uint64_t amount) { at(done_ + amount); }
  void at(std::uint64_t done);
  void set_all(std::uint64_t all) { all_ = all; }

 private:
  std::string amount(std::uint64_t value) const;

  const std::string doing_;
  const bool is_bytes_;
  const bool is_terminal_;
  std::uint64_t all_;
  std::uint64_t done_ = 0;
  std::chrono::steady_clock::time_point next_;
  bool was_shown_ = false;
};

}  // namespace mh::server
