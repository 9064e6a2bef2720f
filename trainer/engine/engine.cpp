// The engine's loop over micro-batches; see engine.h for the rules.
#include "trainer/engine/engine.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <string>

#include "proto/base/check.h"
#include "trainer/engine/layer_module.h"
#include "trainer/engine/loss.h"

namespace mh::engine {
namespace {

/// A layer at work, with its parameters' places in the flat vectors.
struct Stage {
  std::unique_ptr<LayerModule> module;
  std::string kind;
  /// Copies of the parameters in their own, aligned memory: kernels may choose by alignment, and
  /// rule 1 forbids that the place of a layer in the flat vector matters.
  std::vector<at::Tensor> parameters;
  /// Views of the flat gradient.
  std::vector<at::Tensor> gradients;
};

std::vector<std::int64_t> with_rows(std::int64_t rows, const model::Shape& shape) {
  std::vector<std::int64_t> sizes{rows};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return sizes;
}

std::int64_t element_count(const model::Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

/// The first line of what torch says; the rest is a backtrace.
std::string reason_of(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

struct Engine::Impl {
  EngineJob job;
  at::Device device = at::kCPU;
  std::vector<Stage> stages;
  std::size_t first_stage_with_parameters = 0;
  at::Tensor gradient;
  at::Tensor loss_sum;
  at::Tensor correct_count;
  bool has_parameters = false;

  // Input and target of a micro-batch on the host, reused.
  at::Tensor host_input;
  at::Tensor host_target;

  bool has_classes() const { return job.plan.loss == model::Loss::kCrossEntropy; }

  void build(const Device& chosen);
  Result<void> read_batch(const SampleSource& samples, std::span<const std::uint64_t> indices);
  at::Tensor forward(const BatchContext& context);
  void backward(at::Tensor output_gradient);
  LossOutcome loss_of(const at::Tensor& output, bool gradient_wanted) const;
  Sums sums(std::uint64_t sample_count) const;
  Result<Sums> run(const SampleSource& samples, std::span<const std::uint64_t> indices,
                   BatchContext context, const Progress& progress);
};

void Engine::Impl::build(const Device& chosen) {
  if (chosen.is_cuda()) {
    device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(chosen.cuda_index));
  }
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  gradient = at::zeros({static_cast<std::int64_t>(job.plan.parameter_count)}, options);
  std::size_t layer_index = 0;
  for (const model::LayerPlan& layer : job.plan.layers) {
    Stage stage;
    stage.kind = layer.kind;
    stage.module = make_layer_module(layer, layer_index++, /*channels_last=*/!chosen.is_cuda());
    if (!stage.module) throw std::invalid_argument("no engine module for layer kind " + layer.kind);
    const auto parameters =
        std::span(job.plan.parameters).subspan(layer.first_parameter, layer.parameter_tensors);
    for (const model::ParameterSpec& parameter : parameters) {
      const std::vector<std::int64_t> sizes(parameter.shape.begin(), parameter.shape.end());
      stage.parameters.push_back(at::empty(sizes, options));
      stage.gradients.push_back(gradient
                                    .narrow(0, static_cast<std::int64_t>(parameter.offset),
                                            static_cast<std::int64_t>(parameter.count))
                                    .view(sizes));
    }
    stages.push_back(std::move(stage));
  }
  // relu and max_pool change places: the pooled values, and the gradients, are the same bits either
  // way, and relu then works on a quarter of the values.
  for (std::size_t i = 0; i + 1 < stages.size(); ++i) {
    if (stages[i].kind == "relu" && stages[i + 1].kind == "max_pool") {
      std::swap(stages[i], stages[i + 1]);
    }
  }
  first_stage_with_parameters = stages.size();
  for (std::size_t i = stages.size(); i-- > 0;) {
    if (!stages[i].parameters.empty()) first_stage_with_parameters = i;
  }
}

Result<void> Engine::Impl::read_batch(const SampleSource& samples,
                                      std::span<const std::uint64_t> indices) {
  const auto rows = static_cast<std::int64_t>(indices.size());
  if (!host_input.defined() || host_input.size(0) != rows) {
    host_input = at::empty(with_rows(rows, job.plan.input_shape),
                           job.plan.input_is_index ? at::kLong : at::kFloat);
    host_target =
        at::empty(with_rows(rows, job.plan.target_shape), has_classes() ? at::kLong : at::kFloat);
  }
  const auto inputs = static_cast<std::size_t>(element_count(job.plan.input_shape));
  const auto targets = static_cast<std::size_t>(element_count(job.plan.target_shape));
  for (std::size_t row = 0; row < indices.size(); ++row) {
    if (job.plan.input_is_index) {
      const std::span<std::int64_t> out(host_input.mutable_data_ptr<std::int64_t>() + row * inputs,
                                        inputs);
      MH_TRY_VOID(samples.read_input(indices[row], out, job.plan.index_limit));
    } else {
      const std::span<float> out(host_input.mutable_data_ptr<float>() + row * inputs, inputs);
      MH_TRY_VOID(samples.read_input(indices[row], out));
    }
    if (has_classes()) {
      const std::span<std::int64_t> out(
          host_target.mutable_data_ptr<std::int64_t>() + row * targets, targets);
      MH_TRY_VOID(samples.read_target(indices[row], out, job.plan.class_count));
    } else {
      const std::span<float> out(host_target.mutable_data_ptr<float>() + row * targets, targets);
      MH_TRY_VOID(samples.read_target(indices[row], out));
    }
  }
  return {};
}

at::Tensor Engine::Impl::forward(const BatchContext& context) {
  at::Tensor values = host_input.to(device);
  for (Stage& stage : stages) values = stage.module->forward(values, context);
  return values;
}

void Engine::Impl::backward(at::Tensor output_gradient) {
  for (std::size_t i = stages.size(); i-- > first_stage_with_parameters;) {
    output_gradient = stages[i].module->backward(output_gradient, i > first_stage_with_parameters,
                                                 stages[i].gradients);
  }
}

LossOutcome Engine::Impl::loss_of(const at::Tensor& output, bool gradient_wanted) const {
  const at::Tensor target = host_target.to(device);
  return has_classes() ? cross_entropy(output, target, gradient_wanted)
                       : mean_squared_error(output, target, gradient_wanted);
}

Sums Engine::Impl::sums(std::uint64_t sample_count) const {
  return {loss_sum.item<double>(), static_cast<std::uint64_t>(correct_count.item<std::int64_t>()),
          sample_count};
}

Result<Sums> Engine::Impl::run(const SampleSource& samples, std::span<const std::uint64_t> indices,
                               BatchContext context, const Progress& progress) {
  const auto scalar = at::TensorOptions().device(device);
  loss_sum = at::zeros({}, scalar.dtype(at::kDouble));
  correct_count = at::zeros({}, scalar.dtype(at::kLong));
  const std::uint64_t first_position = context.first_position;
  for (std::size_t done = 0; done < indices.size();) {
    const std::size_t rows = std::min<std::size_t>(job.micro_batch, indices.size() - done);
    MH_TRY_VOID(read_batch(samples, indices.subspan(done, rows)));
    context.first_position = first_position + done;
    LossOutcome outcome = loss_of(forward(context), context.is_training);
    loss_sum.add_(outcome.loss_sum);
    if (outcome.correct_count.defined()) correct_count.add_(outcome.correct_count);
    if (context.is_training) backward(std::move(outcome.output_gradient));
    done += rows;
    if (progress && !progress(done)) return fail(Errc::kCanceled, "stopped");
  }
  return sums(indices.size());
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(EngineJob job, const Device& device) {
  if (job.micro_batch == 0 || job.plan.layers.empty()) {
    return fail(Errc::kInvalidArgument, "a micro-batch of 0 samples or a model without layers");
  }
  try {
    const c10::InferenceMode guard;
    auto impl = std::make_unique<Impl>();
    impl->job = std::move(job);
    impl->build(device);
    return std::unique_ptr<Engine>(new Engine(std::move(impl)));
  } catch (const std::exception& error) {
    return fail(Errc::kInternal, "building the model: " + reason_of(error));
  }
}

Result<void> Engine::set_parameters(std::span<const float> parameters) {
  if (parameters.size() != impl_->job.plan.parameter_count) {
    return fail(Errc::kInvalidArgument,
                "the model has " + std::to_string(impl_->job.plan.parameter_count) +
                    " parameters, not " + std::to_string(parameters.size()));
  }
  try {
    const c10::InferenceMode guard;
    for (Stage& stage : impl_->stages) {
      for (std::size_t i = 0; i < stage.parameters.size(); ++i) {
        // from_blob wants a non-const pointer; the tensor is only read.
        float* values = const_cast<float*>(parameters.data()) + stage.gradients[i].storage_offset();
        stage.parameters[i].copy_(at::from_blob(values, stage.parameters[i].sizes(), at::kFloat));
      }
      stage.module->load(stage.parameters);
    }
    impl_->has_parameters = true;
    return {};
  } catch (const std::exception& error) {
    return fail(Errc::kInternal, "loading parameters: " + reason_of(error));
  }
}

Result<Sums> Engine::compute_gradient(const SampleSource& samples,
                                      std::span<const std::uint64_t> indices,
                                      std::uint64_t first_position, std::span<float> gradient,
                                      const Progress& progress) {
  MH_CHECK(impl_->has_parameters);
  MH_CHECK(gradient.size() == impl_->job.plan.parameter_count);
  if (indices.empty() || indices.size() % impl_->job.micro_batch != 0) {
    return fail(Errc::kInvalidArgument, std::to_string(indices.size()) +
                                            " samples are not a multiple of the micro-batch of " +
                                            std::to_string(impl_->job.micro_batch));
  }
  try {
    const c10::InferenceMode guard;
    impl_->gradient.zero_();
    const BatchContext context{impl_->job.seed, first_position, /*is_training=*/true};
    MH_TRY(const Sums sums, impl_->run(samples, indices, context, progress));
    at::from_blob(gradient.data(), {static_cast<std::int64_t>(gradient.size())}, at::kFloat)
        .copy_(impl_->gradient);
    return sums;
  } catch (const std::exception& error) {
    return fail(Errc::kInternal, "computing a gradient: " + reason_of(error));
  }
}

Result<Sums> Engine::evaluate(const SampleSource& samples, std::uint64_t begin, std::uint64_t end,
                              const Progress& progress) {
  MH_CHECK(impl_->has_parameters);
  if (begin >= end || end > samples.count()) {
    return fail(Errc::kInvalidArgument, "samples " + std::to_string(begin) + " to " +
                                            std::to_string(end) + " of " +
                                            std::to_string(samples.count()));
  }
  std::vector<std::uint64_t> indices(end - begin);
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = begin + i;
  try {
    const c10::InferenceMode guard;
    return impl_->run(samples, indices, BatchContext{}, progress);
  } catch (const std::exception& error) {
    return fail(Errc::kInternal, "evaluating: " + reason_of(error));
  }
}

Result<std::vector<float>> Engine::outputs(const SampleSource& samples,
                                           std::span<const std::uint64_t> indices) {
  MH_CHECK(impl_->has_parameters);
  std::vector<float> values;
  try {
    const c10::InferenceMode guard;
    for (std::size_t done = 0; done < indices.size();) {
      const std::size_t rows = std::min<std::size_t>(impl_->job.micro_batch, indices.size() - done);
      MH_TRY_VOID(impl_->read_batch(samples, indices.subspan(done, rows)));
      const at::Tensor output = impl_->forward(BatchContext{}).to(at::kCPU).contiguous();
      const float* begin = output.const_data_ptr<float>();
      values.insert(values.end(), begin, begin + output.numel());
      done += rows;
    }
    return values;
  } catch (const std::exception& error) {
    return fail(Errc::kInternal, "computing outputs: " + reason_of(error));
  }
}

}  // namespace mh::engine
