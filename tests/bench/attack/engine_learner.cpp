#include "tests/bench/attack/engine_learner.h"

#include <algorithm>
#include <utility>

#include "client/cli/import/array_file.h"
#include "trainer/engine/engine.h"
#include "trainer/model/layer_kind.h"
#include "trainer/model/presets.h"

namespace mh::attack {
namespace {

constexpr std::size_t kPixels = 784;
constexpr std::int64_t kClasses = 10;
// Mean and standard deviation of the training pixels.
constexpr float kMean = 72.94F;
constexpr float kDeviation = 90.02F;

Result<std::vector<std::uint8_t>> read_all(const std::filesystem::path& path,
                                           std::size_t sample_bytes) {
  MH_TRY(cli::ArrayFile file, cli::ArrayFile::open(path));
  if (file.header().sample.bytes() != sample_bytes)
    return fail(Errc::kInvalidArgument, path.string() + ": a sample has " +
                                            std::to_string(file.header().sample.bytes()) +
                                            " bytes, not " + std::to_string(sample_bytes));
  std::vector<std::uint8_t> all(file.header().sample_count * sample_bytes);
  for (std::size_t at = 0; at < all.size(); at += sample_bytes)
    MH_TRY_VOID(file.read_sample(std::as_writable_bytes(std::span(all).subspan(at, sample_bytes))));
  return all;
}

Result<ImageSet> read_set(const std::filesystem::path& folder, const std::string& name) {
  ImageSet set;
  MH_TRY(set.pixels, read_all(folder / (name + "-images-idx3-ubyte.gz"), kPixels));
  MH_TRY(set.classes, read_all(folder / (name + "-labels-idx1-ubyte.gz"), 1));
  if (set.pixels.size() != set.classes.size() * kPixels)
    return fail(Errc::kInvalidArgument, name + ": images and labels are not equally many");
  return set;
}

class Source final : public engine::SampleSource {
 public:
  Source(const ImageSet& set, Labels labels) : set_(set), labels_(labels) {}

  std::uint64_t count() const override { return set_.classes.size(); }
  Result<void> read_input(std::uint64_t index, std::span<float> out) const override {
    const std::uint8_t* pixels = set_.pixels.data() + index * kPixels;
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = (static_cast<float>(pixels[i]) - kMean) / kDeviation;
    return {};
  }
  Result<void> read_input(std::uint64_t, std::span<std::int64_t>, std::int64_t) const override {
    return fail(Errc::kInvalidArgument, "images are no row numbers");
  }
  Result<void> read_target(std::uint64_t index, std::span<std::int64_t> out,
                           std::int64_t class_count) const override {
    const auto of = static_cast<std::int64_t>(set_.classes[index]);
    out[0] = labels_ == Labels::kTrue ? of : class_count - 1 - of;
    return {};
  }
  Result<void> read_target(std::uint64_t, std::span<float>) const override {
    return fail(Errc::kInvalidArgument, "targets are classes");
  }

 private:
  const ImageSet& set_;
  const Labels labels_;
};

Result<model::ModelPlan> plan_of(std::int64_t hidden) {
  model::MlpPreset preset;
  preset.hidden = {hidden};
  model::SampleInfo info;
  info.input_shape = {28, 28};
  info.input_is_integer = true;
  info.target_is_integer = true;
  info.class_count = kClasses;
  return model::plan_model({model::mlp_layers(preset), model::Loss::kCrossEntropy}, info);
}

class EngineLearner final : public Learner {
 public:
  EngineLearner(std::shared_ptr<const Images> images, model::ModelPlan plan,
                std::unique_ptr<engine::Engine> engine)
      : images_(std::move(images)),
        plan_(std::move(plan)),
        engine_(std::move(engine)),
        true_(images_->train, Labels::kTrue),
        flipped_(images_->train, Labels::kFlipped),
        test_(images_->test, Labels::kTrue) {}

  const model::ModelPlan& plan() const override { return plan_; }
  std::span<const std::uint8_t> classes() const override { return images_->train.classes; }

  Result<Gradient> gradient(std::span<const float> parameters,
                            std::span<const std::uint64_t> samples, Labels labels) override {
    MH_TRY_VOID(engine_->set_parameters(parameters));
    Gradient gradient;
    gradient.sum.resize(plan_.parameter_count);
    const Source& source = labels == Labels::kTrue ? true_ : flipped_;
    MH_TRY(const engine::Sums sums, engine_->compute_gradient(source, samples, 0, gradient.sum));
    gradient.loss_sum = sums.loss_sum;
    gradient.correct_count = sums.correct_count;
    return gradient;
  }

  Result<double> accuracy(std::span<const float> parameters) override {
    MH_TRY_VOID(engine_->set_parameters(parameters));
    MH_TRY(const engine::Sums sums, engine_->evaluate(test_, 0, test_.count()));
    return static_cast<double>(sums.correct_count) / static_cast<double>(sums.sample_count);
  }

 private:
  const std::shared_ptr<const Images> images_;
  const model::ModelPlan plan_;
  const std::unique_ptr<engine::Engine> engine_;
  const Source true_;
  const Source flipped_;
  const Source test_;
};

}  // namespace

Result<std::shared_ptr<const Images>> load_images(const std::filesystem::path& folder) {
  auto images = std::make_shared<Images>();
  MH_TRY(images->train, read_set(folder, "train"));
  MH_TRY(images->test, read_set(folder, "t10k"));
  return std::shared_ptr<const Images>(std::move(images));
}

Result<std::unique_ptr<Learner>> make_engine_learner(std::shared_ptr<const Images> images,
                                                     const engine::Device& device,
                                                     std::int64_t hidden, std::uint32_t shard) {
  MH_TRY(model::ModelPlan plan, plan_of(hidden));
  engine::EngineJob job;
  job.plan = plan;
  job.micro_batch = shard;
  MH_TRY(std::unique_ptr<engine::Engine> engine, engine::Engine::create(std::move(job), device));
  return std::unique_ptr<Learner>(
      std::make_unique<EngineLearner>(std::move(images), std::move(plan), std::move(engine)));
}

}  // namespace mh::attack
