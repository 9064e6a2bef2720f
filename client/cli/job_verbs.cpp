// `manyhands job check|submit|list|show|metrics|log|summary|tolerance|pause|resume|cancel|set`;
// watch and wait are in job_watch.cpp.
#include <algorithm>

#include "client/cli/job_text.h"
#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/job.pb.h"
#include "proto/base/file.h"
#include "proto/base/options.h"
#include "proto/base/random.h"
#include "proto/base/utf8.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint64_t kJobFileBytesMax = 1024 * 1024;
constexpr int kSubmitTries = 3;

Result<std::string> read_job_file(const std::string& path) {
  auto text = read_file(path, kJobFileBytesMax);
  if (!text.has_value())
    return fail(Errc::kInvalidArgument, "job file: " + text.error().message +
                                            (text.error().code == Errc::kResourceExhausted
                                                 ? " (a job file has at most 1 MiB)"
                                                 : ""));
  // Protobuf would refuse it later, without a place.
  if (const auto offset = find_bad_utf8(*text)) {
    const auto line =
        1 + std::count(text->begin(), text->begin() + static_cast<long>(*offset), '\n');
    return fail(Errc::kInvalidArgument,
                path + ":" + std::to_string(line) +
                    ": this line is not UTF-8; save the file in that encoding");
  }
  return text;
}

struct CheckArguments {
  std::string file;
  double gflops = 0;
  double download_mbits = 0;
  double upload_mbits = 0;
};

Result<int> run_check(Context& context, const CheckArguments& arguments) {
  v1::CheckJobRequest request;
  MH_TRY(*request.mutable_yaml(), read_job_file(arguments.file));
  request.set_volunteer_gflops(arguments.gflops);
  request.set_download_mbits(arguments.download_mbits);
  request.set_upload_mbits(arguments.upload_mbits);
  MH_TRY(const auto reply, context.call<v1::CheckJobResponse>("JobService/CheckJob", request));
  if (context.wants_json()) context.print_json(reply);
  if (!reply.problems().empty()) {
    context.err() << problems_text(arguments.file, reply);
    return kExitUsage;
  }
  if (!context.wants_json())
    context.out() << arguments.file << ": job '" << printable(reply.name()) << "' is good\n\n"
                  << plan_text(reply.plan());
  return kExitDone;
}

// A refused job file is checked once more, for lines and columns.
Result<int> explain_refusal(Context& context, const std::string& file, const Error& refusal,
                            const std::string& yaml) {
  v1::CheckJobRequest request;
  request.set_yaml(yaml);
  const auto reply = context.call<v1::CheckJobResponse>("JobService/CheckJob", request);
  if (!reply.has_value() || reply->problems().empty()) return refusal;
  context.err() << problems_text(file, *reply);
  return kExitUsage;
}

Result<int> run_submit(Context& context, const std::string& file) {
  v1::SubmitJobRequest request;
  MH_TRY(*request.mutable_yaml(), read_job_file(file));
  // The same id in every try: a reply that was lost makes no second job.
  request.set_request_id(random_token());
  Result<v1::SubmitJobResponse> reply = fail(Errc::kUnavailable, "");
  for (int i = 0;
       i < kSubmitTries && !reply.has_value() &&
       (reply.error().code == Errc::kUnavailable || reply.error().code == Errc::kDeadlineExceeded);
       ++i)
    reply = context.call<v1::SubmitJobResponse>("JobService/SubmitJob", request);
  if (!reply.has_value()) {
    if (reply.error().code != Errc::kInvalidArgument) return reply.error();
    return explain_refusal(context, file, reply.error(), request.yaml());
  }
  if (context.wants_json()) {
    context.print_json(*reply);
    return kExitDone;
  }
  const v1::Job& job = reply->job();
  context.out() << "Job " << job.id() << " '" << printable(job.name())
                << "' is submitted: " << with_commas(job.step_count()) << " steps of "
                << with_commas(job.samples_per_step())
                << " samples.\nWatch it with: manyhands job watch " << job.id() << "\n";
  return kExitDone;
}

Result<int> run_list(Context& context) {
  MH_TRY(const auto reply,
         context.call<v1::ListJobsResponse>("JobService/ListJobs", v1::ListJobsRequest()));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << job_table(reply);
  return kExitDone;
}

Result<int> run_show(Context& context, const std::string& id_or_name, bool wants_yaml) {
  v1::GetJobRequest request;
  MH_TRY(const auto id, find_job(context, id_or_name));
  request.set_id(id);
  MH_TRY(const auto reply, context.call<v1::GetJobResponse>("JobService/GetJob", request));
  if (context.wants_json())
    context.print_json(reply);
  else if (wants_yaml)
    context.out() << reply.yaml();
  else
    context.out() << job_text(reply.job(), reply.plan());
  return kExitDone;
}

