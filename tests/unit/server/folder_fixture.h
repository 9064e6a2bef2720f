// A server's folder with a data set, a job and a host: a small server without a network. The real
// coordinator decides, the real stores keep; what a blob holds does not matter to the folder.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/base/dataset_manifest.h"
#include "scheduler/coordinator.h"
#include "server/blob_store.h"
#include "server/server_folder.h"
#include "server/sqlite_store.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {

class FolderTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kShards = 4;

  FolderTest() {
    EXPECT_TRUE(make_server_folder(folder().root, now_));
    start();
    add_dataset("digits");
    host_ =
        *take(coordinator_->attach({}, {"attic", "linux", "0.1.0", "cpu", "", 1, ""}, {}, now_));
    submit_job();
  }

  ServerFolder folder() const { return ServerFolder{temporary_.path() / "server"}; }
  std::filesystem::path beside(const std::string& name) const { return temporary_.path() / name; }

  // As `manyhands-server run` does; the lock is taken.
  void start() { start_in(folder()); }
  void start_in(const ServerFolder& where) {
    lock_ = std::make_unique<UniqueFd>(lock_server_folder(where).value());
    blobs_ = std::make_unique<BlobStore>(BlobStore::open(where.blobs()).value());
    store_ = SqliteStore::open(where.database()).value();
    ServerSnapshot snapshot = store_->load().value();
    coordinator_ =
        std::make_unique<scheduler::Coordinator>(rules_, std::move(snapshot.scheduler), now_);
    coordinator_->sanity_check();
  }
  void stop() {
    coordinator_.reset();
    store_.reset();
    blobs_.reset();
    lock_.reset();
  }

  void commit(Transaction transaction) {
    std::promise<void> committed;
    store_->commit(std::move(transaction), [&committed] { committed.set_value(); });
    committed.get_future().wait();
  }

  // Commits, then deletes what nobody needs any more, unless somebody holds the blobs.
  template <class Reply>
  Reply take(scheduler::Decision<Reply> decision) {
    Transaction transaction;
    transaction.changes = std::move(decision.changes);
    commit(std::move(transaction));
    auto& unneeded = decision.effects.blobs_unreferenced;
    unneeded_.insert(unneeded_.end(), unneeded.begin(), unneeded.end());
    if (const auto turn = blobs_->begin_deletion()) {
      for (const Digest& blob : std::exchange(unneeded_, {})) {
        if (coordinator_->is_blob_referenced(blob)) continue;
        if (const auto aside = blobs_->take_out(blob)) blobs_->recycle({*aside});
      }
    }
    return std::move(decision.reply);
  }

  // Two chunks of the train split.
  void add_dataset(const std::string& name) {
    DatasetManifest manifest;
    manifest.input = {DataType::kU8, {1}};
    manifest.target = {DataType::kU8, {}};
    manifest.class_count = 2;
    manifest.normalization = {{0}, {1}};
    SplitInfo& split = manifest.splits["train"];
    split.count = 8;
    split.class_counts = {4, 4};
    for (const char* text : {"abcdABCD", "efghEFGH"}) {
      chunks_.push_back(blobs_->put(std::string_view(text)).value());
      split.chunks.push_back({chunks_.back(), 8, 4});
    }
    ASSERT_TRUE(check_manifest(manifest)) << check_manifest(manifest).error().message;
    manifest_ = blobs_->put(to_json(manifest)).value();
    Transaction transaction;
    transaction.datasets = {{name, manifest_, manifest.chunk_bytes(), now_}};
    commit(std::move(transaction));
  }

  void submit_job() {
    scheduler::JobSubmission submission;
    submission.name = "job";
    submission.dataset = "digits";
    submission.manifest_digest = manifest_;
    submission.job_digest = blobs_->put("specification " + std::to_string(++made_)).value();
    submission.parameters_digest = blobs_->put("parameters " + std::to_string(++made_)).value();
    submission.step_count = 100;
    submission.batch = kShards;
    submission.shard = 1;
    submission.training_flops = 1e6;
    job_ = take(coordinator_->submit_job(submission, now_))->job;
  }

  void cancel_job() {
    EXPECT_TRUE(take(coordinator_->update_job(job_, scheduler::JobAction::kCancel, 0, now_)));
  }

  scheduler::JobRow job_row() const { return coordinator_->job(job_, now_)->row; }

  // Leases one workunit, if there is one.
  std::optional<scheduler::Assignment> lease() {
    scheduler::ExchangeEvent event;
    event.host = host_;
    event.wanted = 1;
    event.received = now_;
    now_ += std::chrono::milliseconds(10);
    const auto reply = take(coordinator_->exchange(event, now_)).value();
    if (reply.assignments.empty()) return std::nullopt;
    return reply.assignments.front();
  }

  scheduler::ReportVerdict report(ResultId result) {
    scheduler::ExchangeEvent event;
    event.host = host_;
    event.received = now_;
    scheduler::Report report;
    report.result = result;
    report.outcome = scheduler::Outcome::kSuccess;
    const std::string update = "update " + std::to_string(++made_);
    report.update_digest = blobs_->put(update).value();
    report.update_bytes = update.size();
    event.reports = {report};
    now_ += std::chrono::milliseconds(10);
    last_update_ = report.update_digest;
    return take(coordinator_->exchange(event, now_)).value().verdicts.at(0);
  }

  // The host computes workunits until `count` are done.
  void compute(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto work = lease();
      ASSERT_TRUE(work);
      ASSERT_EQ(report(work->result).verdict, scheduler::Verdict::kValid);
    }
  }

  void finish_step() {
    scheduler::StepOutput output;
    // Large enough to be given back as a spare file.
    std::string parameters(100'000, 'p');
    parameters += std::to_string(1'000'000 + ++made_);
    output.parameters_digest = blobs_->put(parameters).value();
    output.optimizer_digest = blobs_->put("optimizer " + std::to_string(++made_)).value();
    take(coordinator_->step_completed(job_, job_row().step, output, now_));
  }

  void do_steps(int count) {
    for (int i = 0; i < count; ++i) {
      compute(kShards);
      finish_step();
    }
  }

  std::filesystem::path place(const Digest& blob) const {
    return blob_place(folder().blobs(), blob);
  }
  static void damage(const std::filesystem::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(0);
    stream.put('!');
  }
  // A file of the age of `hours`, as of now_.
  void make_old(const std::filesystem::path& file, int hours) const {
    std::filesystem::last_write_time(
        file, std::filesystem::file_time_type::clock::now() - std::chrono::hours(hours));
  }

  TemporaryFolder temporary_;
  TimePoint now_ = SystemClock().now();
  // Of the next start.
  scheduler::CoordinatorOptions rules_;
  std::unique_ptr<UniqueFd> lock_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<scheduler::Coordinator> coordinator_;
  std::vector<Digest> unneeded_;
  std::vector<Digest> chunks_;
  Digest manifest_;
  Digest last_update_;
  HostId host_;
  JobId job_;
  int made_ = 0;
};

}  // namespace mh::server
