// JobService's messages from the coordinator's views, stored rows and reports. Pure.
#pragma once

#include "manyhands/v1/job.pb.h"
#include "scheduler/events.h"
#include "scheduler/job_check.h"
#include "scheduler/job_spec.h"
#include "server/store.h"

namespace mh::server {

namespace v1 = manyhands::v1;

v1::Job to_message(const scheduler::JobView& view);
v1::Evaluation to_message(const scheduler::EvaluationView& evaluation);
v1::Evaluation to_message(const scheduler::EvaluationRow& evaluation);
v1::StepMetrics to_message(const scheduler::StepRow& step);
v1::JobPlan to_message(const scheduler::JobReport& report);
v1::JobProblem to_message(const scheduler::Problem& problem);
v1::HostContribution to_message(const scheduler::Contribution& contribution);
v1::JobLogEntry to_message(const scheduler::JobLogRow& entry);

}  // namespace mh::server
