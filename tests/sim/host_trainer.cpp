// See host.h. Here: the trainer, which takes its time and sometimes fails, and what became of the
// time it spent.
#include <algorithm>
#include <limits>

#include "tests/sim/digests.h"
#include "tests/sim/host.h"

namespace mh::sim {
namespace {

milliseconds to_ms(double seconds) {
  constexpr double kSecondsMax = 2.6e6;
  return milliseconds(static_cast<std::int64_t>(std::min(seconds, kSecondsMax) * 1000));
}

}  // namespace

void Host::act(const client::StartTrainer&) {
  const double seconds = trainer_.exponential(environment_.scenario.trainer_start);
  schedule(EventKind::kTrainerReady, to_ms(seconds), ++trainer_serial_);
}

void Host::act(const client::StopTrainer&) {
  for (const Computing& lost : computing_) {
    if (lost.began != TimePoint{}) waste(lost.assignment.result, false);
  }
  computing_.clear();
  is_trainer_ready_ = false;
  ++trainer_serial_;
}

void Host::trainer_ready(const Event& event) {
  if (event.subject != trainer_serial_) return;
  is_trainer_ready_ = true;
  perform(core_->trainer_ready(clock(), {"cpu", "simulated", 1, ""}));
}

void Host::act(const client::SendCompute& action) {
  for (const Computing& other : computing_) {
    if (other.assignment.result == action.assignment.result) {
      throw Violation(
          "client", "result " + to_string(other.assignment.result) + " is with the trainer twice");
    }
  }
  if (records_.contains(action.assignment.result)) {
    throw Violation("client", "result " + to_string(action.assignment.result) +
                                  " is computed again though it is recorded");
  }
  Computing next;
  next.assignment = action.assignment;
  computing_.push_back(std::move(next));
  if (computing_.size() == 1) compute_next();
}

void Host::act(const client::SendCancel& action) {
  if (computing_.empty()) return;
  const bool is_first = computing_.front().assignment.result == action.result;
  if (is_first) waste(action.result, true);
  std::erase_if(computing_,
                [&](const Computing& one) { return one.assignment.result == action.result; });
  if (is_first) compute_next();
}

// Begins with the first of the queue.
void Host::compute_next() {
  if (computing_.empty()) return;
  const Scenario& scenario = environment_.scenario;
  Computing& next = computing_.front();
  next.serial = ++trainer_serial_;
  next.began = environment_.events.now();
  const SimJob* job = environment_.job(next.assignment.job);
  const auto samples = static_cast<double>(next.assignment.end - next.assignment.begin);
  const bool is_gradient = next.assignment.kind == client::WorkKind::kGradient;
  const double flops =
      is_gradient ? job->submission.training_flops : job->submission.evaluation_flops;
  double seconds = samples * flops / 1e9 / profile_.gflops * trainer_.log_normal(1, scenario.noise);
  const double luck = trainer_.uniform();
  const double share = trainer_.uniform();
  next.fate = Fate::kDone;
  if (!environment_.is_healed) {
    if (luck < scenario.trainer_crash) {
      next.fate = Fate::kTrainerEnds;
    } else if (luck < scenario.trainer_crash + scenario.trainer_failure) {
      next.fate = Fate::kFailed;
    } else if (luck < scenario.trainer_crash + scenario.trainer_failure + scenario.abandoned) {
      next.fate = Fate::kHostEnds;
    }
  }
  if (next.fate != Fate::kDone) seconds *= share;
  const EventKind kind =
      next.fate == Fate::kTrainerEnds ? EventKind::kTrainerEnded : EventKind::kTrainerDone;
  schedule(kind, to_ms(seconds), next.serial);
}

void Host::trainer_ended(const Event& event) {
  if (computing_.empty() || event.subject != computing_.front().serial) return;
  for (const Computing& lost : computing_) {
    if (lost.began != TimePoint{}) waste(lost.assignment.result, false);
  }
  computing_.clear();
  is_trainer_ready_ = false;
  perform(core_->trainer_ended(clock(), "signal 9"));
}

void Host::computed(const Event& event) {
  if (computing_.empty() || event.subject != computing_.front().serial) return;
  const Computing done = std::move(computing_.front());
  if (done.fate == Fate::kHostEnds) {
    computing_.front() = done;
    return kill();
  }
  computing_.pop_front();
  const milliseconds spent = environment_.events.now() - done.began;
  const double seconds = static_cast<double>(spent.count()) / 1000;
  environment_.counts.computing_seconds += seconds;
  const ResultId result = done.assignment.result;
  compute_next();
  if (done.fate == Fate::kFailed) {
    environment_.counts.wasted_seconds += seconds;
    return perform(core_->trainer_failed(clock(), result, "the trainer failed"));
  }
  seconds_[result] = seconds;
  perform(core_->trainer_done(clock(), result_of(done.assignment)));
}

// The same numbers on every host, unless they are wrong.
client::TrainerDone Host::result_of(const client::Assignment& assignment) {
  const Scenario& scenario = environment_.scenario;
  const SimJob& job = *environment_.job(assignment.job);
  const std::uint64_t samples = assignment.end - assignment.begin;
  const std::uint64_t key =
      derive_key(first_word(assignment.parameters_digest), job.seed, assignment.begin);
  client::TrainerDone done;
  done.result = assignment.result;
  done.loss_sum = uniform_double(key) * static_cast<double>(samples);
  done.correct_count = key % (samples + 1);
  done.compute_ms = 1;
  const bool is_wrong = trainer_.chance(scenario.wrong) || profile_.is_bad;
  const bool is_seen = trainer_.chance(scenario.wrong_seen);
  const bool counts = is_wrong && !environment_.is_healed;
  // Screening finds it in the update; in half of the cases the loss says so, too.
  const bool is_seen_in_loss = is_seen && trainer_.chance(0.5);
  if (counts) done.loss_sum = is_seen_in_loss ? std::numeric_limits<double>::quiet_NaN() : 1e9;
  if (assignment.kind == client::WorkKind::kEvaluation) return done;
  done.update_bytes = job.parameter_bytes;
  done.update_digest = blob_name(BlobPurpose::kUpdate, first_word(assignment.parameters_digest),
                                 job.seed, assignment.begin);
  if (counts) {
    done.update_digest = blob_name(BlobPurpose::kWrongUpdate, assignment.result.value(), job.seed);
    environment_.wrong_updates.insert(done.update_digest);
    if (is_seen) wrong_blobs_.insert(done.update_digest);
  }
  return done;
}

// ---- What became of it ----

void Host::waste(ResultId result, bool by_backup) {
  WorldCounts& counts = environment_.counts;
  double seconds = 0;
  if (const auto found = seconds_.find(result); found != seconds_.end()) {
    seconds = found->second;
    seconds_.erase(found);
  } else if (!computing_.empty() && computing_.front().assignment.result == result) {
    const milliseconds spent = environment_.events.now() - computing_.front().began;
    seconds = static_cast<double>(spent.count()) / 1000;
    counts.computing_seconds += seconds;
  }
  counts.wasted_seconds += seconds;
  if (by_backup) counts.backup_seconds += seconds;
  ++counts.results_wasted;
}

void Host::note_verdicts(const client::ExchangeReply& reply) {
  for (const client::Verdict& verdict : reply.verdicts) {
    const auto found = seconds_.find(verdict.result);
    if (found == seconds_.end()) continue;
    if (verdict.kind == client::VerdictKind::kValid) {
      ++environment_.counts.results_valid;
      seconds_.erase(found);
    } else {
      waste(verdict.result, verdict.kind == client::VerdictKind::kTooLate);
    }
  }
}

}  // namespace mh::sim
