#include "server/step_sum.h"

#include <algorithm>
#include <future>

namespace mh::server {
namespace {

// Elements from which on a second thread is worth its start.
constexpr std::size_t kTwoThreadsMin = 500'000;

using Views = std::vector<std::span<const float>>;

Views part_of(update::Shards shards, std::size_t begin, std::size_t count) {
  Views part;
  for (const std::span<const float> shard : shards) part.push_back(shard.subspan(begin, count));
  return part;
}

// Has `work(begin, count)` done for all elements. Requires: shards of `count` elements.
template <class Work>
Status in_two(std::size_t count, const Work& work) {
  if (count < kTwoThreadsMin) return work(std::size_t{0}, count);
  const std::size_t half = count / 2;
  auto upper = std::async(std::launch::async, [&] { return work(half, count - half); });
  const Status lower = work(std::size_t{0}, half);
  MH_TRY_VOID(upper.get());
  return lower;
}

Status check_sizes(update::Shards shards, std::uint64_t count) {
  const bool fits = std::ranges::all_of(
      shards, [count](std::span<const float> shard) { return shard.size() == count; });
  if (fits) return {};
  return fail(Errc::kInvalidArgument,
              "an update has another number of elements than " + std::to_string(count));
}

}  // namespace

Status StepSum::add(update::Shards shards) {
  if (shards.empty()) return {};
  MH_TRY_VOID(check_sizes(shards, element_count_));
  sum_.resize(element_count_);
  const auto work = [&](std::size_t begin, std::size_t count) {
    return update::add_shards(std::span(sum_).subspan(begin, count), part_of(shards, begin, count),
                              is_empty_);
  };
  MH_TRY_VOID(in_two(element_count_, work));
  is_empty_ = false;
  return {};
}

Status StepSum::mean(update::Shards rest, std::uint64_t sample_count, std::span<float> out) const {
  MH_TRY_VOID(check_sizes(rest, element_count_));
  const auto work = [&](std::size_t begin, std::size_t count) {
    std::span<const double> sum;
    if (!is_empty_) sum = std::span(sum_).subspan(begin, count);
    return update::mean_gradient(sum, part_of(rest, begin, count), sample_count,
                                 out.subspan(begin, count));
  };
  return in_two(element_count_, work);
}

}  // namespace mh::server
