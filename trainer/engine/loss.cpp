// Losses; see loss.h.
#include "trainer/engine/loss.h"

#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/all.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scatter.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros_like.h>

namespace mh::engine {

LossOutcome cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                          bool gradient_wanted) {
  const std::int64_t rows = logits.size(0);
  const std::int64_t classes = logits.size(-1);
  const at::Tensor flat_logits = logits.contiguous().view({-1, classes});
  const at::Tensor column = targets.contiguous().view({-1, 1});
  // A sample's loss is the mean over its targets.
  const double scale = static_cast<double>(rows) / static_cast<double>(flat_logits.size(0));
  const at::Tensor log_probabilities = at::_log_softmax(flat_logits, 1, false);

  LossOutcome outcome;
  outcome.loss_sum =
      at::mul(at::sum(at::gather(log_probabilities, 1, column), at::kDouble), -scale);
  const at::Tensor hits = at::eq(at::argmax(flat_logits, 1), column.view({-1}));
  outcome.correct_count = at::sum(at::all(hits.view({rows, -1}), 1));
  if (gradient_wanted) {
    at::Tensor picked = at::zeros_like(flat_logits);
    picked.scatter_(1, column, -scale);
    outcome.output_gradient =
        at::_log_softmax_backward_data(picked, log_probabilities, 1, at::kFloat)
            .view(logits.sizes());
  }
  return outcome;
}

LossOutcome mean_squared_error(const at::Tensor& output, const at::Tensor& targets,
                               bool gradient_wanted) {
  const double elements = static_cast<double>(output.numel()) / static_cast<double>(output.size(0));
  const at::Tensor difference = at::sub(output, targets);
  LossOutcome outcome;
  outcome.loss_sum = at::mul(at::sum(at::mul(difference, difference), at::kDouble), 1.0 / elements);
  if (gradient_wanted) outcome.output_gradient = at::mul(difference, 2.0 / elements);
  return outcome;
}

}  // namespace mh::engine
