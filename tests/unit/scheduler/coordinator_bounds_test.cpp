// What keeps hosts from costing too much: bounded copies, slowed askers, jobs that do not fit; and
// what a late result is still worth.
#include <cstdint>
#include <limits>

#include "proto/base/random.h"
#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

class Bounds : public CoordinatorTest {
 protected:
  HostId attach_with(const std::string& name, std::uint32_t threads,
                     const std::string& device = "cpu") {
    HostDescription description;
    description.name = name;
    description.device = device;
    description.threads = threads;
    return take(coordinator->attach(std::nullopt, description, {}, now)).value();
  }
  ExchangeReply ask_in_vain(HostId host) {
    advance(1);
    ExchangeReply reply = ask(host, 1);
    EXPECT_TRUE(reply.assignments.empty());
    return reply;
  }
};

// ---- Late results (rule 4) ----

TEST_F(Bounds, AResultThatIsADayLateCountsIfItsWorkunitIsOpen) {
  start();
  const HostId host = attach("laptop");
  const JobId job = submit(small_job());
  const Assignment work = get(host);
  advance(30'000);
  tick();
  restart();
  advance(24 * 3'600'000);
  tick();
  EXPECT_EQ(store.results.at(work.result).state, ResultState::kExpired);
  EXPECT_EQ(ask(host, 0, {work.result}).revoked, std::vector<ResultId>{});
  EXPECT_TRUE(coordinator->result_info(host, work.result)->is_wanted);
  EXPECT_EQ(finish(host, work).verdict, Verdict::kValid);
  EXPECT_EQ(coordinator->job_summary(job, now)->hosts.at(0).row.sample_count, 8u);
}

TEST_F(Bounds, AResultWhoseWorkunitIsDoneIsTooLateAndNamedSoWhenItIsHeld) {
  start();
  const HostId away = attach("laptop");
  const HostId other = attach("other");
  const JobId job = submit(small_job());
  const Assignment work = get(away);
  advance(30'000);
  tick();
  EXPECT_EQ(finish(other, get(other)).verdict, Verdict::kValid);
  EXPECT_EQ(ask(away, 0, {work.result}).revoked, std::vector<ResultId>{work.result});
  EXPECT_EQ(finish(away, work).verdict, Verdict::kTooLate);
  run_step(job, other);
  EXPECT_EQ(finish(away, work).verdict, Verdict::kTooLate) << "its step is past";
  EXPECT_EQ(ask(away, 0, {work.result}).revoked, std::vector<ResultId>{work.result});
}

TEST_F(Bounds, AResultThatIsLongForgottenIsTooLateOneThatNeverWasIsUnknown) {
  CoordinatorOptions few;
  few.finished_results_kept = 1;
  start(few);
  const HostId host = attach("attic");
  const JobId job = submit(small_job());
  const Assignment work = get(host);
  finish(host, work);
  run_step(job, host);
  const ReportVerdict late = finish(host, work);
  EXPECT_EQ(late.verdict, Verdict::kTooLate);
  EXPECT_NE(late.reason.find("past"), std::string::npos);
  Assignment invented = work;
  invented.result = ResultId(1'000'000);
  EXPECT_EQ(finish(host, invented).verdict, Verdict::kUnknown);
}

// ---- Copies (rule 11) ----

// One host is always late by a little, another idles and copies: what would be half of all work.
TEST_F(Bounds, CopiesWasteNoMoreThanTheirShare) {
  CoordinatorOptions hasty;
  hasty.backup_factor = 0.5;
  start(hasty);
  const HostId late = attach("late");
  const HostId idle = attach("idle");
  JobSubmission long_job = small_job();
  long_job.step_count = 200;
  long_job.shard = long_job.batch;
  const JobId job = submit(long_job);
  int copies = 0;
  while (view(job).row.state == JobState::kRunning) {
    const Assignment work = get(late);
    advance(3'000);
    tick();
    const ExchangeReply reply = ask(idle, 1);
    copies += reply.assignments.empty() ? 0 : 1;
    EXPECT_EQ(finish(late, work).verdict, Verdict::kValid);
    complete(job, work.step);
    advance(100);
    const auto summary = coordinator->job_summary(job, now);
    EXPECT_LE(summary->wasted_gflop,
              options.backup_share_max * static_cast<double>(work.step + 1) * 4 +
                  options.backup_copies_free * 4.0);
  }
  EXPECT_GT(copies, 8) << "copies were made, or nothing is bounded";
  const auto summary = coordinator->job_summary(job, now);
  EXPECT_DOUBLE_EQ(summary->wasted_gflop, 4.0 * copies);
  EXPECT_LE(copies, 200 * options.backup_share_max + options.backup_copies_free);
  EXPECT_DOUBLE_EQ(summary->wasted_share, summary->wasted_gflop / (summary->wasted_gflop + 800));
  EXPECT_EQ(summary->backup_share_max, options.backup_share_max);
  restart();
  EXPECT_DOUBLE_EQ(coordinator->job_summary(job, now)->wasted_gflop, summary->wasted_gflop);
}

TEST_F(Bounds, BeyondTheBoundTheLeasesOwnEndGivesTheWorkToOthers) {
  CoordinatorOptions none;
  none.backup_share_max = 0;
  none.backup_copies_free = 0;
  start(none);
  const HostId dead = attach("dead");
  const HostId idle = attach("idle");
  JobSubmission one = small_job();
  one.shard = one.batch;
  submit(one);
  get(dead);
  advance(29'999);
  tick();
  const ExchangeReply reply = ask(idle, 1);
  EXPECT_TRUE(reply.assignments.empty());
  EXPECT_TRUE(reply.is_drained) << "nothing that anybody may have";
  advance(1);
  tick();
  EXPECT_TRUE(effects.is_work_available);
  EXPECT_EQ(finish(idle, get(idle)).verdict, Verdict::kValid);
  EXPECT_EQ(coordinator->job_summary(JobId(1), now)->wasted_gflop, 0);
}

TEST_F(Bounds, AHostThatWouldNotBeDoneBeforeTheLeaseEndsGetsNoCopy) {
  start();
  const HostId fast = attach("fast");
  const HostId slow = attach("slow");
  const JobId job = submit(small_job());
  const Assignment a = get(slow);
  for (int i = 0; i < 3; ++i) {
    const Assignment work = get(fast);
    advance(10);
    finish(fast, work);
  }
  advance(20'000);
  finish(slow, a);
  complete(job, 0);
  // The fast host takes all and falls silent; its leases end after five seconds.
  ask(fast, 4);
  advance(2'000);
  tick();
  EXPECT_TRUE(ask(slow, 1).assignments.empty()) << "it needs twenty seconds";
  const HostId unknown = attach("unknown");
  EXPECT_EQ(ask(unknown, 1).assignments.size(), 1u);
  advance(3'000);
  tick();
  EXPECT_EQ(ask(slow, 1).assignments.size(), 1u) << "as ordinary work";
}

// ---- Asking too often (rule 18) ----

TEST_F(Bounds, AHostThatAsksInALoopIsSlowedAndNotBanned) {
  start();
  const HostId host = attach("loop");
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(ask_in_vain(host).is_slowed) << i;
  }
  // A thousand calls a second from here on: five a second are heard.
  int heard = 0;
  for (int i = 0; i < 10'000; ++i) {
    const ExchangeReply reply = ask_in_vain(host);
    if (!reply.is_slowed) ++heard;
    if (reply.is_slowed) {
      EXPECT_GT(reply.backoff, milliseconds(0));
      EXPECT_LE(reply.backoff, milliseconds(201));
      EXPECT_EQ(reply.retry_at, now + reply.backoff);
      EXPECT_NE(reply.no_work_reason.find("too often"), std::string::npos);
    }
  }
  EXPECT_GE(heard, 49);
  EXPECT_LE(heard, 51);
  // It waits as it is told, and gets work.
  submit(small_job());
  advance(201);
  EXPECT_EQ(ask(host, 1).assignments.size(), 1u);
}

TEST_F(Bounds, WhoIsSlowedStillReportsRenewsAndGetsLostLeases) {
  start();
  const HostId host = attach("loop");
  submit(small_job());
  const ExchangeReply first = ask(host, 2);
  ASSERT_EQ(first.assignments.size(), 2u);
  const ResultId reported = first.assignments[0].result;
  const ResultId kept = first.assignments[1].result;
  bool is_slowed = false;
  for (int i = 0; i < 400 && !is_slowed; ++i) {
    advance(1);
    is_slowed = ask(host, 16, {reported, kept}).is_slowed;
  }
  ASSERT_TRUE(is_slowed);
  advance(1'000);
  for (int i = 0; i < 20; ++i) {
    advance(1);
    ask(host, 16, {reported, kept});
  }
  const ExchangeReply resent = ask(host, 1);
  EXPECT_FALSE(resent.assignments.empty()) << "a lease that it does not name was lost";
  EXPECT_EQ(finish(host, first.assignments[0]).verdict, Verdict::kValid);
  EXPECT_EQ(ask(host, 0, {kept}).revoked, std::vector<ResultId>{});
}

TEST_F(Bounds, AHostThatWorksFastNeverNotices) {
  start();
  const HostId host = attach("fast");
  JobSubmission tiny = small_job();
  tiny.step_count = 1'000;
  const JobId job = submit(tiny);
  // A workunit in two milliseconds, two calls for each.
  while (view(job).row.state == JobState::kRunning) {
    const ExchangeReply reply = ask(host, 1);
    ASSERT_FALSE(reply.is_slowed);
    ASSERT_EQ(reply.assignments.size(), 1u) << reply.no_work_reason;
    advance(1);
    finish(host, reply.assignments[0]);
    advance(1);
    if (effects.steps_ready.size() == 1) complete(job, effects.steps_ready[0].step);
  }
}

TEST_F(Bounds, ACallThatIsHeldPaysOnceHoweverOftenItIsAsked) {
  start();
  const HostId host = attach("parked");
  ExchangeEvent parked;
  parked.host = host;
  parked.wanted = 1;
  parked.received = now;
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_FALSE(take(coordinator->exchange(parked, now)).value().is_slowed);
  }
  EXPECT_FALSE(ask_in_vain(host).is_slowed);
}

// ---- Threads (rule 19) ----

TEST_F(Bounds, AJobGoesToHostsThatHaveItsThreads) {
  start();
  const HostId two = attach_with("two", 2);
  const HostId eight = attach_with("eight", 8);
  const HostId card = attach_with("card", 1, "cuda:0");
  JobSubmission wide = small_job();
  wide.threads = 4;
  const JobId job = submit(wide);
  EXPECT_EQ(ask(two, 1).no_work_reason, "job 1 (small) computes with 4 threads, this host has 2");
  EXPECT_EQ(ask(eight, 1).assignments.size(), 1u);
  EXPECT_EQ(ask(card, 1).assignments.size(), 1u) << "the card computes";
  advance(60'000);
  tick();
  EXPECT_TRUE(ask(two, 1).assignments.empty()) << "no backup either";
  EXPECT_NE(view(job).waiting_reason.find("4 threads"), std::string::npos);
  JobSubmission narrow = small_job("narrow");
  submit(narrow);
  EXPECT_EQ(get(two).job, JobId(2));
  restart();
  EXPECT_EQ(view(job).row.threads, 4u);
}

// ---- A host's clock and claims (rule 5) ----

// Two coordinators hear the same calls at the same server times; in one of them the host's own
// times are wild. Every reply, row and effect is equal but for the claim itself.
class TwoWorlds {
 public:
  TwoWorlds() : honest_({}, Snapshot{}, kStart), wild_({}, Snapshot{}, kStart) {}

  void run(std::uint64_t seed) {
    Philox4x32 random(seed);
    const JobSubmission job = submission();
    compare(honest_.submit_job(job, now_), wild_.submit_job(job, now_));
    for (int host = 0; host < 4; ++host) {
      compare(honest_.attach(std::nullopt, {}, {}, now_), wild_.attach(std::nullopt, {}, {}, now_));
    }
    for (int i = 0; i < 2'000; ++i) turn(random);
    EXPECT_GT(valid_, 100) << "the run did some work";
  }

 private:
  static constexpr TimePoint kStart{milliseconds(1'000'000'000)};

  static JobSubmission submission() {
    JobSubmission job;
    job.name = "twice";
    job.job_digest = digest_of("job");
    job.manifest_digest = digest_of("manifest");
    job.parameters_digest = digest_of("parameters");
    job.step_count = 1'000;
    job.batch = 32;
    job.shard = 8;
    job.training_flops = 1e9 / 8;
    return job;
  }

  void turn(Philox4x32& random) {
    now_ += milliseconds(random.below(random.below(20) == 0 ? 40'000 : 300));
    compare(honest_.tick(now_), wild_.tick(now_));
    ExchangeEvent event;
    event.host = HostId(1 + random.below(4));
    event.wanted = static_cast<std::uint32_t>(random.below(3));
    event.received = now_;
    auto& leases = leases_[event.host];
    if (!leases.empty() && random.below(3) > 0) {
      event.reports.push_back(report_of(leases.back(), random));
      leases.pop_back();
    }
    event.held = leases;
    ExchangeEvent other = event;
    constexpr std::uint64_t kClaims[] = {0, 1, 3'600'000, std::numeric_limits<std::int64_t>::max()};
    for (Report& report : other.reports) report.compute_ms = kClaims[random.below(4)];
    const auto decision = honest_.exchange(event, now_);
    compare(decision, wild_.exchange(other, now_));
    for (const Assignment& work : decision.reply->assignments) {
      if (std::find(leases.begin(), leases.end(), work.result) == leases.end())
        leases.push_back(work.result);
    }
    for (const ReportVerdict& verdict : decision.reply->verdicts) {
      valid_ += verdict.verdict == Verdict::kValid ? 1 : 0;
    }
    for (const StepReady& step : decision.effects.steps_ready) complete(step);
  }

  static Report report_of(ResultId result, Philox4x32& random) {
    Report report;
    report.result = result;
    report.outcome = random.below(10) == 0 ? Outcome::kFailed : Outcome::kSuccess;
    report.update_digest = digest_of("update " + to_string(result));
    report.update_bytes = 100;
    report.loss_sum = 1;
    report.compute_ms = 10;
    return report;
  }

  void complete(const StepReady& step) {
    StepOutput output;
    output.parameters_digest = digest_of("parameters " + std::to_string(step.step + 1));
    compare(honest_.step_completed(step.job, step.step, output, now_),
            wild_.step_completed(step.job, step.step, output, now_));
  }

  template <class Reply>
  void compare(const Decision<Reply>& a, Decision<Reply> b) {
    ASSERT_EQ(a.changes.results.size(), b.changes.results.size());
    for (std::size_t i = 0; i < b.changes.results.size(); ++i) {
      b.changes.results[i].compute_ms = a.changes.results[i].compute_ms;
    }
    EXPECT_EQ(a.changes.jobs, b.changes.jobs);
    EXPECT_EQ(a.changes.hosts, b.changes.hosts);
    EXPECT_EQ(a.changes.workunits, b.changes.workunits);
    EXPECT_EQ(a.changes.results, b.changes.results);
    EXPECT_EQ(a.changes.steps, b.changes.steps);
    EXPECT_EQ(a.changes.contributions, b.changes.contributions);
    EXPECT_EQ(a.changes.log, b.changes.log);
    EXPECT_EQ(a.wake_at, b.wake_at);
    EXPECT_EQ(a.effects.is_work_available, b.effects.is_work_available);
    EXPECT_EQ(a.effects.updates_unused, b.effects.updates_unused);
    if constexpr (std::is_same_v<Reply, Result<ExchangeReply>>) compare_replies(*a.reply, *b.reply);
  }
  static void compare_replies(const ExchangeReply& a, const ExchangeReply& b) {
    EXPECT_EQ(a.revoked, b.revoked);
    EXPECT_EQ(a.backoff, b.backoff);
    EXPECT_EQ(a.no_work_reason, b.no_work_reason);
    EXPECT_EQ(a.retry_at, b.retry_at);
    ASSERT_EQ(a.assignments.size(), b.assignments.size());
    for (std::size_t i = 0; i < a.assignments.size(); ++i) {
      EXPECT_EQ(a.assignments[i].result, b.assignments[i].result);
      EXPECT_EQ(a.assignments[i].lease, b.assignments[i].lease);
    }
    ASSERT_EQ(a.verdicts.size(), b.verdicts.size());
    for (std::size_t i = 0; i < a.verdicts.size(); ++i) {
      EXPECT_EQ(a.verdicts[i].verdict, b.verdicts[i].verdict);
      EXPECT_EQ(a.verdicts[i].credit, b.verdicts[i].credit);
    }
  }

  TimePoint now_ = kStart;
  Coordinator honest_;
  Coordinator wild_;
  std::map<HostId, std::vector<ResultId>> leases_;
  int valid_ = 0;
};

TEST(HostClocks, DecideNothing) {
  for (std::uint64_t seed = 1; seed <= 20 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TwoWorlds().run(seed);
  }
}

}  // namespace
}  // namespace mh::scheduler
