// fill_store DIR --hosts N --workunits M: makes a server's folder as it is after a long life, for
// measurements with a large database. The real coordinator decides everything and the real
// SqliteStore writes it, so `manyhands-server check DIR` finds nothing wrong.
//
//   data set "fill" -> N hosts -> jobs of steps of kStepWorkunits workunits, each leased, reported
//   and counted once, until there are M -> with --live L running jobs whose steps have L waiting
//
// Host number i has the secret "fill-host-" and i in 33 digits: a load generator can speak for it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "proto/base/options.h"
#include "scheduler/coordinator.h"
#include "scheduler/job_facts.h"
#include "scheduler/job_spec.h"
#include "server/blob_store.h"
#include "server/job_aggregation.h"
#include "server/secrets.h"
#include "server/server_folder.h"
#include "server/sqlite_store.h"

namespace mh::server {
namespace {

constexpr std::uint64_t kStepWorkunits = 1'000;
constexpr std::uint64_t kInputBytes = 4;
constexpr std::uint64_t kClassCount = 10;
constexpr std::uint64_t kHostsPerTransaction = 1'000;
// Checkpoints that the coordinator keeps of a job: only their blobs must exist.
constexpr std::uint64_t kBlobsPerJob = 3;
constexpr std::uint64_t kLiveStepCount = 1'000'000;

struct FillOptions {
  std::filesystem::path folder;
  std::uint64_t hosts = 1'000;
  std::uint64_t workunits = 100'000;
  std::uint64_t live = 0;
  std::uint64_t jobs = 10;
};

std::string host_secret(std::uint64_t host) {
  const std::string digits = std::to_string(host);
  return "fill-host-" + std::string(33 - digits.size(), '0') + digits;
}

// Only the last row of each key.
template <class Row, class KeyOf>
void keep_last(std::vector<Row>& rows, KeyOf key_of) {
  std::unordered_set<std::uint64_t> seen;
  std::vector<Row> kept;
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (seen.insert(key_of(*row)).second) kept.push_back(std::move(*row));
  }
  std::reverse(kept.begin(), kept.end());
  rows = std::move(kept);
}

class Filler {
 public:
  Filler(BlobStore blobs, std::unique_ptr<SqliteStore> store, ServerSnapshot snapshot,
         const FillOptions& options)
      : blobs_(std::move(blobs)),
        store_(std::move(store)),
        options_(options),
        // A simulated second a step, so that the last one ends about now.
        now_(SystemClock().now() - std::chrono::seconds(options.workunits / kStepWorkunits + 60)),
        coordinator_({}, std::move(snapshot.scheduler), now_),
        account_(snapshot.accounts.accounts.back().id) {}

  Status run() {
    MH_TRY_VOID(add_dataset());
    add_hosts();
    std::uint64_t steps_left = (options_.workunits + kStepWorkunits - 1) / kStepWorkunits;
    for (std::uint64_t job = 0; job < options_.jobs && steps_left > 0; ++job) {
      const std::uint64_t jobs_left = options_.jobs - job;
      const std::uint64_t steps = (steps_left + jobs_left - 1) / jobs_left;
      MH_TRY(const JobId id, submit("fill-" + std::to_string(job + 1), steps, kStepWorkunits));
      for (std::uint64_t step = 0; step < steps; ++step) {
        MH_TRY_VOID(compute_step(id, step, steps));
      }
      steps_left -= steps;
    }
    for (std::uint64_t left = options_.live; left > 0;) {
      const std::uint64_t batch = std::min(left, scheduler::kWorkunitsPerStepMax);
      left -= batch;
      MH_TRY_VOID(submit("live-" + std::to_string(left), kLiveStepCount, batch));
    }
    flush();
    return {};
  }

 private:
  template <class Reply>
  Reply take(scheduler::Decision<Reply> decision) {
    Transaction rows;
    rows.changes = std::move(decision.changes);
    append(pending_, std::move(rows));
    for (const Digest& blob : decision.effects.blobs_unreferenced) {
      if (coordinator_.is_blob_referenced(blob)) continue;
      if (const auto aside = blobs_.take_out(blob)) std::filesystem::remove(*aside);
    }
    return std::move(decision.reply);
  }

  void flush() {
    keep_last(pending_.changes.jobs, [](const auto& row) { return row.id.value(); });
    keep_last(pending_.changes.hosts, [](const auto& row) { return row.id.value(); });
    keep_last(pending_.changes.workunits, [](const auto& row) { return row.id.value(); });
    keep_last(pending_.changes.results, [](const auto& row) { return row.id.value(); });
    keep_last(pending_.changes.contributions,
              [](const auto& row) { return row.job.value() << 40U | row.host.value(); });
    std::promise<void> committed;
    store_->commit(std::exchange(pending_, {}), [&committed] { committed.set_value(); });
    committed.get_future().wait();
  }

