// JobService: check, submit, watch and steer jobs.
#include <algorithm>

#include "manyhands/v1/job.pb.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "scheduler/job_check.h"
#include "server/handler.h"
#include "server/handlers.h"
#include "server/job_messages.h"
#include "server/job_submission.h"

namespace mh::server {
namespace {

constexpr std::size_t kRequestIdBytesMax = 64;
constexpr std::uint64_t kPointsMax = 10'000;
constexpr std::uint64_t kLogEntriesDefault = 100;
constexpr std::uint64_t kLogEntriesMax = 1'000;
constexpr std::uint32_t kPriorityMax = 100;
// How often a submission is prepared again when an equal blob was deleted meanwhile.
constexpr int kPrepareAttempts = 3;

Result<scheduler::JobView> find_job(Core& core, std::uint64_t id) {
  auto view = core.coordinator().job(JobId(id), core.now());
  if (!view) return no_such_job(id);
  return *std::move(view);
}

asio::awaitable<Result<v1::CheckJobResponse>> check_job(Core& core, net::CallContext context,
                                                        v1::CheckJobRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  const JobFile file = co_await read_job_file(core, request.yaml());
  v1::CheckJobResponse response;
  for (const scheduler::Problem& problem : file.problems)
    *response.add_problems() = to_message(problem);
  if (file.checked) {
    scheduler::VolunteerSpeed speed;
    if (request.volunteer_gflops() > 0) speed.gflops = request.volunteer_gflops();
    if (request.download_mbits() > 0) speed.download_mbits = request.download_mbits();
    if (request.upload_mbits() > 0) speed.upload_mbits = request.upload_mbits();
    *response.mutable_plan() = to_message(scheduler::job_report(*file.spec, *file.checked, speed));
    response.set_name(file.spec->name);
  }
  co_return response;
}

// The job with this id once everything that led to it is on disk.
asio::awaitable<Result<v1::Job>> settled_job(Core& core, JobId id) {
  co_await core.settled();
  MH_CO_TRY(const scheduler::JobView view, find_job(core, id.value()));
  co_return to_message(view);
}

// Submits a checked file. Nothing is awaited between the last look at its blobs and the decision.
asio::awaitable<Result<JobId>> submit(Core& core, Caller caller, JobFile file,
                                      v1::SubmitJobRequest request) {
  const std::string dataset = file.spec->dataset;
  for (int attempt = 1;; ++attempt) {
    MH_CO_TRY(scheduler::JobSubmission submission, co_await prepare_job(core, file));
    submission.request_id = request.request_id();
    const Dataset* present = core.datasets().find(dataset);
    if (present == nullptr || present->row.manifest != file.manifest_digest) {
      co_return fail(Errc::kAborted, "data set \"" + dataset +
                                         "\" was removed or replaced meanwhile: submit again");
    }
    const bool is_whole = core.blobs().contains(submission.job_digest) &&
                          core.blobs().contains(submission.parameters_digest);
    if (!is_whole && attempt < kPrepareAttempts) continue;
    auto decision = core.coordinator().submit_job(submission, core.now());
    Transaction extra;
    if (decision.reply && decision.reply->is_new) {
      core.job_started(decision.reply->job);
      extra = audited(
          core, caller,
          "job " + to_string(decision.reply->job) + " (" + submission.name + ") was submitted");
      extra.job_sources.push_back(
          JobSourceRow{decision.reply->job.value(), request.request_id(), request.yaml(), dataset});
    }
    MH_CO_TRY(const scheduler::Submitted submitted,
              co_await core.settle(std::move(decision), std::move(extra)));
    if (submitted.is_new)
      log_info("job submitted", {{"job", submitted.job}, {"name", submission.name}});
    co_return submitted.job;
  }
}

asio::awaitable<Result<v1::SubmitJobResponse>> submit_job(Core& core, net::CallContext context,
                                                          v1::SubmitJobRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  if (request.request_id().size() > kRequestIdBytesMax) {
    co_return fail(Errc::kInvalidArgument,
                   "request_id: " + std::to_string(request.request_id().size()) +
                       " characters, limit is " + std::to_string(kRequestIdBytesMax));
  }
  v1::SubmitJobResponse response;
  if (const auto job = core.coordinator().job_of_request(request.request_id())) {
    MH_CO_TRY(*response.mutable_job(), co_await settled_job(core, *job));
    co_return response;
  }
  JobFile file = co_await read_job_file(core, request.yaml());
  if (!file.problems.empty()) co_return fail(Errc::kInvalidArgument, problems_text(file.problems));
  MH_CO_TRY(const JobId job, co_await submit(core, caller, std::move(file), std::move(request)));
  MH_CO_TRY(*response.mutable_job(), co_await settled_job(core, job));
  co_return response;
}

asio::awaitable<Result<v1::ListJobsResponse>> list_jobs(Core& core, net::CallContext context,
                                                        v1::ListJobsRequest) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  v1::ListJobsResponse response;
  for (const scheduler::JobView& view : core.coordinator().jobs(core.now()))
    *response.add_jobs() = to_message(view);
  co_return response;
}

asio::awaitable<Result<v1::GetJobResponse>> get_job(Core& core, net::CallContext context,
                                                    v1::GetJobRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  v1::GetJobResponse response;
  const JobId id(request.id());
  MH_CO_TRY(*response.mutable_job(), co_await settled_job(core, id));
  const auto model = co_await core.job_model(id);
  if (model) {
    *response.mutable_plan() = to_message(scheduler::job_report((*model)->spec, (*model)->checked));
  }
  auto read = [&store = core.store(), id] { return store.yaml(id); };
  MH_CO_TRY(*response.mutable_yaml(), co_await net::run_on(core.pool(), std::move(read)));
  co_return response;
}

struct Metrics {
  std::vector<scheduler::StepRow> steps;
  std::vector<scheduler::EvaluationRow> evaluations;
};

Result<Metrics> read_metrics(Store& store, JobId id, std::uint64_t from_step,
                             std::uint64_t points_max) {
  Metrics metrics;
  MH_TRY(metrics.steps, store.steps(id, from_step, points_max));
  MH_TRY(metrics.evaluations, store.evaluations(id));
  return metrics;
}

asio::awaitable<Result<v1::GetJobMetricsResponse>> get_job_metrics(
    Core& core, net::CallContext context, v1::GetJobMetricsRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  MH_CO_TRY_VOID(find_job(core, request.id()));
  const std::uint64_t points_max =
      request.point_count_max() == 0
          ? kPointsMax
          : std::min<std::uint64_t>(request.point_count_max(), kPointsMax);
  auto read = [&store = core.store(), id = JobId(request.id()), from = request.from_step(),
               points_max] { return read_metrics(store, id, from, points_max); };
  MH_CO_TRY(const Metrics metrics, co_await net::run_on(core.pool(), std::move(read)));
  v1::GetJobMetricsResponse response;
  for (const scheduler::StepRow& step : metrics.steps) *response.add_steps() = to_message(step);
  for (const scheduler::EvaluationRow& evaluation : metrics.evaluations) {
    if (evaluation.state == scheduler::EvaluationState::kDone)
      *response.add_evaluations() = to_message(evaluation);
  }
  co_return response;
}

// Owner of a parked call, apart from the numbers of hosts.
std::uint64_t watcher(const Caller& caller) { return caller.account.id | (std::uint64_t{1} << 63); }

asio::awaitable<Result<v1::WatchJobResponse>> watch_job(Core& core, net::CallContext context,
                                                        v1::WatchJobRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  const auto most = hold_time(context, request.max_wait_ms());
  MH_CO_TRY(scheduler::JobView view, find_job(core, request.id()));
  if (view.row.version <= request.after_version() && most.count() > 0) {
    ParkedCalls::Place place(core.parked(), request.id(), watcher(caller), context.ended, most);
    while (view.row.version <= request.after_version() && !place.is_over()) {
      co_await place.wait(most);
      MH_CO_TRY(view, find_job(core, request.id()));
    }
  }
  v1::WatchJobResponse response;
  MH_CO_TRY(*response.mutable_job(), co_await settled_job(core, view.row.id));
  co_return response;
}

v1::Agreement agreement_message(const scheduler::AgreementView& view) {
  v1::Agreement message;
  message.set_first_class(view.row.first_class);
  message.set_second_class(view.row.second_class);
  message.set_pair_count(view.row.pair_count);
  message.set_equal_count(view.row.equal_count);
  message.set_histogram(view.row.histogram);
  message.set_relative_l2_most(view.row.relative_l2_most);
  message.set_one_minus_cosine_most(view.row.one_minus_cosine_most);
  message.set_relative_l2_max(view.relative_l2_max);
  message.set_one_minus_cosine_max(view.one_minus_cosine_max);
  return message;
}

asio::awaitable<Result<v1::GetJobToleranceResponse>> get_job_tolerance(
    Core& core, net::CallContext context, v1::GetJobToleranceRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const JobId id(request.id());
  if (!core.coordinator().job(id, core.now())) co_return no_such_job(request.id());
  v1::GetJobToleranceResponse response;
  for (const scheduler::AgreementView& view : core.coordinator().agreements(id))
    *response.add_agreements() = agreement_message(view);
  co_return response;
}

asio::awaitable<Result<v1::GetJobSummaryResponse>> get_job_summary(
    Core& core, net::CallContext context, v1::GetJobSummaryRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const JobId id(request.id());
  std::vector<scheduler::ContributionRow> stored;
  MH_CO_TRY(const scheduler::JobView view, find_job(core, request.id()));
  if (view.row.finished != TimePoint{}) {
    auto read = [&store = core.store(), id] { return store.contributions(id); };
    MH_CO_TRY(stored, co_await net::run_on(core.pool(), std::move(read)));
  }
  const auto summary = core.coordinator().job_summary(id, core.now(), stored);
  if (!summary) co_return no_such_job(request.id());
  auto count = [&store = core.store(), id, positions = summary->samples_expected] {
    return store.coverage(id, positions);
  };
  MH_CO_TRY(const SampleCoverage coverage, co_await net::run_on(core.pool(), std::move(count)));
  v1::GetJobSummaryResponse response;
  *response.mutable_job() = to_message(summary->job);
  for (const scheduler::Contribution& contribution : summary->hosts)
    *response.add_hosts() = to_message(contribution);
  response.set_samples_counted(summary->samples_counted);
  response.set_samples_expected(summary->samples_expected);
  response.set_samples_doubled(coverage.doubled);
  response.set_samples_missing(coverage.missing);
  response.set_samples_removed(summary->job.row.removed_sample_count);
  response.set_training_seconds(summary->training_seconds);
  response.set_checked_gflop(summary->job.row.checked_gflop);
  response.set_differed_gflop(summary->job.row.differed_gflop);
  response.set_wasted_gflop(summary->wasted_gflop);
  response.set_wasted_share(summary->wasted_share);
  response.set_backup_share_max(summary->backup_share_max);
  co_return response;
}

asio::awaitable<Result<v1::GetJobLogResponse>> get_job_log(Core& core, net::CallContext context,
                                                           v1::GetJobLogRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  MH_CO_TRY_VOID(find_job(core, request.id()));
  const std::uint64_t most =
      request.entry_count_max() == 0
          ? kLogEntriesDefault
          : std::min<std::uint64_t>(request.entry_count_max(), kLogEntriesMax);
  auto read = [&store = core.store(), id = JobId(request.id()), most] {
    return store.log(id, most);
  };
  MH_CO_TRY(const auto entries, co_await net::run_on(core.pool(), std::move(read)));
  v1::GetJobLogResponse response;
  for (const scheduler::JobLogRow& entry : entries) *response.add_entries() = to_message(entry);
  co_return response;
}

Result<scheduler::JobAction> to_action(const v1::UpdateJobRequest& request) {
  switch (request.action()) {
    case v1::JOB_ACTION_PAUSE:
      return scheduler::JobAction::kPause;
    case v1::JOB_ACTION_RESUME:
      return scheduler::JobAction::kResume;
    case v1::JOB_ACTION_CANCEL:
      return scheduler::JobAction::kCancel;
    case v1::JOB_ACTION_SET_PRIORITY:
      break;
    default:
      return fail(Errc::kInvalidArgument,
                  "action: one of JOB_ACTION_PAUSE, JOB_ACTION_RESUME, "
                  "JOB_ACTION_CANCEL, JOB_ACTION_SET_PRIORITY");
  }
  if (request.priority() > kPriorityMax) {
    return fail(Errc::kInvalidArgument, "priority: " + std::to_string(request.priority()) +
                                            ", 0 (least) to 100 are allowed");
  }
  return scheduler::JobAction::kSetPriority;
}

std::string what_of(const v1::UpdateJobRequest& request) {
  switch (request.action()) {
    case v1::JOB_ACTION_PAUSE:
      return "paused";
    case v1::JOB_ACTION_RESUME:
      return "resumed";
    case v1::JOB_ACTION_CANCEL:
      return "cancelled";
    default:
      return "priority is now " + std::to_string(request.priority());
  }
}

asio::awaitable<Result<v1::UpdateJobResponse>> update_job(Core& core, net::CallContext context,
                                                          v1::UpdateJobRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY(const scheduler::JobAction action, to_action(request));
  auto decision =
      core.coordinator().update_job(JobId(request.id()), action, request.priority(), core.now());
  Transaction extra;
  if (decision.reply)
    extra = audited(core, caller, "job " + std::to_string(request.id()) + ": " + what_of(request));
  MH_CO_TRY_VOID(co_await core.settle(std::move(decision), std::move(extra)));
  log_info("job updated", {{"job", request.id()},
                           {"action", v1::JobAction_Name(request.action())},
                           {"by", caller.account.name}});
  v1::UpdateJobResponse response;
  MH_CO_TRY(*response.mutable_job(), co_await settled_job(core, JobId(request.id())));
  co_return response;
}

}  // namespace

void add_job_service(net::ServiceTable& table, Core& core) {
  // A job file of the largest size, written as JSON, with every character escaped.
  const net::MethodOptions with_file{2 * 1024 * 1024, 2 * 1024 * 1024};
  add_call(table, core, "JobService/CheckJob", &check_job, Needs::kNothing, with_file);
  add_call(table, core, "JobService/SubmitJob", &submit_job, Needs::kRoom, with_file);
  add_call(table, core, "JobService/ListJobs", &list_jobs);
  add_call(table, core, "JobService/GetJob", &get_job);
  add_call(table, core, "JobService/GetJobMetrics", &get_job_metrics);
  add_call(table, core, "JobService/WatchJob", &watch_job);
  add_call(table, core, "JobService/GetJobSummary", &get_job_summary);
  add_call(table, core, "JobService/GetJobTolerance", &get_job_tolerance);
  add_call(table, core, "JobService/GetJobLog", &get_job_log);
  add_call(table, core, "JobService/UpdateJob", &update_job, Needs::kStore);
}

}  // namespace mh::server
