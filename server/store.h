// What the server keeps, as an interface in whole transitions, so that another database can stand
// behind it. Implemented by SqliteStore.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/result.h"
#include "scheduler/changes.h"
#include "server/accounts.h"
#include "server/rows.h"

namespace mh::server {

// One transition: all of it becomes durable, or none. Rows are inserted or replaced by their key.
struct Transaction {
  scheduler::Changes changes;
  std::vector<AccountRow> accounts;
  std::vector<TokenRow> tokens;
  std::vector<InvitationRow> invitations;
  std::vector<HostSecretRow> host_secrets;
  std::vector<DatasetRow> datasets;
  std::vector<std::string> removed_datasets;
  std::vector<JobSourceRow> job_sources;
  std::vector<AuditRow> audit;

  bool is_empty() const {
    return changes.is_empty() && accounts.empty() && tokens.empty() && invitations.empty() &&
           host_secrets.empty() && datasets.empty() && removed_datasets.empty() &&
           job_sources.empty() && audit.empty();
  }
};

// Adds the rows of a later transition to an earlier one: both become durable, or neither. Rows of
// the same key follow each other; the last one holds.
void append(Transaction& earlier, Transaction later);

// Everything the server needs in memory to go on after a restart.
struct ServerSnapshot {
  // 16 hex digits, made by `init`.
  std::string server_id;
  scheduler::Snapshot scheduler;
  AccountsSnapshot accounts;
  std::vector<DatasetRow> datasets;
  // Without the text of the files (`yaml` is empty).
  std::vector<JobSourceRow> job_sources;
};

// How the sample stream of a job was counted, from the rows of its valid results.
struct SampleCoverage {
  std::uint64_t counted = 0;
  std::uint64_t doubled = 0;
  std::uint64_t missing = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // Makes a transition durable, then calls `committed` (once, on the store's thread: it only
  // posts). Transitions commit in the order of the calls. There is no failure to report: a store
  // without room waits for it, with everything behind it, so that nobody is told; one that cannot
  // commit for another reason ends the process, because memory would otherwise be ahead of the
  // disk. Threads: any. Blocks when the queue is full.
  virtual void commit(Transaction transaction, std::function<void()> committed) = 0;

  // What a start needs, at once. Errors: kDataLoss, kInternal.
  virtual Result<ServerSnapshot> load() = 0;

  // History, which is not kept in memory. Threads: any; may block on the disk.
  // Steps from `from_step` on, thinned evenly to at most `point_max` (the last is always there).
  virtual Result<std::vector<scheduler::StepRow>> steps(JobId job, std::uint64_t from_step,
                                                        std::uint64_t point_max) = 0;
  // Step records from a sequence number on: at most `count_max`, and at most `bytes_max` of their
  // text, but one in any case.
  virtual Result<std::vector<scheduler::StepRecordRow>> records(JobId job,
                                                                std::uint64_t from_sequence,
                                                                std::uint64_t count_max,
                                                                std::uint64_t bytes_max) = 0;
  virtual Result<std::vector<scheduler::EvaluationRow>> evaluations(JobId job) = 0;
  // The newest `entry_max` entries, oldest first.
  virtual Result<std::vector<scheduler::JobLogRow>> log(JobId job, std::uint64_t entry_max) = 0;
  virtual Result<std::string> yaml(JobId job) = 0;
  // The newest `entry_max` entries, oldest first.
  virtual Result<std::vector<scheduler::HostLogRow>> host_log(HostId host,
                                                              std::uint64_t entry_max) = 0;
  // The newest `entry_max` entries, oldest first.
  virtual Result<std::vector<AuditRow>> audit(std::uint64_t entry_max) = 0;
  // By host. Those of ended jobs are not in memory after a restart.
  virtual Result<std::vector<scheduler::ContributionRow>> contributions(JobId job) = 0;
  // What a rewind to this step needs of the job's past.
  virtual Result<scheduler::RewindPast> past(JobId job, std::uint64_t step) = 0;
  // Checks positions [0, positions) of the sample stream against the rows of counted workunits.
  virtual Result<SampleCoverage> coverage(JobId job, std::uint64_t positions) = 0;
};

}  // namespace mh::server
