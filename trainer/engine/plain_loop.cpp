// The plain LibTorch loop; see plain_loop.h. The one file that includes torch/torch.h (half a
// minute to compile).
#include "trainer/engine/plain_loop.h"

#include <torch/torch.h>

#include <chrono>

namespace mh::engine {
namespace {

constexpr std::int64_t kBatch = 512;
constexpr std::int64_t kBatchCount = 8;

void add_layer(torch::nn::Sequential& model, const model::LayerPlan& layer) {
  namespace nn = torch::nn;
  const std::string& kind = layer.kind;
  if (kind == "conv2d") {
    if (layer.input_shape.size() == 2)
      model->push_back(nn::Unflatten(nn::UnflattenOptions(1, {1, layer.input_shape[0]})));
    const std::int64_t channels = layer.input_shape.size() == 2 ? 1 : layer.input_shape[0];
    model->push_back(
        nn::Conv2d(nn::Conv2dOptions(channels, layer.integer("out"), layer.integer("kernel"))
                       .stride(layer.integer("stride"))
                       .padding(layer.integer("padding"))
                       .dilation(layer.integer("dilation"))
                       .groups(layer.integer("groups"))
                       .bias(layer.flag("bias"))));
  } else if (kind == "linear") {
    model->push_back(
        nn::Linear(nn::LinearOptions(layer.input_shape.back(), layer.output_shape.back())
                       .bias(layer.flag("bias"))));
  } else if (kind == "max_pool") {
    model->push_back(nn::MaxPool2d(nn::MaxPool2dOptions(layer.integer("kernel"))
                                       .stride(layer.integer("stride"))
                                       .padding(layer.integer("padding"))));
  } else if (kind == "avg_pool") {
    model->push_back(nn::AvgPool2d(nn::AvgPool2dOptions(layer.integer("kernel"))
                                       .stride(layer.integer("stride"))
                                       .padding(layer.integer("padding"))));
  } else if (kind == "relu") {
    model->push_back(nn::ReLU());
  } else if (kind == "gelu") {
    model->push_back(nn::GELU());
  } else if (kind == "tanh") {
    model->push_back(nn::Tanh());
  } else if (kind == "flatten") {
    model->push_back(nn::Flatten());
  } else if (kind == "dropout") {
    model->push_back(nn::Dropout(layer.real("p")));
  } else if (kind == "layer_norm") {
    model->push_back(nn::LayerNorm(nn::LayerNormOptions({layer.input_shape.back()})
                                       .eps(layer.real("epsilon"))
                                       .elementwise_affine(layer.flag("affine"))));
  } else if (kind == "group_norm") {
    model->push_back(
        nn::GroupNorm(nn::GroupNormOptions(layer.integer("groups"), layer.input_shape[0])
                          .eps(layer.real("epsilon"))
                          .affine(layer.flag("affine"))));
  } else if (kind == "embedding") {
    model->push_back(nn::Embedding(layer.integer("num"), layer.integer("dim")));
  } else {
    throw std::invalid_argument("the plain loop has no layer " + kind);
  }
}

std::vector<std::int64_t> sizes_of(const model::Shape& shape) {
  std::vector<std::int64_t> sizes{kBatch * kBatchCount};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return sizes;
}

double measured_speed(const model::ModelPlan& plan, at::Device device, double seconds) {
  using Clock = std::chrono::steady_clock;
  torch::nn::Sequential model;
  for (const model::LayerPlan& layer : plan.layers) add_layer(model, layer);
  model->to(device);
  const bool has_classes = plan.loss == model::Loss::kCrossEntropy;
  const torch::Tensor inputs =
      (plan.input_is_index
           ? torch::randint(plan.index_limit, sizes_of(plan.input_shape), torch::kLong)
           : torch::randn(sizes_of(plan.input_shape)))
          .to(device);
  const torch::Tensor targets =
      (has_classes ? torch::randint(plan.class_count, sizes_of(plan.target_shape), torch::kLong)
                   : torch::randn(sizes_of(plan.target_shape)))
          .to(device);
  torch::optim::SGD optimizer(model->parameters(),
                              torch::optim::SGDOptions(0.01).momentum(0.9).nesterov(true));
  std::int64_t batch = 0;
  const auto step = [&] {
    const torch::Tensor input = inputs.narrow(0, batch * kBatch, kBatch);
    const torch::Tensor target = targets.narrow(0, batch * kBatch, kBatch);
    batch = (batch + 1) % kBatchCount;
    optimizer.zero_grad();
    torch::Tensor output = model->forward(input);
    torch::Tensor loss;
    if (has_classes) {
      loss = torch::nn::functional::cross_entropy(output.reshape({-1, plan.class_count}),
                                                  target.reshape({-1}));
    } else {
      loss = torch::nn::functional::mse_loss(output, target);
    }
    loss.backward();
    optimizer.step();
    return loss;
  };
  for (int i = 0; i < 3; ++i) step().item<float>();
  const auto start = Clock::now();
  double elapsed = 0;
  std::int64_t samples = 0;
  while (elapsed < seconds) {
    step().item<float>();
    samples += kBatch;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return static_cast<double>(samples) / elapsed;
}

}  // namespace

Result<double> plain_loop_speed(const model::ModelPlan& plan, const Device& device,
                                double seconds) {
  try {
    at::Device torch_device = at::kCPU;
    if (device.is_cuda()) {
      torch_device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.cuda_index));
    }
    return measured_speed(plan, torch_device, seconds);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return fail(Errc::kInternal, "the plain loop: " + text.substr(0, text.find('\n')));
  }
}

}  // namespace mh::engine
