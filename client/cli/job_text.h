// Jobs in words and tables, for people. Pure.
#pragma once

#include <string>

#include "manyhands/v1/job.pb.h"

namespace mh::cli {

/// "running", "paused", …
std::string state_text(manyhands::v1::JobState state);
/// "0.9043", or "—" for a loss without classes (negative) or no evaluation.
std::string accuracy_text(double accuracy);
/// What `job list` prints.
std::string job_table(const manyhands::v1::ListJobsResponse& jobs);
/// What `job show` prints.
std::string job_text(const manyhands::v1::Job& job, const manyhands::v1::JobPlan& plan);
/// Layer table, sizes and time estimates: what `job check` prints.
std::string plan_text(const manyhands::v1::JobPlan& plan);
/// How far apart honest results are: what `job tolerance` prints.
std::string tolerance_text(const manyhands::v1::GetJobToleranceResponse& reply);
/// Who did what, and the proof that each sample was counted once: what `job summary` prints.
std::string summary_text(const manyhands::v1::GetJobSummaryResponse& summary);
/// One line of `job watch`.
std::string progress_text(const manyhands::v1::Job& job);
/// "file:line:column: path: message" for each problem.
std::string problems_text(const std::string& file, const manyhands::v1::CheckJobResponse& reply);

}  // namespace mh::cli
