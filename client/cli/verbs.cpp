// The tables of verbs joined, and what several of them need. See verb.h.
#include <algorithm>

#include "client/cli/verb.h"
#include "manyhands/v1/job.pb.h"

namespace mh::cli {

namespace v1 = manyhands::v1;

std::vector<Verb> all_verbs() {
  std::vector<Verb> all;
  for (auto* table :
       {login_verbs, dataset_verbs, job_verbs, rewind_verbs, job_watch_verbs, model_verbs,
        host_verbs, account_verbs, aggregate_verbs, verify_verbs, completion_verbs}) {
    std::vector<Verb> verbs = table();
    std::move(verbs.begin(), verbs.end(), std::back_inserter(all));
  }
  return all;
}

namespace {

// By id, or all of a name, oldest first; at least one.
Result<std::vector<std::uint64_t>> find_jobs(Context& context, const std::string& id_or_name) {
  const bool is_id = !id_or_name.empty() && id_or_name.size() < 20 &&
                     std::all_of(id_or_name.begin(), id_or_name.end(),
                                 [](char c) { return c >= '0' && c <= '9'; });
  std::vector<std::uint64_t> ids;
  if (is_id) {
    ids.push_back(std::stoull(id_or_name));
    return ids;
  }
  MH_TRY(const auto jobs,
         context.call<v1::ListJobsResponse>("JobService/ListJobs", v1::ListJobsRequest()));
  for (const v1::Job& job : jobs.jobs()) {
    if (job.name() == id_or_name) ids.push_back(job.id());
  }
  if (ids.empty())
    return fail(Errc::kNotFound,
                "no job is named '" + id_or_name + "': 'manyhands job list' shows all");
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

Result<std::uint64_t> find_job(Context& context, const std::string& id_or_name) {
  MH_TRY(const auto ids, find_jobs(context, id_or_name));
  return ids.back();
}

Result<std::uint64_t> find_job_to_change(Context& context, const std::string& id_or_name) {
  MH_TRY(const auto ids, find_jobs(context, id_or_name));
  if (ids.size() == 1) return ids.front();
  return fail(Errc::kInvalidArgument, std::to_string(ids.size()) + " jobs are named '" +
                                          id_or_name + "': give the id ('manyhands job list')");
}

}  // namespace mh::cli
