// When do two results agree: equal bits within one class of CPUs, else a distance within what
// honest pairs of their device classes have shown (rule 21). Pure functions and small values.
//
// Flow: the shell measures a Distance -> results_agree() -> checks.cpp; pairs of reliable hosts
// that agree are learned from (Agreements::add).
// *Rationale:* no single threshold fits all models and devices (kinks amplify rounding some
// hundredfold), and a threshold that a host could claim is no threshold.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "scheduler/events.h"
#include "scheduler/rows.h"

namespace mh::scheduler {

// "cpu/AMD EPYC 7B13": hosts of one class are expected to agree to the bit where it is a CPU's.
std::string device_class(const HostDescription& description);

struct Tolerance {
  // 0: bits must agree.
  double relative_l2 = 0;
  double one_minus_cosine = 0;
};

// What pairs of two device classes have shown: a row, and its histogram read.
class Agreement {
 public:
  Agreement() = default;
  // A damaged histogram counts as empty: it is learned again.
  explicit Agreement(AgreementRow row);

  const AgreementRow& row() const { return row_; }
  void add(const Distance& distance);
  // The distance that 99 of 100 pairs keep, from above; 0 when all were equal.
  double relative_l2_p99() const;

 private:
  AgreementRow row_;
  // Pairs by floor(4 × log10(relative L2)).
  std::map<int, std::uint64_t> bins_;
};

// Pairs needed before what they show is used.
inline constexpr std::uint64_t kLearnedPairsMin = 20;

// `learned` may be null. Of a policy's limits and what was learned, the stricter.
Tolerance tolerance_of(const ValidationPolicy& policy, const std::string& first_class,
                       const std::string& second_class, const Agreement* learned);

// What the two reports say beside the update; losses may differ by a thousandth, counts by one in a
// hundred; not at all where bits must agree.
bool results_agree(const ResultRow& first, const ResultRow& second, std::uint64_t sample_count,
                   const Distance& distance, const Tolerance& tolerance);

}  // namespace mh::scheduler