  Status add_dataset() {
    const std::uint64_t count = scheduler::kWorkunitsPerStepMax;
    manifest_.input = {DataType::kU8, {static_cast<std::int64_t>(kInputBytes)}};
    manifest_.target = {DataType::kU8, {}};
    manifest_.class_count = kClassCount;
    manifest_.normalization = {{127.5}, {73.9}};
    std::string chunk;
    for (std::uint64_t i = 0; i < count * kInputBytes; ++i) chunk.push_back(char(i * 37 % 256));
    for (std::uint64_t i = 0; i < count; ++i) chunk.push_back(char(i % kClassCount));
    SplitInfo& split = manifest_.splits["train"];
    split.count = count;
    split.class_counts.assign(kClassCount, count / kClassCount);
    for (std::uint64_t i = 0; i < count % kClassCount; ++i) ++split.class_counts[i];
    MH_TRY(const Digest digest, blobs_.put(chunk));
    split.chunks = {{digest, chunk.size(), count}};
    MH_TRY_VOID(check_manifest(manifest_));
    MH_TRY(manifest_digest_, blobs_.put(to_json(manifest_)));
    pending_.datasets = {{"fill", manifest_digest_, manifest_.chunk_bytes(), now_}};
    return {};
  }

  void add_hosts() {
    for (std::uint64_t i = 1; i <= options_.hosts; ++i) {
      scheduler::HostDescription description{
          "fill-" + std::to_string(i), "linux", "0.1.0", "cpu", "made", 4, ""};
      const auto id = take(coordinator_.attach({}, description, {}, now_));
      pending_.host_secrets.push_back({id->value(), account_, secret_hash(host_secret(i)), false});
      hosts_.push_back(*id);
      if (i % kHostsPerTransaction == 0) flush();
    }
  }

  Result<Digest> put_parameters(std::uint64_t step) {
    update::PackHeader header;
    header.kind = update::PackKind::kParameters;
    header.element_count = plan_->parameter_count;
    header.layout_digest = plan_->layout_digest;
    PackBuffer parameters(header);
    model::write_initial_parameters(*plan_, 1, parameters.values());
    return blobs_.put(parameters.finish(step));
  }

  Result<JobId> submit(const std::string& name, std::uint64_t steps, std::uint64_t batch) {
    const std::string yaml =
        "name: " + name + "\ndataset: fill\nmodel: {layers: [linear]}\nloss: cross_entropy\n" +
        "training: {steps: " + std::to_string(steps) + ", batch: " + std::to_string(batch) +
        ", shard: 1}\noptimizer: {kind: sgd, learning_rate: 0.1}\nvalidation: {mode: none}\n";
    const scheduler::ParsedJob parsed = scheduler::parse_job(yaml);
    if (!parsed.spec) return fail(Errc::kInternal, scheduler::problem_text(parsed.problems.at(0)));
    scheduler::CheckedJob checked =
        scheduler::check_against(*parsed.spec, manifest_, manifest_digest_);
    if (!checked.plan) return fail(Errc::kInternal, scheduler::problem_text(checked.problems[0]));
    auto facts = scheduler::job_facts(*parsed.spec, checked, manifest_, manifest_digest_);
    plan_ = std::move(checked.plan);
    MH_TRY(facts.job_digest,
           blobs_.put(scheduler::canonical_job_json(*parsed.spec, manifest_digest_)));
    MH_TRY(facts.parameters_digest, put_parameters(0));
    MH_TRY(const scheduler::Submitted submitted, take(coordinator_.submit_job(facts, now_)));
    pending_.job_sources.push_back({submitted.job.value(), "", yaml, "fill"});
    return submitted.job;
  }

