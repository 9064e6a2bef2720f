// See job_messages.h.
#include "server/job_messages.h"

namespace mh::server {
namespace {

v1::JobState to_message(scheduler::JobState state) {
  switch (state) {
    case scheduler::JobState::kRunning:
      return v1::JOB_STATE_RUNNING;
    case scheduler::JobState::kPaused:
      return v1::JOB_STATE_PAUSED;
    case scheduler::JobState::kFinished:
      return v1::JOB_STATE_FINISHED;
    case scheduler::JobState::kCancelled:
      return v1::JOB_STATE_CANCELLED;
    case scheduler::JobState::kFailed:
      return v1::JOB_STATE_FAILED;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

}  // namespace

v1::Evaluation to_message(const scheduler::EvaluationView& evaluation) {
  v1::Evaluation message;
  message.set_step(evaluation.step);
  message.set_split(evaluation.split);
  message.set_loss(evaluation.loss);
  message.set_accuracy(evaluation.accuracy);
  message.set_sample_count(evaluation.sample_count);
  message.set_time_ms(to_unix_ms(evaluation.time));
  return message;
}

v1::Evaluation to_message(const scheduler::EvaluationRow& evaluation) {
  return to_message(scheduler::EvaluationView{evaluation.step, evaluation.split, evaluation.loss,
                                              evaluation.accuracy, evaluation.sample_count,
                                              evaluation.finished});
}

v1::Job to_message(const scheduler::JobView& view) {
  const scheduler::JobRow& row = view.row;
  v1::Job message;
  message.set_id(row.id.value());
  message.set_name(row.name);
  message.set_state(to_message(row.state));
  message.set_state_reason(row.state_reason);
  message.set_step(row.step);
  message.set_step_count(row.step_count);
  message.set_samples_per_step(row.batch);
  message.set_priority(row.priority);
  message.set_dataset(row.dataset);
  message.set_training_loss(row.training_loss);
  message.set_training_accuracy(row.training_accuracy);
  if (view.last_evaluation) *message.mutable_last_evaluation() = to_message(*view.last_evaluation);
  if (view.best_evaluation) *message.mutable_best_evaluation() = to_message(*view.best_evaluation);
  message.set_samples_per_second(view.samples_per_second);
  message.set_active_host_count(view.active_host_count);
  message.set_eta_seconds(view.eta_seconds);
  message.set_created_ms(to_unix_ms(row.created));
  message.set_started_ms(to_unix_ms(row.started));
  message.set_finished_ms(to_unix_ms(row.finished));
  message.set_job_digest(row.job_digest.hex());
  message.set_parameters_digest(row.parameters_digest.hex());
  message.set_version(row.version);
  message.set_waiting_reason(view.waiting_reason);
  return message;
}

v1::StepMetrics to_message(const scheduler::StepRow& step) {
  v1::StepMetrics message;
  message.set_step(step.step);
  message.set_loss(step.loss);
  message.set_accuracy(step.accuracy);
  message.set_gradient_norm(step.gradient_norm);
  message.set_learning_rate(step.learning_rate);
  message.set_time_ms(to_unix_ms(step.finished));
  message.set_parameters_digest(step.parameters_digest.hex());
  return message;
}

v1::ChecksPlan to_message(const scheduler::ChecksReport& checks) {
  v1::ChecksPlan message;
  message.set_mode(std::string(scheduler::mode_word(checks.policy.mode)));
  message.set_quorum(checks.policy.quorum);
  message.set_newcomer_result_count(checks.newcomer_result_count);
  message.set_check_share(checks.policy.check_share_min);
  message.set_extra_share(checks.extra_share);
  message.set_sample_result_count(checks.sample_result_count);
  message.set_results_until_found(checks.results_until_found);
  return message;
}

v1::JobPlan to_message(const scheduler::JobReport& report) {
  v1::JobPlan message;
  for (const scheduler::LayerReport& layer : report.layers) {
    v1::LayerRow& row = *message.add_layers();
    row.set_name(layer.name);
    row.set_description(layer.description);
    for (const auto size : layer.output_shape)
      row.add_output_shape(static_cast<std::uint64_t>(size));
    row.set_parameter_count(layer.parameter_count);
    row.set_forward_flops(layer.forward_flops);
  }
  message.set_parameter_count(report.parameter_count);
  message.set_update_bytes(report.update_bytes);
  message.set_samples_per_step(report.samples_per_step);
  message.set_workunits_per_step(report.workunits_per_step);
  message.set_step_count(report.step_count);
  message.set_pass_count(report.pass_count);
  message.set_flops_per_sample(report.flops_per_sample);
  for (const scheduler::TimeReport& estimate : report.estimates) {
    v1::TimeEstimate& row = *message.add_estimates();
    row.set_volunteer_count(estimate.volunteer_count);
    row.set_seconds(estimate.seconds);
    row.set_limited_by(std::string(estimate.limited_by));
  }
  *message.mutable_checks() = to_message(report.checks);
  return message;
}

v1::JobProblem to_message(const scheduler::Problem& problem) {
  v1::JobProblem message;
  message.set_line(problem.line);
  message.set_column(problem.column);
  message.set_path(problem.path);
  message.set_message(problem.message);
  return message;
}

v1::HostContribution to_message(const scheduler::Contribution& contribution) {
  const scheduler::ContributionRow& row = contribution.row;
  v1::HostContribution message;
  message.set_agreed_count(row.agreed_count);
  message.set_differed_count(row.differed_count);
  message.set_credit_held(row.credit_held);
  message.set_credit_forfeited(row.credit_forfeited);
  message.set_undone_count(row.undone_count);
  message.set_host_id(row.host.value());
  message.set_host_name(contribution.host_name);
  message.set_trusted(contribution.is_trusted);
  message.set_valid_count(row.valid_count);
  message.set_rejected_count(row.rejected_count);
  message.set_failed_count(row.failed_count);
  message.set_lost_count(row.lost_count);
  message.set_reissued_count(row.reissued_count);
  message.set_evaluation_count(row.evaluation_count);
  message.set_sample_count(row.sample_count);
  message.set_upload_bytes(row.upload_bytes);
  message.set_download_bytes(row.download_bytes);
  message.set_credit(row.credit);
  return message;
}

v1::JobLogEntry to_message(const scheduler::JobLogRow& entry) {
  v1::JobLogEntry message;
  message.set_time_ms(to_unix_ms(entry.time));
  message.set_step(entry.step);
  message.set_text(entry.text);
  return message;
}

}  // namespace mh::server
