// The inner loops for processors with AVX2; compiled with -mavx2, so that nothing but them may be
// in this file. See kernels.h.
#define MH_ROBUST_TARGET avx2
#include "trainer/robust/kernels_body.h"

namespace mh::robust {

const Kernels* avx2_kernels() { return __builtin_cpu_supports("avx2") ? &avx2::kTable : nullptr; }

}  // namespace mh::robust
