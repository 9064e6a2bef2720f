// JobService/RewindJob: an admin takes updates that were found to be bad out of a model.
//
// The job is held, so that its steps come to rest; what the store has of it is read, the steps are
// computed, and one decision puts the job there. Until then nothing has changed: a crash, a caller
// that goes away or a full disk leave the job as it was.
#include <algorithm>

#include "manyhands/v1/job.pb.h"
#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "server/handler.h"
#include "server/handlers.h"
#include "server/job_messages.h"
#include "server/rewind_replay.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

// A step that was complete when the job was held still ends once.
constexpr int kTriesMax = 3;

KillPoint before_decision("rewind.before_decision");
KillPoint after_decision("rewind.after_decision");

// The job gives out no work as long as this lives.
class HeldJob {
 public:
  HeldJob(Core& core, JobId job) : core_(core), job_(job) { core_.hold_job(job_, true); }
  ~HeldJob() { core_.hold_job(job_, false); }
  HeldJob(const HeldJob&) = delete;
  HeldJob& operator=(const HeldJob&) = delete;

 private:
  Core& core_;
  const JobId job_;
};

scheduler::RewindOrder to_order(const v1::RewindJobRequest& request) {
  scheduler::RewindOrder order;
  order.job = JobId(request.id());
  order.to = request.to_step();
  for (const std::uint64_t host : request.without_hosts()) order.hosts.emplace_back(host);
  order.reapplies = request.reapply();
  order.reason = request.reason();
  return order;
}

// What was stored and is not to be used after all.
void release(Core& core, const std::vector<scheduler::StepOutput>& outputs) {
  std::vector<Digest> blobs;
  for (const scheduler::StepOutput& output : outputs) {
    blobs.push_back(output.parameters_digest);
    if (!output.optimizer_digest.is_zero()) blobs.push_back(output.optimizer_digest);
  }
  core.release_blobs(std::move(blobs));
}

bool are_stored(Core& core, const std::vector<scheduler::StepOutput>& outputs) {
  const auto is_there = [&core](const Digest& blob) {
    return blob.is_zero() || core.blobs().contains(blob);
  };
  return std::all_of(outputs.begin(), outputs.end(), [&](const scheduler::StepOutput& output) {
    return is_there(output.parameters_digest) && is_there(output.optimizer_digest);
  });
}

std::string text_of(const scheduler::RewindOrder& order) {
  std::string text = "job " + to_string(order.job) + " was rewound to step " +
                     std::to_string(order.to) + " without hosts";
  for (const HostId host : order.hosts) text += " " + to_string(host);
  return text;
}

asio::awaitable<Result<scheduler::Rewound>> rewind_once(Core& core, const Caller& caller,
                                                        const scheduler::RewindOrder& order) {
  co_await core.settled();
  const auto view = core.coordinator().job(order.job, core.now());
  if (!view) co_return no_such_job(order.job.value());
  auto read = [&store = core.store(), job = order.job, to = order.to] {
    return store.past(job, to);
  };
  MH_CO_TRY(const scheduler::RewindPast past, co_await net::run_on(core.pool(), std::move(read)));
  MH_CO_TRY(const scheduler::RewindPlan plan, core.coordinator().plan_rewind(order, past));
  auto compute = [&blobs = core.blobs(), job = view->row.job_digest,
                  manifest = view->row.manifest_digest,
                  plan] { return replay_steps(blobs, job, manifest, plan); };
  MH_CO_TRY(const std::vector<scheduler::StepOutput> outputs,
            co_await net::run_on(core.pool(), std::move(compute)));
  // An equal blob was released a moment after it was published (core.h, rule 4).
  if (!are_stored(core, outputs)) co_return fail(Errc::kAborted, "a blob was lost; try again");
  before_decision.pass();
  auto decision = core.coordinator().rewind(order, past, plan, outputs, core.now());
  if (!decision.reply) release(core, outputs);
  Transaction extra;
  if (decision.reply && decision.reply->is_new) extra = audited(core, caller, text_of(order));
  auto rewound = co_await core.settle(std::move(decision), std::move(extra));
  after_decision.pass();
  co_return rewound;
}

asio::awaitable<Result<v1::RewindJobResponse>> rewind_job(Core& core, net::CallContext context,
                                                          v1::RewindJobRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  const scheduler::RewindOrder order = to_order(request);
  Result<scheduler::Rewound> rewound = fail(Errc::kAborted, "");
  {
    const HeldJob held(core, order.job);
    for (int attempt = 0; attempt < kTriesMax; ++attempt) {
      rewound = co_await rewind_once(core, caller, order);
      if (rewound || rewound.error().code != Errc::kAborted) break;
    }
  }
  if (!rewound) co_return rewound.error();
  if (rewound->is_new)
    log_info("job rewound", {{"job", request.id()},
                             {"to_step", request.to_step()},
                             {"updates_taken_out", rewound->removed_update_count},
                             {"by", caller.account.name}});
  v1::RewindJobResponse response;
  response.set_is_new(rewound->is_new);
  response.set_reapplied_step_count(rewound->reapplied_step_count);
  response.set_undone_step_count(rewound->undone_step_count);
  response.set_removed_update_count(rewound->removed_update_count);
  response.set_removed_sample_count(rewound->removed_sample_count);
  response.set_withdrawn_gflop(rewound->withdrawn_gflop);
  const auto view = core.coordinator().job(order.job, core.now());
  if (view) *response.mutable_job() = to_message(*view);
  co_return response;
}

}  // namespace

void add_rewind_calls(net::ServiceTable& table, Core& core) {
  add_call(table, core, "JobService/RewindJob", &rewind_job, Needs::kRoom);
}

}  // namespace mh::server
