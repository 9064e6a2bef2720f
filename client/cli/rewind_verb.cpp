// `manyhands job rewind`: takes updates that were found to be bad out of a model.
#include "client/cli/job_text.h"
#include "client/cli/table.h"
#include "client/cli/verb.h"
#include "manyhands/v1/job.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;

// The server computes the steps anew meanwhile.
constexpr std::chrono::minutes kTimeout{30};

struct RewindArguments {
  std::string job;
  std::uint64_t to = UINT64_MAX;
  std::vector<std::string> hosts;
  bool reapplies = false;
  std::string reason;
};

std::string count_text(std::uint64_t count, const std::string& what) {
  return with_commas(count) + " " + what + (count == 1 ? "" : "s");
}

std::string rewound_text(const v1::RewindJobResponse& reply, const RewindArguments& arguments) {
  const v1::Job& job = reply.job();
  const std::string name = "Job " + std::to_string(job.id()) + " '" + printable(job.name()) + "'";
  const std::string step = "step " + std::to_string(arguments.to);
  if (!reply.is_new())
    return name + ": " + step +
           " was taken again without these hosts before; nothing is changed.\n";
  std::string text = name + ": " + step + " is taken again without " +
                     count_text(reply.removed_update_count(), "update") + " (" +
                     count_text(reply.removed_sample_count(), "sample") + ").\n";
  if (reply.reapplied_step_count() > 0)
    text += count_text(reply.reapplied_step_count(), "later step") +
            " taken again from the updates that they had.\n";
  if (reply.undone_step_count() > 0)
    text += count_text(reply.undone_step_count(), "later step") + " to be computed anew.\n";
  return text + decimal(reply.withdrawn_gflop(), 1) +
         " GFLOP of credit are taken back; the hosts get no more work until 'manyhands host "
         "forgive'.\nIt is " +
         state_text(job.state()) + ", with " + with_commas(job.step()) + " of " +
         with_commas(job.step_count()) + " steps done.\n";
}

Result<int> run_rewind(Context& context, const RewindArguments& arguments) {
  if (arguments.to == UINT64_MAX)
    return fail(Errc::kInvalidArgument, "--to is missing: the step to take again, from 0");
  if (arguments.hosts.empty())
    return fail(Errc::kInvalidArgument,
                "--without is missing: the host whose updates are to be taken out");
  v1::RewindJobRequest request;
  MH_TRY(const auto id, find_job_to_change(context, arguments.job));
  request.set_id(id);
  request.set_to_step(arguments.to);
  request.set_reapply(arguments.reapplies);
  request.set_reason(arguments.reason);
  for (const std::string& name : arguments.hosts) {
    MH_TRY(const auto host, find_host(context, name));
    request.add_without_hosts(host);
  }
  if (!context.wants_json() && Context::is_terminal(2))
    context.err() << "The server takes the steps again ...\n";
  MH_TRY(const auto reply,
         context.call<v1::RewindJobResponse>("JobService/RewindJob", request, kTimeout));
  if (context.wants_json())
    context.print_json(reply);
  else
    context.out() << rewound_text(reply, arguments);
  return kExitDone;
}

VerbRun define_rewind(OptionSink& options) {
  const auto arguments = std::make_shared<RewindArguments>();
  options.positional("job", arguments->job, "Id or name of the job");
  options.number("--to", arguments->to, 0, UINT64_MAX - 1,
                 "The step to take again, from 0; training goes on after it. Its updates must "
                 "still be kept");
  options.texts("--without", arguments->hosts,
                "Id or name of a host: its updates are taken out, of this step and of all later "
                "ones, it loses what they earned, and gets no more work. May be given again");
  options.flag("--reapply", arguments->reapplies,
               "Take the later steps again from the updates that they had, though these were "
               "computed for other parameters. Without it hosts compute them anew");
  options.text("--reason", arguments->reason,
               "Why; at most 400 bytes. Everybody can read it in the step's record");
  return [arguments](Context& context) { return run_rewind(context, *arguments); };
}

}  // namespace

std::vector<Verb> rewind_verbs() {
  return {{"job", "rewind", "Take a host's bad updates out of a model; goes on from that step",
           "manyhands job rewind 1 --to 120 --without mallory --reason 'flipped signs'",
           define_rewind}};
}

}  // namespace mh::cli
