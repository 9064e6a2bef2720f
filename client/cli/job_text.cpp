// See job_text.h.
#include "client/cli/job_text.h"

#include <cmath>

#include "client/cli/table.h"

namespace mh::cli {

namespace v1 = manyhands::v1;

namespace {

constexpr auto kRight = Table::Align::kRight;

std::string line(std::string label, const std::string& value) {
  label.resize(14, ' ');
  return label + printable(value) + "\n";
}

std::string of_text(std::uint64_t part, std::uint64_t whole) {
  return with_commas(part) + " of " + with_commas(whole);
}

std::string evaluation_text(const v1::Evaluation& evaluation) {
  return evaluation.split() + " accuracy " + accuracy_text(evaluation.accuracy()) + ", loss " +
         decimal(evaluation.loss(), 4) + " after step " + with_commas(evaluation.step()) + " (" +
         with_commas(evaluation.sample_count()) + " samples)";
}

std::string flops_text(double flops) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P"};
  std::size_t unit = 0;
  while (flops >= 1000 && unit + 1 < std::size(kUnits)) {
    flops /= 1000;
    ++unit;
  }
  return decimal(flops, unit == 0 ? 0 : 1) + " " + kUnits[unit] + "FLOP";
}

}  // namespace

std::string state_text(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_RUNNING:
      return "running";
    case v1::JOB_STATE_PAUSED:
      return "paused";
    case v1::JOB_STATE_FINISHED:
      return "finished";
    case v1::JOB_STATE_CANCELLED:
      return "cancelled";
    case v1::JOB_STATE_FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

std::string accuracy_text(double accuracy) {
  return accuracy >= 0 ? decimal(accuracy, 4) : std::string("—");
}

std::string job_table(const v1::ListJobsResponse& jobs) {
  Table table({{"ID", kRight},
               {"NAME"},
               {"STATE"},
               {"STEP", kRight},
               {"LOSS", kRight},
               {"ACCURACY", kRight},
               {"SAMPLES/S", kRight},
               {"VOLUNTEERS", kRight},
               {"PRIORITY", kRight},
               {"ETA", kRight}});
  for (const v1::Job& job : jobs.jobs()) {
    const bool is_running = job.state() == v1::JOB_STATE_RUNNING;
    table.add_row(
        {std::to_string(job.id()), job.name(), state_text(job.state()),
         of_text(job.step(), job.step_count()),
         job.step() > 0 ? decimal(job.training_loss(), 4) : "—",
         job.has_last_evaluation() ? accuracy_text(job.last_evaluation().accuracy()) : "—",
         is_running ? with_commas(static_cast<std::uint64_t>(job.samples_per_second())) : "—",
         is_running ? std::to_string(job.active_host_count()) : "—", std::to_string(job.priority()),
         is_running ? duration_text(job.eta_seconds()) : "—"});
  }
  return table.is_empty() ? "No jobs; 'manyhands job submit FILE' starts one.\n" : table.text();
}

std::string job_text(const v1::Job& job, const v1::JobPlan& plan) {
  std::string text = line("job", std::to_string(job.id()) + " '" + job.name() + "'");
  text += line("state", state_text(job.state()) +
                            (job.state_reason().empty() ? "" : ": " + job.state_reason()));
  if (!job.waiting_reason().empty()) text += line("waits", job.waiting_reason());
  text += line("step", of_text(job.step(), job.step_count()) + ", " +
                           with_commas(job.samples_per_step()) + " samples each");
  text += line("data set", job.dataset());
  text += line("priority", std::to_string(job.priority()));
  if (job.step() > 0)
    text += line("training", "loss " + decimal(job.training_loss(), 4) + ", accuracy " +
                                 accuracy_text(job.training_accuracy()));
  if (job.has_last_evaluation()) text += line("evaluation", evaluation_text(job.last_evaluation()));
  if (job.has_best_evaluation()) text += line("best", evaluation_text(job.best_evaluation()));
  if (job.state() == v1::JOB_STATE_RUNNING)
    text += line("speed", with_commas(static_cast<std::uint64_t>(job.samples_per_second())) +
                              " samples/s by " + std::to_string(job.active_host_count()) +
                              " volunteers; still " + duration_text(job.eta_seconds()));
  text += line("created", time_text(job.created_ms()) + " UTC");
  text += line("started", time_text(job.started_ms()) + " UTC");
  if (job.finished_ms() > 0)
    text +=
        line("ended",
             time_text(job.finished_ms()) + " UTC, after " +
                 duration_text(static_cast<double>(job.finished_ms() - job.started_ms()) / 1000));
  text += line("parameters", job.parameters_digest());
  return text + "\n" + plan_text(plan);
}

std::string checks_text(const v1::ChecksPlan& checks) {
  if (checks.mode() == "none") return "none: the first result that passes the screens counts";
  std::string text = checks.mode() + ", quorum " + std::to_string(checks.quorum()) + ": ";
  if (checks.mode() == "all") {
    text += "each result is confirmed by another host's";
  } else {
    text += "a new host's first " + with_commas(checks.newcomer_result_count()) +
            " results, then at least " + decimal(checks.check_share() * 100, 1) + " %";
  }
  text += "; " + decimal(checks.extra_share() * 100, 1) + " % more computing for a host of " +
          with_commas(checks.sample_result_count()) + " results";
  if (checks.results_until_found() > 1) {
    text += "; a cheat is found after " + decimal(checks.results_until_found(), 0) +
            " results on average, whose credit is held back until then";
  }
  return text;
}

std::string plan_text(const v1::JobPlan& plan) {
  Table layers({{"LAYER"}, {"KIND"}, {"OUTPUT"}, {"PARAMETERS", kRight}, {"FORWARD", kRight}});
  for (const v1::LayerRow& layer : plan.layers())
    layers.add_row({layer.name(), layer.description(), shape_text(layer.output_shape()),
                    with_commas(layer.parameter_count()), flops_text(layer.forward_flops())});
  std::string text = layers.text() + "\n";
  text += line("parameters", with_commas(plan.parameter_count()));
  text += line("update", bytes_text(static_cast<double>(plan.update_bytes())) +
                             " per workunit, up; as much down per step");
  text += line("step", with_commas(plan.samples_per_step()) + " samples in " +
                           with_commas(plan.workunits_per_step()) + " workunits");
  text += line("steps", with_commas(plan.step_count()) + " (" + decimal(plan.pass_count(), 2) +
                            " passes over the training split)");
  text += line("cost", flops_text(plan.flops_per_sample()) + " per sample, " +
                           flops_text(plan.flops_per_sample() *
                                      static_cast<double>(plan.samples_per_step()) *
                                      static_cast<double>(plan.step_count())) +
                           " in all");
  text += line("checks", checks_text(plan.checks()));
  if (plan.estimates().empty()) return text;
  Table estimates({{"VOLUNTEERS", kRight}, {"ABOUT", kRight}, {"LIMITED BY"}});
  for (const v1::TimeEstimate& estimate : plan.estimates())
    estimates.add_row({with_commas(estimate.volunteer_count()), duration_text(estimate.seconds()),
                       estimate.limited_by()});
  return text + "\n" + estimates.text();
}

std::string tolerance_text(const v1::GetJobToleranceResponse& reply) {
  if (reply.agreements().empty()) {
    return "No pair of reliable hosts has been compared yet. Until 20 pairs of two device classes "
           "have, the limits of the job file hold; CPUs of one class must agree to the bit.\n";
  }
  Table table({{"DEVICE CLASS"},
               {"DEVICE CLASS"},
               {"PAIRS", kRight},
               {"BIT-EQUAL", kRight},
               {"REL L2 MOST", kRight},
               {"1-COS MOST", kRight},
               {"REL L2 ALLOWED", kRight}});
  std::string histograms;
  for (const v1::Agreement& one : reply.agreements()) {
    table.add_row({one.first_class(), one.second_class(), with_commas(one.pair_count()),
                   with_commas(one.equal_count()), scientific(one.relative_l2_most()),
                   scientific(one.one_minus_cosine_most()),
                   one.relative_l2_max() > 0 ? scientific(one.relative_l2_max()) : "bits"});
    if (!one.histogram().empty()) {
      histograms +=
          printable(one.first_class() + " and " + one.second_class()) +
          ", pairs by 4 log10 of their relative L2 distance: " + printable(one.histogram()) + "\n";
    }
  }
  return table.text() + (histograms.empty() ? "" : "\n" + histograms);
}

std::string summary_text(const v1::GetJobSummaryResponse& summary) {
  Table table({{"HOST", kRight},
               {"NAME"},
               {"TRUSTED"},
               {"VALID", kRight},
               {"REJECTED", kRight},
               {"FAILED", kRight},
               {"LOST", kRight},
               {"RE-ISSUED", kRight},
               {"CHECKS", kRight},
               {"WRONG", kRight},
               {"EVALUATIONS", kRight},
               {"SAMPLES", kRight},
               {"UP", kRight},
               {"DOWN", kRight},
               {"CREDIT/GFLOP", kRight},
               {"HELD", kRight}});
  for (const v1::HostContribution& host : summary.hosts())
    table.add_row({std::to_string(host.host_id()), host.host_name(), host.trusted() ? "yes" : "no",
                   with_commas(host.valid_count()), with_commas(host.rejected_count()),
                   with_commas(host.failed_count()), with_commas(host.lost_count()),
                   with_commas(host.reissued_count()), with_commas(host.agreed_count()),
                   with_commas(host.differed_count()), with_commas(host.evaluation_count()),
                   with_commas(host.sample_count()),
                   bytes_text(static_cast<double>(host.upload_bytes())),
                   bytes_text(static_cast<double>(host.download_bytes())),
                   decimal(host.credit(), 1), decimal(host.credit_held(), 1)});
  const v1::Job& job = summary.job();
  std::string text = "Job " + std::to_string(job.id()) + " '" + printable(job.name()) +
                     "': " + state_text(job.state()) + ", step " +
                     of_text(job.step(), job.step_count()) + ", " +
                     duration_text(summary.training_seconds()) + " of training\n";
  if (job.has_last_evaluation()) text += printable(evaluation_text(job.last_evaluation())) + "\n";
  text += "\n" + table.text() + "\n";
  const bool is_exact =
      summary.samples_counted() + summary.samples_removed() == summary.samples_expected() &&
      summary.samples_doubled() == 0 && summary.samples_missing() == summary.samples_removed();
  const std::string removed =
      summary.samples_removed() == 0
          ? ""
          : " (" + with_commas(summary.samples_removed()) + " taken out by rewinds)";
  text += "Samples: " + with_commas(summary.samples_counted()) + " counted, " +
          with_commas(summary.samples_expected()) + " expected (" + with_commas(job.step()) +
          " steps × " + with_commas(job.samples_per_step()) +
          "); counted twice: " + with_commas(summary.samples_doubled()) +
          ", missing: " + with_commas(summary.samples_missing()) + removed +
          (is_exact ? ". Each was counted exactly once.\n" : ". THIS IS NOT EXACT.\n");
  text += "Computed in vain, because a copy was faster: " + decimal(summary.wasted_gflop(), 1) +
          " GFLOP, " + decimal(summary.wasted_share() * 100, 1) +
          " % of all work (backups may waste " + decimal(summary.backup_share_max() * 100, 0) +
          " % of what is validated).\n";
  text += "Computed to check others: " + decimal(summary.checked_gflop(), 1) +
          " GFLOP; found wrong by checks: " + decimal(summary.differed_gflop(), 1) + " GFLOP.\n";
  return text;
}

std::string progress_text(const v1::Job& job) {
  std::string text = "step " + of_text(job.step(), job.step_count());
  if (job.step() > 0) text += "  loss " + decimal(job.training_loss(), 4);
  if (job.has_last_evaluation())
    text += "  " + printable(job.last_evaluation().split()) + " accuracy " +
            accuracy_text(job.last_evaluation().accuracy());
  if (job.state() != v1::JOB_STATE_RUNNING) return text + "  " + state_text(job.state());
  text += "  " + with_commas(static_cast<std::uint64_t>(job.samples_per_second())) +
          " samples/s  " + std::to_string(job.active_host_count()) + " volunteers";
  if (job.eta_seconds() >= 0) text += "  ETA " + duration_text(job.eta_seconds());
  if (!job.waiting_reason().empty()) text += "  (" + printable(job.waiting_reason()) + ")";
  return text;
}

std::string problems_text(const std::string& file, const v1::CheckJobResponse& reply) {
  std::string text;
  for (const v1::JobProblem& problem : reply.problems()) {
    text += file;
    if (problem.line() > 0)
      text += ":" + std::to_string(problem.line()) + ":" + std::to_string(problem.column());
    text += ": ";
    if (!problem.path().empty()) text += printable(problem.path()) + ": ";
    text += printable(problem.message()) + "\n";
  }
  return text;
}

}  // namespace mh::cli
