#include "trainer/robust/aggregate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "trainer/robust/pre.h"
#include "trainer/robust/selection.h"

namespace mh::robust {
namespace {

/// Elements compared at a time before looking for the one that differs.
constexpr std::size_t kCompareColumns = 4'096;

float value_at(const std::byte* vector, std::size_t index) {
  float value = 0;
  std::memcpy(&value, vector + index * sizeof value, sizeof value);
  return value;
}

/// True if the first element that differs is smaller in `a`. Also for NaN an order, by bits.
bool comes_before(const Vector& first, const Vector& second, std::size_t count) {
  std::array<float, kCompareColumns> room_a, room_b;
  for (std::size_t at = 0; at < count; at += kCompareColumns) {
    const std::size_t part = std::min(kCompareColumns, count - at);
    const std::byte* a = values_at(first, at, part, room_a.data());
    const std::byte* b = values_at(second, at, part, room_b.data());
    if (std::memcmp(a, b, part * sizeof(float)) == 0) continue;
    for (std::size_t i = 0;; ++i) {
      const int order = std::memcmp(a + i * sizeof(float), b + i * sizeof(float), sizeof(float));
      if (order == 0) continue;
      const float left = value_at(a, i), right = value_at(b, i);
      return left < right || (!(right < left) && order < 0);
    }
  }
  return false;
}

Vector vector_of(const Input& input) {
  Vector vector;
  if (input.sums.empty()) {
    vector.parts.push_back(input.values.data());
    return vector;
  }
  for (const std::span<const float> sum : input.sums)
    vector.parts.push_back(std::as_bytes(sum).data());
  vector.divisor = input.sample_count;
  return vector;
}

Status check_size(const Input& input, std::size_t count) {
  const auto refuse = [&](std::size_t found) {
    return fail(Errc::kInvalidArgument, input.name + " has " + std::to_string(found) +
                                            " elements, expected " + std::to_string(count));
  };
  if (input.sums.empty() && input.values.size() != count * sizeof(float))
    return refuse(input.values.size() / sizeof(float));
  for (const std::span<const float> sum : input.sums) {
    if (sum.size() != count) return refuse(sum.size());
  }
  if (!input.sums.empty() && input.sample_count == 0)
    return fail(Errc::kInvalidArgument, input.name + " has sums of no samples");
  return {};
}

Error not_finite(std::span<const Input> inputs, std::span<const model::ParameterSpec> layout,
                 std::size_t count) {
  for (const Input& input : inputs) {
    const Vector vector = vector_of(input);
    const auto index = first_not_finite(vector, count);
    if (!index) continue;
    float room = 0;
    const float value = value_at(values_at(vector, *index, 1, &room), 0);
    std::string where = "element " + std::to_string(*index);
    for (const model::ParameterSpec& tensor : layout) {
      if (*index >= tensor.offset && *index - tensor.offset < tensor.count)
        where = "tensor " + tensor.name + ", element " + std::to_string(*index - tensor.offset);
    }
    const std::string what = value != value ? "NaN" : value > 0 ? "infinite" : "-infinite";
    return fail(Errc::kInvalidArgument, input.name + ": " + where + " is " + what);
  }
  return fail(Errc::kDataLoss, "the inputs changed while they were read");
}

/// One aggregation on its way.
class Aggregation {
 public:
  Aggregation(const Recipe& recipe, std::span<const Input> inputs, std::size_t count,
              const PassOptions& options)
      : recipe_(recipe), options_(options), order_(inputs.size()) {
    columns_.count = count;
    std::vector<Vector> given;
    for (const Input& input : inputs) given.push_back(vector_of(input));
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return comes_before(given[a], given[b], count);
    });
    for (const std::size_t i : order_) columns_.vectors.push_back(std::move(given[i]));
  }

