// What `manyhands verify` found, as values and in words. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/gradient_audit.h"
#include "client/cli/record_audit.h"

namespace mh::cli {

struct VerifyReport {
  std::string job_name;
  std::string job_digest;
  /// Records that are right.
  std::uint64_t record_count = 0;
  std::uint64_t first_step = 0;
  std::uint64_t steps_done = 0;
  std::uint64_t rewinds = 0;
  std::string head;
  std::string key;
  bool is_key_given = false;
  /// Steps taken again and right, and the updates that were looked at.
  std::uint64_t again = 0;
  std::uint64_t updates = 0;
  /// Steps checked by their chain only; left out by --steps.
  std::uint64_t chain_only = 0;
  std::uint64_t left_out = 0;
  GradientCounts gradients;
  /// Only with --recompute.
  bool has_gradients = false;
  std::uint64_t seed = 0;
  double tolerance = 0;
  std::vector<AuditFinding> findings;
};

/// For people, and for scripts.
std::string report_text(const VerifyReport& report);
std::string report_json(const VerifyReport& report);

}  // namespace mh::cli
