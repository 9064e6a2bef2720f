// See pinned.h.
#include "trainer/engine/pinned.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/numerics.h"

namespace mh::engine {
namespace {

/// This process's own, each ended by a zero byte.
std::string own_command_line() {
  std::ifstream stream("/proc/self/cmdline", std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Status check_processor(const scheduler::JobSpec& spec) {
  if (!cpu_level().empty()) return {};
  return fail(Errc::kFailedPrecondition,
              "job " + spec.name +
                  " says `numerics: pinned`, which needs an x86 processor with AVX2 and FMA");
}

}  // namespace

Status start_again_if_pinned(const scheduler::JobSpec& spec) {
  if (spec.numerics != scheduler::Numerics::kPinned || has_pinned_environment()) return {};
  MH_TRY_VOID(check_processor(spec));
  for (const auto& [name, value] : kPinnedEnvironment) ::setenv(name, value, 1);
  std::string text = own_command_line();
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < text.size(); at += std::strlen(text.data() + at) + 1)
    arguments.push_back(text.data() + at);
  arguments.push_back(nullptr);
  ::execv("/proc/self/exe", arguments.data());
  return errno_error("cannot start again", "/proc/self/exe", errno);
}

Status check_numerics(const scheduler::JobSpec& spec, const Device& device) {
  if (spec.numerics != scheduler::Numerics::kPinned) return {};
  MH_TRY_VOID(check_processor(spec));
  if (device.is_cuda())
    return fail(Errc::kFailedPrecondition, "job " + spec.name +
                                               " says `numerics: pinned`, which is for the CPU; "
                                               "this trainer computes on " +
                                               device.name);
  if (!has_pinned_environment())
    return fail(Errc::kFailedPrecondition,
                "job " + spec.name +
                    " says `numerics: pinned`, and this trainer was started without the settings "
                    "that go with it");
  return {};
}

}  // namespace mh::engine
