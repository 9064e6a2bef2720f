// See job_aggregation.h.
#include "server/job_aggregation.h"

#include <algorithm>
#include <future>
#include <numeric>
#include <thread>

#include "proto/base/check.h"
#include "proto/base/kill_point.h"
#include "server/mapped_update.h"
#include "trainer/model/bucket_key.h"
#include "trainer/robust/step_gradient.h"
#include "trainer/update/optimizer.h"
#include "trainer/update/tensor_pack.h"

namespace mh::server {
namespace {

// A step of so few shards is summed at once, tile by tile in the cache, when all are there; larger
// ones as they come. The bits are the same.
constexpr std::uint64_t kSumAtOnceMax = 8;
// Updates that are added in one pass over the sum, which is what an addition costs: waited for as
// they come, and mapped at a time.
constexpr std::size_t kTogetherMin = 4;
constexpr std::size_t kTogetherMax = 16;

// Elements from which on a second thread is worth its start, in robust aggregation.
constexpr std::size_t kTwoThreadsMin = 100'000;

KillPoint before_publish("step.before_publish");
KillPoint after_publish("step.after_publish");

// Reads a pack into the buffer that is to hold it.
Status read_pack(const BlobStore& blobs, const Digest& digest, PackBuffer& buffer) {
  const update::PackHeader& expected = buffer.header();
  MH_TRY(const MappedFile file, blobs.map(digest));
  MH_TRY(const update::PackView pack,
         update::view_pack(file.bytes(), expected.kind, expected.layout_digest,
                           expected.element_count));
  if (pack.header.slots != expected.slots) {
    return fail(Errc::kDataLoss, "blob " + digest.hex() + " has " +
                                     std::to_string(pack.header.slots) + " vectors, expected " +
                                     std::to_string(expected.slots));
  }
  const std::span<const float> values = pack.values();
  std::copy(values.begin(), values.end(), buffer.values().begin());
  return {};
}

}  // namespace

PackBuffer::PackBuffer(const update::PackHeader& header)
    : header_(header), bytes_(update::kPackHeaderBytes + header.payload_bytes()) {
  static_assert(update::kPackHeaderBytes % sizeof(float) == 0);
  values_ = {reinterpret_cast<float*>(bytes_.data() + update::kPackHeaderBytes),
             header.payload_bytes() / sizeof(float)};
}

std::span<const std::byte> PackBuffer::finish(std::uint64_t step) {
  header_.step = step;
  update::write_pack_header(header_, std::span(bytes_).first<update::kPackHeaderBytes>());
  return bytes_;
}

Status JobAggregation::prepare() {
  if (model_ != nullptr) return {};
  MH_TRY(JobModelPtr model, load_job_model(blobs_, job_digest_, manifest_digest_));
  const std::uint64_t count = model->plan().parameter_count;
  update::PackHeader header;
  header.kind = update::PackKind::kParameters;
  header.element_count = count;
  header.layout_digest = model->plan().layout_digest;
  parameters_ = std::make_unique<PackBuffer>(header);
  header.kind = update::PackKind::kOptimizerState;
  header.slots = update::optimizer_slots(model->spec.optimizer);
  optimizer_ = std::make_unique<PackBuffer>(header);
  const model::TrainingSpec& training = model->spec.training;
  sums_as_they_come_ =
      model->spec.aggregation.is_exact_mean() && training.batch / training.shard > kSumAtOnceMax;
  sum_ = std::make_unique<StepSum>(count);
  mean_.resize(count);
  model_ = std::move(model);
  return {};
}

void JobAggregation::restart_sum(std::uint64_t step) {
  sum_->reset();
  sum_step_ = step;
  added_.clear();
  waiting_.clear();
}

Result<MappedUpdates> JobAggregation::map_updates(std::span<const Digest> digests,
                                                  std::uint64_t step) const {
  MappedUpdates updates;
  for (const Digest& digest : digests) {
    MH_TRY(MappedUpdate update, map_update(blobs_, *model_, digest, step));
    updates.shards.push_back(update.values);
    updates.files.push_back(std::move(update.file));
  }
  return updates;
}

Status JobAggregation::add_updates(std::span<const Digest> digests, std::uint64_t step) {
  MH_TRY(const MappedUpdates updates, map_updates(digests, step));
  MH_TRY_VOID(sum_->add(updates.shards));
  added_.insert(added_.end(), digests.begin(), digests.end());
  return {};
}

Status JobAggregation::sum_the_rest(const scheduler::StepReady& step) {
  const bool is_prefix = sum_step_ == step.step && added_.size() <= step.update_digests.size() &&
                         std::equal(added_.begin(), added_.end(), step.update_digests.begin());
  if (!is_prefix) restart_sum(step.step);
  std::span<const Digest> rest = std::span(step.update_digests).subspan(added_.size());
  while (rest.size() > kTogetherMax) {
    MH_TRY_VOID(add_updates(rest.first(kTogetherMax), step.step));
    rest = rest.subspan(kTogetherMax);
  }
  MH_TRY(const MappedUpdates last, map_updates(rest, step.step));
  MH_TRY_VOID(sum_->mean(last.shards, step.sample_count, mean_));
  restart_sum(step.step + 1);
  return {};
}

Status JobAggregation::aggregate_robustly(const scheduler::StepReady& step) {
  const scheduler::JobSpec& spec = model_->spec;
  MH_TRY(const MappedUpdates updates, map_updates(step.update_digests, step.step));
  std::vector<std::uint32_t> voices = step.host_groups;
  if (spec.aggregation.unit == scheduler::AggregationUnit::kShard) {
    voices.resize(step.update_digests.size());
    std::iota(voices.begin(), voices.end(), std::uint32_t{0});
  }
  model::Recipe recipe = spec.aggregation.recipe;
  recipe.bucket_seed = model::bucket_key(spec.seed, step.step);
  robust::StepShards shards;
  shards.sums = updates.shards;
  shards.voices = voices;
  shards.sample_count = spec.training.shard;
  const unsigned threads = mean_.size() < kTwoThreadsMin ? 1 : 2;
  return robust::step_gradient(recipe, shards, model_->plan().parameters, mean_, threads);
}

void JobAggregation::accept(const scheduler::UpdateAccepted& update) {
  if (!prepare() || !sums_as_they_come_) return;
  if (update.step < sum_step_ || unpublished_) return;
  if (update.step > sum_step_) restart_sum(update.step);
  if (update.shard < added_.size()) return;
  waiting_[update.shard] = update.update_digest;
  std::vector<Digest> next;
  for (const auto& [shard, digest] : waiting_) {
    if (shard != added_.size() + next.size() || next.size() == kTogetherMax) break;
    next.push_back(digest);
  }
  if (next.size() < kTogetherMin || !add_updates(next, update.step)) return;
  waiting_.erase(waiting_.begin(), waiting_.lower_bound(added_.size()));
}

Status JobAggregation::load_state(const scheduler::StepReady& step) {
  if (step.parameters_digest != parameters_digest_ || parameters_digest_.is_zero()) {
    parameters_digest_ = {};
    MH_TRY_VOID(read_pack(blobs_, step.parameters_digest, *parameters_));
    parameters_digest_ = step.parameters_digest;
  }
  if (optimizer_->header().slots == 0) return {};
  if (step.optimizer_digest.is_zero()) {
    std::ranges::fill(optimizer_->values(), 0.0F);
  } else if (step.optimizer_digest != optimizer_digest_) {
    optimizer_digest_ = {};
    MH_TRY_VOID(read_pack(blobs_, step.optimizer_digest, *optimizer_));
  }
  optimizer_digest_ = step.optimizer_digest;
  return {};
}

Result<scheduler::StepOutput> JobAggregation::complete(const scheduler::StepReady& step) {
  MH_TRY_VOID(prepare());
  if (unpublished_ == step.step) return publish(step.step + 1);
  unpublished_.reset();
  const bool is_exact_mean = model_->spec.aggregation.is_exact_mean();
  MH_TRY_VOID(is_exact_mean ? sum_the_rest(step) : aggregate_robustly(step));
  MH_TRY_VOID(load_state(step));
  // From here on the buffers are those of the next step, or spoiled.
  parameters_digest_ = {};
  optimizer_digest_ = {};
  MH_TRY(outcome_, update::take_step(model_->rule, step.step, mean_, parameters_->values(),
                                     optimizer_->values()));
  unpublished_ = step.step;
  return publish(step.step + 1);
}

Result<scheduler::StepOutput> JobAggregation::publish(std::uint64_t steps_done) {
  scheduler::StepOutput output;
  output.gradient_norm = outcome_.gradient_norm;
  output.learning_rate = outcome_.learning_rate;
  output.rule = model::names_of(model_->spec.aggregation.recipe);
  output.state_bytes = parameters_->header().payload_bytes() + optimizer_->header().payload_bytes();
  before_publish.pass();
  // Both wait for the disk most of the time: side by side.
  std::future<Result<Digest>> optimizer;
  if (optimizer_->header().slots > 0) {
    optimizer = std::async(std::launch::async, [this, steps_done] {
      return blobs_.put(optimizer_->finish(steps_done));
    });
  }
  const Result<Digest> parameters = blobs_.put(parameters_->finish(steps_done));
  if (optimizer.valid()) {
    MH_TRY(output.optimizer_digest, optimizer.get());
  }
  MH_TRY(output.parameters_digest, parameters);
  after_publish.pass();
  parameters_digest_ = output.parameters_digest;
  optimizer_digest_ = output.optimizer_digest;
  unpublished_.reset();
  return output;
}

}  // namespace mh::server
