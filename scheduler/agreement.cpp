// See agreement.h.
#include "scheduler/agreement.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

namespace mh::scheduler {
namespace {

// What was learned is used with so much room; never below the second number, where rounding of a
// few more sums would already count.
constexpr double kLearnedFactor = 10;
constexpr double kLearnedMin = 1e-6;
// Bins of a histogram: relative L2 of 1e-16 to 10.
constexpr int kBinLeast = -64;
constexpr int kBinMost = 4;
constexpr double kLossShare = 1e-3;
constexpr std::uint64_t kCountShare = 100;

int bin_of(double relative_l2) {
  const double bin = std::floor(4 * std::log10(relative_l2));
  return static_cast<int>(
      std::clamp(bin, static_cast<double>(kBinLeast), static_cast<double>(kBinMost)));
}

std::string to_text(const std::map<int, std::uint64_t>& bins) {
  std::string text;
  for (const auto& [bin, count] : bins) {
    if (!text.empty()) text += ' ';
    text += std::to_string(bin) + ":" + std::to_string(count);
  }
  return text;
}

bool read_entry(std::string_view entry, std::map<int, std::uint64_t>& bins) {
  const std::size_t colon = entry.find(':');
  if (colon == std::string_view::npos) return false;
  int bin = 0;
  std::uint64_t count = 0;
  const char* const end = entry.data() + entry.size();
  const auto first = std::from_chars(entry.data(), entry.data() + colon, bin);
  const auto second = std::from_chars(entry.data() + colon + 1, end, count);
  if (first.ec != std::errc{} || second.ec != std::errc{} || second.ptr != end) return false;
  if (bin < kBinLeast || bin > kBinMost) return false;
  bins[bin] = count;
  return true;
}

std::map<int, std::uint64_t> to_bins(std::string_view text) {
  std::map<int, std::uint64_t> bins;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (!read_entry(text.substr(0, end), bins)) return {};
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return bins;
}

}  // namespace

std::string device_class(const HostDescription& description) {
  const std::string kind = description.device.substr(0, description.device.find(':'));
  return (kind.empty() ? "cpu" : kind) + "/" + description.device_model;
}

Agreement::Agreement(AgreementRow row) : row_(std::move(row)), bins_(to_bins(row_.histogram)) {}

void Agreement::add(const Distance& distance) {
  ++row_.pair_count;
  if (distance.relative_l2 <= 0) {
    ++row_.equal_count;
    return;
  }
  ++bins_[bin_of(distance.relative_l2)];
  row_.histogram = to_text(bins_);
  row_.relative_l2_most = std::max(row_.relative_l2_most, distance.relative_l2);
  row_.one_minus_cosine_most = std::max(row_.one_minus_cosine_most, distance.one_minus_cosine);
}

double Agreement::relative_l2_p99() const {
  std::uint64_t beyond = row_.pair_count / 100;
  for (auto bin = bins_.rbegin(); bin != bins_.rend(); ++bin) {
    if (bin->second > beyond) return std::pow(10.0, (bin->first + 1) / 4.0);
    beyond -= bin->second;
  }
  return 0;
}

Tolerance tolerance_of(const ValidationPolicy& policy, const std::string& first_class,
                       const std::string& second_class, const Agreement* learned) {
  const bool is_one_cpu_class = first_class == second_class && first_class.starts_with("cpu/");
  if (policy.is_homogeneous || is_one_cpu_class) return {};
  Tolerance tolerance{policy.relative_l2_max, policy.one_minus_cosine_max};
  if (learned != nullptr && learned->row().pair_count >= kLearnedPairsMin) {
    const double shown = std::max(kLearnedMin, kLearnedFactor * learned->relative_l2_p99());
    tolerance.relative_l2 = std::min(tolerance.relative_l2, shown);
  }
  return tolerance;
}

bool results_agree(const ResultRow& first, const ResultRow& second, std::uint64_t sample_count,
                   const Distance& distance, const Tolerance& tolerance) {
  if (first.update_digest == second.update_digest) {
    if (first.loss_sum == second.loss_sum && first.correct_count == second.correct_count) {
      return true;
    }
    if (tolerance.relative_l2 <= 0) return false;
  }
  // Written so that NaN differs.
  if (!(distance.relative_l2 <= tolerance.relative_l2)) return false;
  if (!(distance.one_minus_cosine <= tolerance.one_minus_cosine)) return false;
  const double most = std::max(std::abs(first.loss_sum), std::abs(second.loss_sum));
  const double room = kLossShare * most + 1e-6 * static_cast<double>(sample_count);
  if (!(std::abs(first.loss_sum - second.loss_sum) <= room)) return false;
  const auto [less, more] = std::minmax(first.correct_count, second.correct_count);
  return more - less <= std::max<std::uint64_t>(1, sample_count / kCountShare);
}

}  // namespace mh::scheduler
