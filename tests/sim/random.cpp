#include "tests/sim/random.h"

#include <cmath>
#include <numbers>

namespace mh::sim {
namespace {

// Keeps the simulator's streams apart from all others ("SIMU").
constexpr std::uint64_t kSimulator = 0x53494D55;

}  // namespace

Random::Random(std::uint64_t seed, Purpose purpose, std::uint64_t index)
    : stream_(derive_key(seed, kSimulator + static_cast<std::uint64_t>(purpose)), index) {}

double Random::log_between(double low, double high) {
  return low * std::exp(std::log(high / low) * uniform());
}

double Random::exponential(double mean) { return -mean * std::log1p(-uniform()); }

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log1p(-uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

double Random::log_normal(double median, double sigma) {
  return median * std::exp(sigma * normal());
}

double Random::weibull(double shape, double mean) {
  const double scale = mean / std::tgamma(1 + 1 / shape);
  return scale * std::pow(-std::log1p(-uniform()), 1 / shape);
}

}  // namespace mh::sim
