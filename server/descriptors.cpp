#include "server/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

namespace mh::server {
namespace {

// Database, listener, logs, threads' event files, updates being summed.
constexpr std::size_t kOwnDescriptors = 64;
// "No limit" would cost the kernel a table of that size.
constexpr rlim_t kLimitMax = 1u << 20;

}  // namespace

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t wanted = std::min(limit.rlim_max, kLimitMax);
  if (limit.rlim_cur < wanted) {
    const rlimit raised{wanted, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<std::size_t>(std::min(limit.rlim_cur, kLimitMax));
}

std::size_t connections_within(std::size_t descriptors_max, std::size_t wanted) {
  const std::size_t own = std::min(kOwnDescriptors, descriptors_max / 2);
  const std::size_t most = (descriptors_max - own) / 4 * 3;
  return std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(most, 1));
}

}  // namespace mh::server
