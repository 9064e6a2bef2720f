#include "proto/base/probe.h"

// The linker's names for the ends of the section; absent when there is no probe at all.
extern "C" {
extern mh::Probe __start_mh_probes[] __attribute__((weak, visibility("hidden")));
extern mh::Probe __stop_mh_probes[] __attribute__((weak, visibility("hidden")));
}

namespace mh {

std::vector<const Probe*> all_probes() {
  std::vector<const Probe*> probes;
  for (const Probe* probe = __start_mh_probes; probe != __stop_mh_probes; ++probe) {
    probes.push_back(probe);
  }
  return probes;
}

}  // namespace mh
