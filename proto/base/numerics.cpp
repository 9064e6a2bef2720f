// See numerics.h.
#include "proto/base/numerics.h"

#include <algorithm>
#include <cstdlib>

namespace mh {

bool has_pinned_environment() {
  return std::all_of(kPinnedEnvironment.begin(), kPinnedEnvironment.end(), [](const auto& entry) {
    const char* value = std::getenv(entry.first);
    return value != nullptr && std::string_view(value) == entry.second;
  });
}

std::string_view cpu_level() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return {};
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has_avx512 ? "x86-64-v4" : "x86-64-v3";
#else
  return {};
#endif
}

}  // namespace mh