  /// False if a value is not finite.
  bool run(std::span<float> out) {
    if (needs_geometry(recipe_) && !measure()) return false;
    pre_aggregate();
    ++outcome_.passes;
    if (is_coordinate_wise(recipe_.rule))
      return coordinate_wise(columns_, mix_, column_rule(), out, options_);
    const Combination result =
        recipe_.rule == Rule::kMean ? plain_mean(count()) : combine(recipe_, geometry_);
    const std::vector<Term> terms = terms_of(result);
    outcome_.weights.assign(order_.size(), 0.0);
    for (const Term& term : terms)
      outcome_.weights[order_[term.index]] = term.weight / result.divisor;
    return weighted_sum(columns_, terms, result.divisor, out, options_);
  }

  Outcome take_outcome() { return std::move(outcome_); }

 private:
  /// Vectors that the rule gets.
  std::size_t count() const { return mix_.empty() ? order_.size() : mix_.size(); }

  bool measure() {
    ++outcome_.passes;
    auto products = inner_products(columns_, std::nullopt, options_);
    if (!products) return false;
    geometry_ = Geometry::without_reference(order_.size(), std::move(*products));
    if (!geometry_.is_cancelling()) return true;
    ++outcome_.passes;
    const std::size_t reference = geometry_.good_reference();
    products = inner_products(columns_, reference, options_);
    if (!products) return false;
    geometry_ = Geometry::with_reference(order_.size(), std::move(*products), reference);
    return true;
  }

  void pre_aggregate() {
    // The vectors as they were given, for buckets in that order.
    std::vector<std::size_t> given(order_.size());
    for (std::size_t i = 0; i < order_.size(); ++i) given[order_[i]] = i;
    for (const Pre pre : recipe_.pre) {
      Mix next;
      if (pre == Pre::kBucketing) {
        const auto order =
            recipe_.bucket_order_is_given ? given : shuffled(count(), recipe_.bucket_seed);
        next = bucketing_mix(order, recipe_.bucket_size);
        given.resize(next.size());
        std::iota(given.begin(), given.end(), std::size_t{0});
      } else {
        next = measured_mix(pre);
      }
      if (needs_geometry(recipe_)) geometry_ = geometry_.mixed(next);
      mix_ = compose(next, mix_.empty() ? identity_mix(order_.size()) : mix_);
    }
  }

  Mix measured_mix(Pre pre) const {
    if (pre == Pre::kNnm) return nearest_neighbour_mix(geometry_, recipe_.f);
    if (pre == Pre::kArc) return adaptive_clipping_mix(geometry_, recipe_.f);
    return clipping_mix(geometry_, recipe_.clip_norm);
  }

  ColumnRule column_rule() const {
    const std::size_t rows = count();
    ColumnRule rule;
    if (recipe_.rule == Rule::kMeamed) {
      rule.keep = rows - recipe_.f;
    } else if (recipe_.rule == Rule::kTrimmedMean) {
      rule.first = recipe_.f;
      rule.last = rows - recipe_.f;
    } else {
      rule.first = (rows - 1) / 2;
      rule.last = rows / 2 + 1;
    }
    return rule;
  }

  /// The weights of the vectors that were read.
  std::vector<Term> terms_of(const Combination& combination) const {
    std::vector<Term> terms;
    for (std::size_t i = 0; i < combination.weights.size(); ++i) {
      const double weight = combination.weights[i];
      if (weight != 0) terms.push_back({.index = i, .weight = weight});
    }
    if (mix_.empty()) return terms;
    return compose({terms}, mix_)[0];
  }

  const Recipe& recipe_;
  const PassOptions& options_;
  /// Inputs by value.
  std::vector<std::size_t> order_;
  Columns columns_;
  Geometry geometry_;
  /// What the vectors are made of; empty: they are as read.
  Mix mix_;
  Outcome outcome_;
};

}  // namespace

Result<Outcome> aggregate(const Recipe& recipe, std::span<const Input> inputs,
                          std::span<const model::ParameterSpec> layout, std::span<float> out,
                          const PassOptions& options) {
  MH_TRY_VOID(check_recipe(recipe, inputs.size()));
  for (const Input& input : inputs) MH_TRY_VOID(check_size(input, out.size()));
  Aggregation aggregation(recipe, inputs, out.size(), options);
  if (!aggregation.run(out)) return not_finite(inputs, layout, out.size());
  return aggregation.take_outcome();
}

}  // namespace mh::robust
