// How a job's results are checked against each other: part of the job file, kept with the job.
// The rules that use it are 20 to 24 of coordinator.h. Plain values, no threads.
#pragma once

#include <cstdint>
#include <string_view>

namespace mh::scheduler {

enum class ValidationMode : std::uint8_t {
  // Screens only: the first result counts.
  kNone = 1,
  // Newcomers always, hosts with a record now and then.
  kAdaptive = 2,
  // Every result of a host that no admin trusts.
  kAll = 3,
};

// How a job's results are checked against each other (rules 20 to 23).
struct ValidationPolicy {
  ValidationMode mode = ValidationMode::kNone;
  // Results that must agree where one is checked, itself included.
  std::uint32_t quorum = 2;
  // Least share of the results of a host with a record that is checked.
  double check_share_min = 0.05;
  // Only hosts of one device class check each other, and bits must agree.
  bool is_homogeneous = false;
  // Largest relative L2 distance and 1 - cosine of results that agree, until measured pairs say
  // more.
  double relative_l2_max = 0.02;
  double one_minus_cosine_max = 1e-3;

  friend bool operator==(const ValidationPolicy&, const ValidationPolicy&) = default;
};

enum class EvaluationState : std::uint8_t {
  kPending = 1,
  kDone = 2,
  // Too many were pending, or the job ended.
  kSkipped = 3,
};

// As job files and messages write it.
constexpr std::string_view mode_word(ValidationMode mode) {
  constexpr std::string_view kWords[] = {"", "none", "adaptive", "all"};
  return kWords[static_cast<int>(mode)];
}

// Of a job file that says nothing about it.
inline constexpr ValidationPolicy kUsualValidation{.mode = ValidationMode::kAdaptive};
// Limits of a job file.
inline constexpr std::uint32_t kQuorumMax = 5;

}  // namespace mh::scheduler
