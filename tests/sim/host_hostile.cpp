// See host.h. Here: what only hostile hosts do to their calls. The client core knows nothing of it.
#include <algorithm>

#include "tests/sim/digests.h"
#include "tests/sim/host.h"

namespace mh::sim {
namespace {

constexpr double kImpostorChance = 0.3;
constexpr double kRepeatChance = 0.3;
constexpr std::size_t kSaidMax = 8;
// Ids that an impostor guesses from.
constexpr std::uint64_t kGuessedIds = 40;

}  // namespace

void Host::distort(scheduler::ExchangeEvent& event) {
  if (environment_.is_healed) return;
  if (profile_.is_forgetful) event.held.clear();
  if (profile_.is_repeater) {
    const std::size_t own = event.reports.size();
    if (!said_.empty() && hostile_.chance(kRepeatChance)) {
      event.reports.push_back(said_[hostile_.below(said_.size())]);
    }
    for (std::size_t i = 0; i < own; ++i) said_.push_back(event.reports[i]);
    while (said_.size() > kSaidMax) said_.pop_front();
  }
  if (profile_.is_impostor && hostile_.chance(kImpostorChance)) {
    scheduler::Report report;
    report.result = ResultId(1 + hostile_.below(kGuessedIds));
    report.outcome = scheduler::Outcome::kSuccess;
    report.update_digest = blob_name(BlobPurpose::kWrongUpdate, report.result.value());
    report.update_bytes = 1;
    event.reports.push_back(report);
  }
}

}  // namespace mh::sim
