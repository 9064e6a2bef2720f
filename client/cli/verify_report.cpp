// See verify_report.h.
#include "client/cli/verify_report.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "client/cli/table.h"
#include "trainer/model/words.h"

namespace mh::cli {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const AuditFinding& found) {
  Json json = {{"what", found.what}, {"digest", found.digest}, {"problem", found.problem}};
  if (found.step) json["step"] = *found.step;
  if (found.shard) json["shard"] = *found.shard;
  return json;
}

}  // namespace

std::string report_json(const VerifyReport& report) {
  Json findings = Json::array();
  for (const AuditFinding& found : report.findings) findings.push_back(to_json(found));
  Json json = {{"right", report.findings.empty()},  {"job", report.job_name},
               {"job_digest", report.job_digest},   {"public_key", report.key},
               {"records", report.record_count},    {"head", report.head},
               {"first_step", report.first_step},   {"steps", report.steps_done},
               {"rewinds", report.rewinds},         {"steps_taken_again", report.again},
               {"updates_checked", report.updates}, {"steps_by_chain_only", report.chain_only},
               {"steps_left_out", report.left_out}};
  if (report.has_gradients) {
    json["gradients"] = {{"computed", report.gradients.computed},
                         {"equal", report.gradients.equal},
                         {"within_tolerance", report.gradients.within},
                         {"distance_max", report.gradients.distance_max},
                         {"tolerance", report.tolerance},
                         {"seed", report.seed}};
  }
  json["findings"] = std::move(findings);
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string report_text(const VerifyReport& report) {
  std::ostringstream out;
  if (!report.job_name.empty())
    out << "Job " << printable(report.job_name) << ", specification " << report.job_digest << "\n";
  out << "  key        " << report.key
      << (report.is_key_given ? "\n" : " (the server's word: --key KEY insists on one)\n");
  if (report.record_count > 0)
    out << "  records    " << with_commas(report.record_count) << " signed and chained, steps "
        << report.first_step << " to " << report.steps_done - 1 << "; the newest is " << report.head
        << "\n";
  if (report.first_step > 0) out << "             the server kept no records of the steps before\n";
  if (report.rewinds > 0) out << "             " << report.rewinds << " rewinds took steps back\n";
  out << "  steps      " << with_commas(report.again) << " taken again from "
      << with_commas(report.updates) << " updates, equal in every bit\n"
      << "             " << with_commas(report.chain_only)
      << " checked by their chain only: their updates are no longer kept\n";
  if (report.left_out > 0)
    out << "             " << with_commas(report.left_out) << " left out by --steps\n";
  if (report.has_gradients)
    out << "  gradients  " << with_commas(report.gradients.computed) << " computed again (--seed "
        << report.seed << "): " << with_commas(report.gradients.equal) << " equal in every bit, "
        << with_commas(report.gradients.within) << " within the relative distance "
        << model::number_text(report.tolerance) << " (at most "
        << model::number_text(report.gradients.distance_max) << ")\n";
  for (const AuditFinding& found : report.findings)
    out << "WRONG: " << printable(found.text()) << "\n";
  if (report.findings.empty()) out << "Everything that could be checked is right.\n";
  return out.str();
}

}  // namespace mh::cli
