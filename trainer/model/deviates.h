// Uniform and normal deviates that are the same bits on every machine: Philox words and operations
// that IEEE 754 rounds exactly; libm's log and cos differ in the last bit between C libraries and
// vector units. Flow: initialisation.cpp. Pure; no threads.
#pragma once

#include <cstdint>
#include <span>

namespace mh::model {

/// Element e is uniform in [-scale, scale): word e % 4 of Philox block e / 4 of (key, stream), with
/// 24 bits.
void fill_uniform(std::span<float> out, std::uint64_t key, std::uint64_t stream, float scale);

/// Element e is normal with mean 0 and standard deviation `scale` (Box and Muller): elements 2k and
/// 2k + 1 are the cosine and the sine of Philox block k of (key, stream).
void fill_normal(std::span<float> out, std::uint64_t key, std::uint64_t stream, float scale);

}  // namespace mh::model
