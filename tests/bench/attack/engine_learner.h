// Fashion-MNIST and the trainer's engine as a Learner: a small network, one thread.
// Threads: Images may be shared; a learner belongs to one thread.
#pragma once

#include <filesystem>
#include <memory>

#include "tests/bench/attack/learner.h"
#include "trainer/engine/device.h"

namespace mh::attack {

// Images as bytes, with their classes.
struct ImageSet {
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> classes;
};

struct Images {
  ImageSet train;
  ImageSet test;
};

// From the four IDX files of the Debian package dataset-fashion-mnist. Errors: kNotFound,
// kInvalidArgument, naming the file.
Result<std::shared_ptr<const Images>> load_images(const std::filesystem::path& folder);

// A network with one hidden layer of `hidden` units. `shard` is the number of samples of one
// gradient. Errors: those of the engine.
Result<std::unique_ptr<Learner>> make_engine_learner(std::shared_ptr<const Images> images,
                                                     const engine::Device& device,
                                                     std::int64_t hidden, std::uint32_t shard);

}  // namespace mh::attack
