#include "tests/bench/attack/sample_order.h"

#include "proto/base/check.h"

namespace mh::attack {
namespace {

// "CLAS": keeps these shuffles apart from the job's.
constexpr std::uint64_t kClassPurpose = 0x434C4153;

std::vector<std::vector<std::uint64_t>> sorted_by_class(std::uint64_t seed,
                                                        std::span<const std::uint8_t> classes) {
  std::vector<std::vector<std::uint64_t>> sorted;
  const Permutation order(classes.size(), derive_key(seed, kClassPurpose));
  for (std::uint64_t i = 0; i < classes.size(); ++i) {
    const std::uint64_t sample = order(i);
    if (classes[sample] >= sorted.size()) sorted.resize(classes[sample] + std::size_t{1});
    sorted[classes[sample]].push_back(sample);
  }
  for (const auto& samples : sorted) MH_CHECK(!samples.empty());
  return sorted;
}

}  // namespace

std::string_view name_of(Distribution distribution) {
  return distribution == Distribution::kIid ? "iid" : "non-iid";
}

SampleOrder::SampleOrder(Distribution distribution, std::uint64_t seed,
                         std::span<const std::uint8_t> classes, const scheduler::StepShape& shape)
    : distribution_(distribution),
      shape_(shape),
      stream_(seed, classes.size()),
      of_class_(sorted_by_class(seed, classes)) {}

std::vector<std::uint64_t> SampleOrder::samples_of(const scheduler::ShardRange& range) {
  std::vector<std::uint64_t> samples;
  samples.reserve(range.size());
  for (std::uint64_t position = range.begin; position < range.end; ++position)
    samples.push_back(distribution_ == Distribution::kIid ? stream_.sample_at(position)
                                                          : by_class(position));
  return samples;
}

std::uint64_t SampleOrder::by_class(std::uint64_t position) const {
  const std::uint64_t count = of_class_.size();
  const std::uint64_t step = position / shape_.batch;
  const std::uint64_t shard = position % shape_.batch / shape_.shard;
  const bool is_first_half = position % shape_.shard < (shape_.shard + 1) / 2;
  // The second class changes from step to step, so that each meets all others.
  const std::uint64_t of = (shard + (is_first_half ? 0 : 1 + step % (count - 1))) % count;
  return of_class_[of][position % of_class_[of].size()];
}

}  // namespace mh::attack