  // Each host gets one workunit at a time and reports it after 0.2 s.
  Status compute_step(JobId job, std::uint64_t step, std::uint64_t step_count) {
    std::uint64_t done = 0;
    while (done < kStepWorkunits) {
      std::vector<std::pair<HostId, ResultId>> leased;
      const std::uint64_t wanted = std::min<std::uint64_t>(kStepWorkunits - done, hosts_.size());
      for (std::uint64_t i = 0; i < wanted; ++i) {
        scheduler::ExchangeEvent event = event_of(hosts_[next_host_++ % hosts_.size()]);
        event.wanted = 1;
        MH_TRY(const auto reply, take(coordinator_.exchange(event, now_)));
        for (const scheduler::Assignment& work : reply.assignments) {
          leased.emplace_back(event.host, work.result);
        }
      }
      if (leased.empty()) return fail(Errc::kInternal, "no host got work");
      now_ += std::chrono::milliseconds(200);
      for (const auto& [host, result] : leased) MH_TRY_VOID(report(host, result));
      done += leased.size();
    }
    now_ += std::chrono::milliseconds(800);
    scheduler::StepOutput output;
    output.parameters_digest = sha256("parameters " + to_string(job) + " " + std::to_string(step));
    if (step + kBlobsPerJob >= step_count) {
      MH_TRY(output.parameters_digest, put_parameters(step + 1));
    }
    output.gradient_norm = 1;
    output.learning_rate = 0.1;
    take(coordinator_.step_completed(job, step, output, now_));
    flush();
    return {};
  }

  Status report(HostId host, ResultId result) {
    scheduler::ExchangeEvent event = event_of(host);
    scheduler::Report report;
    report.result = result;
    report.outcome = scheduler::Outcome::kSuccess;
    report.update_digest = sha256("update " + to_string(result));
    report.update_bytes = update::update_size(plan_->parameter_count);
    report.loss_sum = 2.3;
    report.correct_count = result.value() % 2;
    report.compute_ms = 180;
    event.reports = {report};
    MH_TRY(const auto reply, take(coordinator_.exchange(event, now_)));
    if (reply.verdicts.at(0).verdict == scheduler::Verdict::kValid) return {};
    return fail(Errc::kInternal, "a report did not count: " + reply.verdicts[0].reason);
  }

  scheduler::ExchangeEvent event_of(HostId host) const {
    scheduler::ExchangeEvent event;
    event.host = host;
    event.received = now_;
    return event;
  }

  BlobStore blobs_;
  const std::unique_ptr<SqliteStore> store_;
  const FillOptions options_;
  TimePoint now_;
  scheduler::Coordinator coordinator_;
  const std::uint64_t account_;
  DatasetManifest manifest_;
  Digest manifest_digest_;
  std::optional<model::ModelPlan> plan_;
  std::vector<HostId> hosts_;
  std::uint64_t next_host_ = 0;
  Transaction pending_;
};

Status fill(const FillOptions& options) {
  NewServerOptions folder_options;
  // The load generator attaches as many hosts as it likes.
  folder_options.invitation_uses = 1'000'000;
  MH_TRY_VOID(make_server_folder(options.folder, SystemClock().now(), folder_options));
  const ServerFolder folder{options.folder};
  MH_TRY(BlobStore blobs, BlobStore::open(folder.blobs()));
  MH_TRY(auto store, SqliteStore::open(folder.database()));
  MH_TRY(ServerSnapshot snapshot, store->load());
  return Filler(std::move(blobs), std::move(store), std::move(snapshot), options).run();
}

int run_command_line(int argc, const char* const* argv) {
  CLI::App app("Makes a server's folder with a long history, for measurements.", "fill_store");
  FillOptions options;
  app.add_option("DIR", options.folder, "folder to make; must be missing or empty")->required();
  app.add_option("--hosts", options.hosts, "hosts; number i has the secret fill-host-00...i")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app.add_option("--workunits", options.workunits, "finished workunits, each with a valid result")
      ->check(CLI::Range(0, 100'000'000))
      ->capture_default_str();
  app.add_option("--live", options.live, "waiting workunits of running jobs, beside those")
      ->check(CLI::Range(0, 10'000'000))
      ->capture_default_str();
  app.add_option("--jobs", options.jobs, "finished jobs that share the finished workunits")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.footer("Example: fill_store full --hosts 100000 --workunits 1000000");
  if (const auto code = parse_command_line(app, argc, argv)) return *code;
  const auto begin = std::chrono::steady_clock::now();
  if (auto done = fill(options); !done) {
    std::cerr << "fill_store: " << done.error().message << "\n";
    return exit_code_of(done.error());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%s: %llu hosts, %llu finished and %llu waiting workunits, made in %.1f s\n",
              options.folder.c_str(), static_cast<unsigned long long>(options.hosts),
              static_cast<unsigned long long>(options.workunits),
              static_cast<unsigned long long>(options.live), took.count());
  return kExitDone;
}

}  // namespace
}  // namespace mh::server

int main(int argc, char** argv) { return mh::server::run_command_line(argc, argv); }