struct MetricsArguments {
  std::string job;
  std::uint64_t from_step = 0;
  std::uint64_t point_count = 50;
};

Result<int> run_metrics(Context& context, const MetricsArguments& arguments) {
  v1::GetJobMetricsRequest request;
  MH_TRY(const auto id, find_job(context, arguments.job));
  request.set_id(id);
  request.set_from_step(arguments.from_step);
  request.set_point_count_max(static_cast<std::uint32_t>(arguments.point_count));
  MH_TRY(const auto reply,
         context.call<v1::GetJobMetricsResponse>("JobService/GetJobMetrics", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  constexpr auto kRight = Table::Align::kRight;
  Table steps({{"STEP", kRight},
               {"LOSS", kRight},
               {"ACCURACY", kRight},
               {"GRADIENT NORM", kRight},
               {"LEARNING RATE", kRight},
               {"TIME (UTC)"}});
  for (const v1::StepMetrics& step : reply.steps())
    steps.add_row({with_commas(step.step()), decimal(step.loss(), 6),
                   accuracy_text(step.accuracy()), decimal(step.gradient_norm(), 6),
                   decimal(step.learning_rate(), 8), time_text(step.time_ms())});
  Table evaluations({{"AFTER STEP", kRight},
                     {"SPLIT"},
                     {"LOSS", kRight},
                     {"ACCURACY", kRight},
                     {"SAMPLES", kRight}});
  for (const v1::Evaluation& evaluation : reply.evaluations())
    evaluations.add_row({with_commas(evaluation.step()), evaluation.split(),
                         decimal(evaluation.loss(), 6), accuracy_text(evaluation.accuracy()),
                         with_commas(evaluation.sample_count())});
  context.out() << steps.text() << "\n" << evaluations.text();
  return kExitDone;
}

Result<int> run_log(Context& context, const std::string& id_or_name, std::uint64_t count) {
  v1::GetJobLogRequest request;
  MH_TRY(const auto id, find_job(context, id_or_name));
  request.set_id(id);
  request.set_entry_count_max(static_cast<std::uint32_t>(count));
  MH_TRY(const auto reply, context.call<v1::GetJobLogResponse>("JobService/GetJobLog", request));
  if (context.wants_json()) {
    context.print_json(reply);
    return kExitDone;
  }
  for (const v1::JobLogEntry& entry : reply.entries())
    context.out() << time_text(entry.time_ms()) << "  step " << with_commas(entry.step()) << "  "
                  << printable(entry.text()) << "\n";
  return kExitDone;
}

Result<int> run_summary(Context& context, const std::string& id_or_name) {
  v1::GetJobSummaryRequest request;
  MH_TRY(const auto id, find_job(context, id_or_name));
  request.set_id(id);
  MH_TRY(const auto reply,
         context.call<v1::GetJobSummaryResponse>("JobService/GetJobSummary", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << summary_text(reply);
  const bool is_exact =
      reply.samples_doubled() == 0 && reply.samples_missing() == reply.samples_removed();
  return is_exact ? kExitDone : kExitFailed;
}

Result<int> run_tolerance(Context& context, const std::string& id_or_name) {
  v1::GetJobToleranceRequest request;
  MH_TRY(const auto id, find_job(context, id_or_name));
  request.set_id(id);
  MH_TRY(const auto reply,
         context.call<v1::GetJobToleranceResponse>("JobService/GetJobTolerance", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << tolerance_text(reply);
  return kExitDone;
}

Result<int> update(Context& context, const std::string& id_or_name, v1::JobAction action,
                   std::uint64_t priority) {
  v1::UpdateJobRequest request;
  MH_TRY(const auto id, find_job_to_change(context, id_or_name));
  request.set_id(id);
  request.set_action(action);
  request.set_priority(static_cast<std::uint32_t>(priority));
  MH_TRY(const auto reply, context.call<v1::UpdateJobResponse>("JobService/UpdateJob", request));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << "Job " << reply.job().id() << " '" << printable(reply.job().name()) << "' is "
                  << state_text(reply.job().state()) << ", priority " << reply.job().priority()
                  << ".\n";
  return kExitDone;
}

std::shared_ptr<std::string> add_job(OptionSink& options) {
  auto job = std::make_shared<std::string>();
  options.positional("job", *job, "Id or name of the job");
  return job;
}

std::function<VerbRun(OptionSink&)> with_job(Result<int> (*run)(Context&, const std::string&)) {
  return [run](OptionSink& options) -> VerbRun {
    return [run, job = add_job(options)](Context& context) { return run(context, *job); };
  };
}

std::function<VerbRun(OptionSink&)> with_action(v1::JobAction action) {
  return [action](OptionSink& options) -> VerbRun {
    return [action, job = add_job(options)](Context& context) {
      return update(context, *job, action, 0);
    };
  };
}

VerbRun define_check(OptionSink& options) {
  const auto arguments = std::make_shared<CheckArguments>();
  options.positional("file", arguments->file, "The job file (YAML)");
  options.real("--gflops", arguments->gflops, "Speed of one volunteer in GFLOP/s; 0: 20");
  options.real("--download-mbits", arguments->download_mbits, "Its network, down; 0: 50 Mbit/s");
  options.real("--upload-mbits", arguments->upload_mbits, "Its network, up; 0: 10 Mbit/s");
  return [arguments](Context& context) { return run_check(context, *arguments); };
}

VerbRun define_submit(OptionSink& options) {
  const auto file = std::make_shared<std::string>();
  options.positional("file", *file, "The job file (YAML)");
  return [file](Context& context) { return run_submit(context, *file); };
}

VerbRun define_show(OptionSink& options) {
  const auto job = add_job(options);
  const auto wants_yaml = std::make_shared<bool>(false);
  options.flag("--yaml", *wants_yaml, "Print the job file as it was submitted");
  return [job, wants_yaml](Context& context) { return run_show(context, *job, *wants_yaml); };
}

VerbRun define_metrics(OptionSink& options) {
  const auto arguments = std::make_shared<MetricsArguments>();
  options.positional("job", arguments->job, "Id or name of the job");
  options.number("--from-step", arguments->from_step, 0, UINT64_MAX, "First step wanted");
  options.number("--points", arguments->point_count, 1, 10'000,
                 "At most so many steps, evenly thinned");
  return [arguments](Context& context) { return run_metrics(context, *arguments); };
}

VerbRun define_log(OptionSink& options) {
  const auto job = add_job(options);
  const auto count = std::make_shared<std::uint64_t>(100);
  options.number("--count", *count, 1, 10'000, "At most so many entries, the newest");
  return [job, count](Context& context) { return run_log(context, *job, *count); };
}

VerbRun define_set(OptionSink& options) {
  const auto job = add_job(options);
  const auto priority = std::make_shared<std::uint64_t>(101);
  options.number("--priority", *priority, 0, 100, "0 (least) to 100; jobs start with 50");
  return [job, priority](Context& context) -> Result<int> {
    if (*priority > 100)
      return fail(Errc::kInvalidArgument, "nothing to set: give --priority 0 to 100");
    return update(context, *job, v1::JOB_ACTION_SET_PRIORITY, *priority);
  };
}

}  // namespace

std::vector<Verb> job_verbs() {
  return {
      {"job", "check", "Check a job file and say what it would cost; changes nothing",
       "manyhands job check docs/examples/digits-mlp.yaml --gflops 50", define_check},
      {"job", "submit", "Submit a job file", "manyhands job submit docs/examples/digits-mlp.yaml",
       define_submit},
      {"job", "list", "Show all jobs", "manyhands job list",
       [](OptionSink&) -> VerbRun { return run_list; }},
      {"job", "show", "Show a job: state, evaluations, layers", "manyhands job show 1 --json",
       define_show},
      {"job", "metrics", "Loss of each step, and all evaluations",
       "manyhands job metrics 1 --from-step 100 --points 20", define_metrics},
      {"job", "log", "What happened to a job: state changes, lost leases, rejected results",
       "manyhands job log 1 --count 20", define_log},
      {"job", "summary", "Who did what, and the proof that each sample was counted once",
       "manyhands job summary 1", with_job(run_summary)},
      {"job", "tolerance", "How far apart honest results are, and how far they may be",
       "manyhands job tolerance 1", with_job(run_tolerance)},
      {"job", "pause", "Give out no more of a job", "manyhands job pause 1",
       with_action(v1::JOB_ACTION_PAUSE)},
      {"job", "resume", "Go on with a paused job", "manyhands job resume 1",
       with_action(v1::JOB_ACTION_RESUME)},
      {"job", "cancel", "End a job for good", "manyhands job cancel 1",
       with_action(v1::JOB_ACTION_CANCEL)},
      {"job", "set", "Change the priority of a job", "manyhands job set 1 --priority 80",
       define_set},
  };
}

}  // namespace mh::cli
