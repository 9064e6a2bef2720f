// The inner loops for every x86-64, and the choice among them. See kernels.h.
#define MH_ROBUST_TARGET baseline
#include "trainer/robust/kernels_body.h"

namespace mh::robust {

const Kernels& baseline_kernels() { return baseline::kTable; }

const Kernels& best_kernels() {
  static const Kernels* const best = avx2_kernels();
  return best != nullptr ? *best : baseline_kernels();
}

}  // namespace mh::robust
