// A SqliteStore in a folder of its own, verbs for it, and rows with a different value in every
// field.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/sqlite_store.h"
#include "tests/unit/server/temporary_folder.h"

namespace mh::server {

inline Digest some_digest(std::uint64_t number) {
  return sha256(std::string_view("digest " + std::to_string(number)));
}

inline TimePoint some_time(std::int64_t number) { return from_unix_ms(1'700'000'000'000 + number); }

inline scheduler::JobRow some_job(std::uint64_t id) {
  scheduler::JobRow row;
  row.id = JobId(id);
  row.name = "job " + std::to_string(id);
  row.dataset = "digits";
  row.request_id = "request";
  row.job_digest = some_digest(id);
  row.manifest_digest = some_digest(id + 1);
  row.step_count = 100;
  row.batch = 32;
  row.shard = 8;
  row.training_flops = 1.5e9;
  row.evaluation_flops = 0.5e9;
  row.has_classes = false;
  row.has_evaluation = true;
  row.evaluation_split = "test";
  row.evaluation_sample_count = 1'000;
  row.evaluation_every_steps = 5;
  row.evaluation_shard = 250;
  row.evaluation_chunk_samples = 500;
  row.created = some_time(1);
  row.state_reason = "because";
  row.priority = 70;
  row.parameters_digest = some_digest(id + 2);
  row.optimizer_digest = some_digest(id + 3);
  row.training_loss = 0.1;
  row.training_accuracy = -1;
  row.started = some_time(2);
  row.last_step = some_time(3);
  row.finished = some_time(4);
  row.version = 9;
  row.log_count = 11;
  return row;
}

inline scheduler::HostRow some_host(std::uint64_t id) {
  scheduler::HostRow row;
  row.id = HostId(id);
  row.description = {"attic", "linux", "0.1.0", "cuda", "H100", 16, "x86-64-v4"};
  row.is_trusted = true;
  row.is_detached = true;
  row.attached = some_time(5);
  row.last_seen = some_time(6);
  row.valid_count = 1;
  row.rejected_count = 2;
  row.failed_count = 3;
  row.lost_count = 4;
  row.credit = 1.0 / 3;
  row.seconds_per_gflop = 0.02;
  row.seconds_per_gflop_deviation = 0.001;
  row.lease_quota = 7;
  return row;
}

// Shard `shard` of step `step` of a job with 4 shards of 8 samples.
inline scheduler::WorkunitRow some_workunit(std::uint64_t id, std::uint64_t job, std::uint64_t step,
                                            std::uint64_t shard) {
  scheduler::WorkunitRow row;
  row.id = WorkunitId(id);
  row.job = JobId(job);
  row.step = step;
  row.shard = shard;
  row.begin = step * 32 + shard * 8;
  row.end = row.begin + 8;
  return row;
}

inline scheduler::ResultRow some_result(std::uint64_t id, const scheduler::WorkunitRow& workunit,
                                        std::uint64_t host, scheduler::ResultState state) {
  scheduler::ResultRow row;
  row.id = ResultId(id);
  row.workunit = workunit.id;
  row.job = workunit.job;
  row.host = HostId(host);
  row.state = state;
  row.is_reissue = true;
  row.leased = some_time(7);
  row.lease_length = std::chrono::milliseconds(30'000);
  row.ended = some_time(8);
  row.update_digest = some_digest(id + 100);
  row.update_bytes = 4'096;
  row.loss_sum = 12.25;
  row.correct_count = 5;
  row.compute_ms = 321;
  row.credit = 0.75;
  row.reason = "none";
  return row;
}

inline scheduler::EvaluationRow some_evaluation(std::uint64_t job, std::uint64_t step,
                                                scheduler::EvaluationState state) {
  return {JobId(job), step, state, "test", 1'000, 0.5, 0.25, some_time(9)};
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    EXPECT_TRUE(SqliteStore::create(file(), "0123456789abcdef"));
    reopen();
  }

  std::filesystem::path file() const { return folder_.path() / "manyhands.db"; }

  void reopen() {
    store_.reset();
    auto opened = SqliteStore::open(file());
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }

  void commit(Transaction transaction) {
    std::promise<void> committed;
    store_->commit(std::move(transaction), [&committed] { committed.set_value(); });
    committed.get_future().wait();
  }
  void commit_changes(scheduler::Changes changes) {
    Transaction transaction;
    transaction.changes = std::move(changes);
    commit(std::move(transaction));
  }

  ServerSnapshot load() {
    auto snapshot = store_->load();
    EXPECT_TRUE(snapshot) << snapshot.error().message;
    return snapshot ? std::move(*snapshot) : ServerSnapshot{};
  }
  ServerSnapshot load_again() {
    reopen();
    return load();
  }

  TemporaryFolder folder_;
  std::unique_ptr<SqliteStore> store_;
};

}  // namespace mh::server
