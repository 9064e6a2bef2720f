#include "proto/base/kill_point.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace mh {
namespace {

// Constant-initialised, so that it is there before the first point of any file is made.
const KillPoint* newest = nullptr;

std::string_view wanted() {
  const char* text = std::getenv("MANYHANDS_KILL_POINT");
  return text == nullptr ? std::string_view() : std::string_view(text);
}

// N of "name:N"; 0 if another point is meant, or what follows is no number.
std::uint64_t passages_wanted(std::string_view name) {
  std::string_view text = wanted();
  if (!text.starts_with(name)) return 0;
  text.remove_prefix(name.size());
  if (text.empty()) return 1;
  if (text.front() != ':') return 0;
  std::uint64_t number = 0;
  const auto end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + 1, end, number);
  return read.ec == std::errc() && read.ptr == end ? number : 0;
}

}  // namespace

KillPoint::KillPoint(const char* name)
    : name_(name), next_(std::exchange(newest, this)), left_(passages_wanted(name)) {
  is_armed_ = left_ > 0;
}

void KillPoint::count() {
  if (left_.fetch_sub(1) != 1) return;
  ::kill(::getpid(), SIGKILL);
  // It takes a moment until the other threads are gone; this one does nothing more.
  for (;;) ::pause();
}

std::vector<std::string> KillPoint::names() {
  std::vector<std::string> names;
  for (const KillPoint* point = newest; point != nullptr; point = point->next_)
    names.emplace_back(point->name_);
  std::sort(names.begin(), names.end());
  return names;
}

bool KillPoint::is_list_wanted() { return wanted() == "list"; }

}  // namespace mh
