// Sets of rows: what a decision changes, and what a start or a rewind is told of the past.
// Plain structs, no threads.
#pragma once

#include <vector>

#include "scheduler/rows.h"

namespace mh::scheduler {

// Rows to insert or replace, all in one transaction. A row appears at most once. Referenced rows
// come first when written in the order of the fields.
struct Changes {
  std::vector<JobRow> jobs;
  std::vector<HostRow> hosts;
  std::vector<WorkunitRow> workunits;
  std::vector<ResultRow> results;
  std::vector<StepRow> steps;
  std::vector<StepRecordRow> records;
  std::vector<EvaluationRow> evaluations;
  std::vector<CheckpointRow> checkpoints;
  std::vector<ContributionRow> contributions;
  std::vector<JobLogRow> log;
  std::vector<HostLogRow> host_log;
  std::vector<CreditRow> credit;
  std::vector<AgreementRow> agreements;

  bool is_empty() const {
    return jobs.empty() && hosts.empty() && workunits.empty() && results.empty() && steps.empty() &&
           records.empty() && evaluations.empty() && checkpoints.empty() && contributions.empty() &&
           log.empty() && host_log.empty() && credit.empty() && agreements.empty();
  }
};

// What the store gives back at the start.
struct Snapshot {
  // All.
  std::vector<JobRow> jobs;
  std::vector<HostRow> hosts;
  std::vector<EvaluationRow> evaluations;
  std::vector<ContributionRow> contributions;  // Those of ended jobs may be left out.
  // Of jobs that are running or paused.
  std::vector<AgreementRow> agreements;
  // Those with is_kept.
  std::vector<CheckpointRow> checkpoints;
  // Of each job those from JobRow::retained_from on, in order.
  std::vector<StepRecordRow> records;
  // Of jobs that are running or paused: gradient workunits with step == JobRow::step, and
  // evaluation workunits of pending evaluations. Others may be there, too, and are ignored, as are
  // those that were dropped.
  std::vector<WorkunitRow> workunits;
  // Every result of those workunits. Beside them, as far as convenient, the newest few thousand
  // that are not leased: a report that is repeated across a restart is then answered as before.
  std::vector<ResultRow> results;
  // Largest id ever used (0: none).
  WorkunitId last_workunit;
  ResultId last_result;
  // Of the ledger (0: empty).
  std::uint64_t last_credit = 0;
};

// What the store has of a job that is rewound (rule 28) and the coordinator does not keep in
// memory.
struct RewindPast {
  // Gradients of the step that is taken again and of later ones, and evaluations of later
  // parameters, that are done; and their canonical results, in the same order.
  std::vector<WorkunitRow> workunits;
  std::vector<ResultRow> results;
  // All of the job.
  std::vector<EvaluationRow> evaluations;
  std::vector<ContributionRow> contributions;
  std::vector<AgreementRow> agreements;
};

}  // namespace mh::scheduler
