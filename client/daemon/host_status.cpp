// What the client does and why, in words. See host_core.h.
#include "client/daemon/host_core.h"

namespace mh::client {

HostStatus HostCore::status() const {
  HostStatus status;
  bool is_computing = false;
  for (const ResultId result : order_) {
    const Work& work = work_.at(result);
    is_computing = is_computing || work.state == WorkState::kComputing;
    const Assignment& assignment = work.assignment;
    status.work.push_back({.result = result,
                           .job = assignment.job,
                           .job_name = assignment.job_name,
                           .step = assignment.step,
                           .state = work.state,
                           .samples_done = work.samples_done,
                           .samples = assignment.end - assignment.begin});
  }
  status.activity = mode_ == Mode::kStopping || mode_ == Mode::kExited ? "stopping"
                    : is_paused_                                       ? "paused"
                    : mode_ == Mode::kFinishing                        ? "finishing"
                    : is_computing                                     ? "computing"
                                                                       : "waiting";
  status.sentence = describe();
  status.server_reachable = !is_server_away_;
  status.trainer_ready = trainer_state_ == TrainerState::kReady;
  status.trainer = trainer_;
  status.valid_count = valid_count_;
  status.rejected_count = rejected_count_;
  status.failed_count = failed_count_;
  status.pending_count = pending_count_;
  status.credit = credit_;
  status.credit_held = credit_held_;
  status.notice = notice_;
  status.undelivered_count = undelivered_count();
  status.undelivered_bytes = undelivered_bytes();
  return status;
}

std::string HostCore::describe() const {
  const Work* computing = nullptr;
  const Work* other = nullptr;
  for (const ResultId result : order_) {
    const Work& work = work_.at(result);
    if (work.state == WorkState::kComputing && computing == nullptr) computing = &work;
    if (other == nullptr) other = &work;
  }
  const std::string server = is_refused_ ? "the server refuses this host: " + server_problem_
                             : is_server_away_
                                 ? "server not reachable (" + server_problem_ + "), retrying"
                                 : "";
  if (mode_ == Mode::kStopping || mode_ == Mode::kExited) return "stopping";
  if (is_paused_) return "paused by the volunteer; 'manyhands-client resume' goes on";
  if (computing != nullptr) {
    const Assignment& assignment = computing->assignment;
    return "computing on " + trainer_.device + ": job '" + assignment.job_name + "', step " +
           std::to_string(assignment.step) + ", result " + to_string(assignment.result) +
           (server.empty() ? "" : "; " + server);
  }
  if (!server.empty()) return server;
  if (!trainer_problem_.empty()) return trainer_problem_ + "; it is started again";
  if (trainer_state_ != TrainerState::kReady) return "the trainer is starting";
  if (has_too_much_undelivered())
    return "no new work while " + std::to_string(undelivered_count()) +
           " finished results wait to be delivered";
  if (other != nullptr)
    return std::string(work_state_name(other->state)) + " result " +
           to_string(other->assignment.result);
  if (mode_ == Mode::kFinishing) return "finished: nothing is left to do";
  return "waiting for work" + (no_work_reason_.empty() ? "" : ": " + no_work_reason_);
}

}  // namespace mh::client
