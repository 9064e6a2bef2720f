#include "tests/bench/attack/device_class.h"

#include <array>
#include <cmath>

#include "proto/base/random.h"
#include "trainer/update/tensor_pack.h"

namespace mh::attack {
namespace {

// "DEVI".
constexpr std::uint64_t kDevicePurpose = 0x44455649;

constexpr auto kClasses = std::to_array<DeviceClass>({
    {"cpu", "AMD EPYC 7763"},
    {"cpu", "Intel Xeon Gold 6338", 3e-6},
    {"cpu", "Intel Core i7-3770", 1.3e-3},
    {"cuda:0", "NVIDIA GeForce RTX 3060", 6.7e-3, false},
});

// Normal values are drawn once; a difference is a stretch of them that begins anywhere.
constexpr std::size_t kPoolSize = std::size_t{1} << 17;

class Noise {
 public:
  Noise(std::size_t begin, std::size_t size) : begin_(begin), size_(size) {}
  float operator[](std::size_t i) const { return pool()[(begin_ + i) % kPoolSize]; }
  double norm() const {
    double sum = 0;
    for (std::size_t i = 0; i < size_; ++i) sum += double{(*this)[i]} * (*this)[i];
    return std::sqrt(sum);
  }

 private:
  static const Vector& pool() {
    static const Vector values = gaussian(kPoolSize, 1, kDevicePurpose, 0);
    return values;
  }

  const std::size_t begin_;
  const std::size_t size_;
};

}  // namespace

std::span<const DeviceClass> device_classes() { return kClasses; }

Gradient as_computed_on(const DeviceClass& device, const model::ModelPlan& plan, Gradient gradient,
                        std::uint64_t work, std::uint64_t result) {
  if (device.relative_difference == 0) return gradient;
  const auto which = static_cast<std::uint64_t>(&device - kClasses.data());
  Philox4x32 random(derive_key(which, kDevicePurpose, device.is_repeatable ? 0 : result), work);
  for (const model::ParameterSpec& parameter : plan.parameters) {
    const std::span<float> tensor =
        std::span(gradient.sum).subspan(parameter.offset, parameter.count);
    const Noise noise(random.below(kPoolSize), tensor.size());
    const double norm = noise.norm();
    if (norm == 0) continue;
    const double scale = device.relative_difference * update::l2_norm(tensor) / norm;
    for (std::size_t i = 0; i < tensor.size(); ++i)
      tensor[i] += static_cast<float>(scale * noise[i]);
  }
  return gradient;
}

}  // namespace mh::attack
