// `numerics: pinned` of a job file: what ATen, oneDNN and MKL must be told, before they do
// anything, so that each takes the same code path on every x86 processor with AVX2 and FMA; and
// which processors those are. Used by the client (starts trainers with it) and by the trainer
// (starts itself again with it, and refuses to compute without). Threads: any, but while nobody
// calls setenv().
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace mh {

/// Environment variables of a trainer with pinned numerics, and their values.
inline constexpr std::array<std::pair<const char*, const char*>, 3> kPinnedEnvironment = {{
    {"ATEN_CPU_CAPABILITY", "avx2"},
    {"ONEDNN_MAX_CPU_ISA", "AVX2"},
    {"MKL_CBWR", "COMPATIBLE"},
}};

/// True if this process was started with all of them.
bool has_pinned_environment();
/// "x86-64-v3" (AVX2 and FMA) or "x86-64-v4" (AVX-512 as well); empty for less.
std::string_view cpu_level();

}  // namespace mh
