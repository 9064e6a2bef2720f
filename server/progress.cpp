// See progress.h.
#include "server/progress.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "proto/base/options.h"

namespace mh::server {
namespace {

constexpr std::chrono::seconds kSilence{2};
constexpr std::chrono::seconds kTerminalInterval{1};
constexpr std::chrono::seconds kLogInterval{10};

}  // namespace

Progress::Progress(std::string doing, bool is_bytes, std::uint64_t all)
    : doing_(std::move(doing)),
      is_bytes_(is_bytes),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      all_(all),
      next_(std::chrono::steady_clock::now() + kSilence) {}

Progress::~Progress() {
  if (was_shown_ && is_terminal_) std::cerr << "\n";
}

std::string Progress::amount(std::uint64_t value) const {
  return is_bytes_ ? format_byte_size(value) : std::to_string(value);
}

void Progress::at(std::uint64_t done) {
  done_ = done;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + (is_terminal_ ? kTerminalInterval : kLogInterval);
  was_shown_ = true;
  std::cerr << (is_terminal_ ? "\r" : "") << doing_ << ": " << amount(done_) << " of "
            << amount(all_) << (is_terminal_ ? "   " : "\n") << std::flush;
}

}  // namespace mh::server
