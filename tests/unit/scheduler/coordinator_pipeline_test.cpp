// The coordinator between a shell and clients that behave like the real ones, in virtual time:
// parked calls, two connections a host, a queue of two. Asks how long steps take, whatever dies.
#include <algorithm>
#include <deque>
#include <functional>
#include <queue>
#include <tuple>

#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLatency{1};
constexpr milliseconds kAggregation{2};

class Pipeline : public CoordinatorTest {
 protected:
  struct Client {
    HostId id;
    milliseconds gradient{5};
    milliseconds evaluation{5};
    std::deque<Assignment> held;
    bool is_computing = false;
    bool is_polling = false;
    bool is_dead = false;
  };
  struct Parked {
    std::size_t client;
    ExchangeEvent event;
  };

  void at(milliseconds after, std::function<void()> what) {
    events.push({now + after, ++sequence, std::move(what)});
  }

  std::size_t add_client(milliseconds gradient, milliseconds evaluation, bool is_trusted = false) {
    const std::size_t index = clients.size();
    Client client;
    client.id = attach("client" + std::to_string(index), is_trusted);
    client.gradient = gradient;
    client.evaluation = evaluation;
    clients.push_back(client);
    at(kLatency, [this, index] { poll(index); });
    return index;
  }

  // ---- The client ----

  static std::vector<ResultId> held_of(const Client& client) {
    std::vector<ResultId> held;
    for (const Assignment& work : client.held) held.push_back(work.result);
    return held;
  }

  void poll(std::size_t index) {
    Client& client = clients[index];
    if (client.is_dead || client.is_polling || client.held.size() >= 2) return;
    client.is_polling = true;
    ExchangeEvent event;
    event.host = client.id;
    event.wanted = static_cast<std::uint32_t>(2 - client.held.size());
    event.held = held_of(client);
    at(kLatency, [this, index, event] { serve_poll({index, event}, true); });
  }

  void receive(std::size_t index, const ExchangeReply& reply) {
    Client& client = clients[index];
    client.is_polling = false;
    if (client.is_dead) return;
    for (const ResultId id : reply.revoked) {
      std::erase_if(client.held, [&](const Assignment& work) { return work.result == id; });
    }
    for (const Assignment& work : reply.assignments) {
      const bool is_known =
          std::any_of(client.held.begin(), client.held.end(),
                      [&](const Assignment& one) { return one.result == work.result; });
      if (!is_known) client.held.push_back(work);
    }
    compute(index);
    poll(index);
  }

  void compute(std::size_t index) {
    Client& client = clients[index];
    if (client.is_computing || client.held.empty()) return;
    client.is_computing = true;
    const Assignment work = client.held.front();
    const milliseconds time =
        work.kind == WorkKind::kGradient ? client.gradient : client.evaluation;
    at(time, [this, index, work] { computed(index, work); });
  }

  void computed(std::size_t index, const Assignment& work) {
    Client& client = clients[index];
    client.is_computing = false;
    if (client.is_dead) return;
    std::erase_if(client.held, [&](const Assignment& one) { return one.result == work.result; });
    ExchangeEvent event;
    event.host = client.id;
    event.held = held_of(client);
    event.reports = {success(work)};
    at(kLatency, [this, event] {
      ExchangeEvent arrived = event;
      arrived.received = now;
      serve(take(coordinator->exchange(arrived, now)).value());
    });
    compute(index);
    poll(index);
  }

  // ---- The shell ----

  void serve_poll(Parked call, bool is_new) {
    if (is_new) call.event.received = now;
    const ExchangeReply reply = take(coordinator->exchange(call.event, now)).value();
    if (reply.is_parkable()) {
      parked.push_back(call);
      if (reply.retry_at) at(*reply.retry_at - now, [this] { ask_parked(); });
    } else {
      at(kLatency, [this, index = call.client, reply] { receive(index, reply); });
    }
    serve(reply);
  }

  void serve(const ExchangeReply&) {
    for (const StepReady& step : effects.steps_ready) {
      at(kAggregation, [this, step] {
        if (!last_step_at.empty()) longest_step = std::max(longest_step, now - last_step_at.back());
        last_step_at.push_back(now);
        complete(step.job, step.step);
        serve({});
      });
    }
    if (wake_at) {
      at(std::max(milliseconds(0), *wake_at - now), [this] {
        take(coordinator->tick(now));
        if (effects.is_work_available) ask_parked();
      });
    }
    if (effects.is_work_available) at(milliseconds(0), [this] { ask_parked(); });
  }

  void ask_parked() {
    std::deque<Parked> waiting = std::exchange(parked, {});
    for (const Parked& call : waiting) {
      if (!clients[call.client].is_dead) serve_poll(call, false);
    }
  }

  void run(JobId job) {
    for (int i = 0; i < 2'000'000 && view(job).row.state == JobState::kRunning; ++i) {
      ASSERT_FALSE(events.empty()) << "nothing will ever happen again";
      const Event next = events.top();
      events.pop();
      now = std::max(now, next.time);
      next.what();
      if (next_fault < faults.size() && view(job).row.step >= faults[next_fault].first) {
        faults[next_fault++].second();
      }
    }
    EXPECT_EQ(view(job).row.state, JobState::kFinished);
  }

  // Happens when the step is reached.
  void fault_at(std::uint64_t step, std::function<void()> what) {
    faults.emplace_back(step, std::move(what));
  }

  struct Event {
    TimePoint time;
    std::uint64_t sequence;
    std::function<void()> what;
    bool operator<(const Event& other) const {
      return std::tie(time, sequence) > std::tie(other.time, other.sequence);
    }
  };

  std::priority_queue<Event> events;
  std::uint64_t sequence = 0;
  std::vector<Client> clients;
  std::deque<Parked> parked;
  std::vector<TimePoint> last_step_at;
  milliseconds longest_step{0};
  std::vector<std::pair<std::uint64_t, std::function<void()>>> faults;
  std::size_t next_fault = 0;
};

JobSubmission pipeline_job() {
  JobSubmission job;
  job.name = "pipeline";
  job.job_digest = digest_of("job");
  job.parameters_digest = digest_of("parameters");
  job.step_count = 200;
  job.batch = 128;
  job.shard = 32;
  job.training_flops = 1e7;
  job.evaluation_flops = 3e6;
  job.has_evaluation = true;
  job.evaluation_split = "test";
  job.evaluation_every_steps = 20;
  job.evaluation_sample_count = 10'000;
  job.evaluation_shard = 2'500;
  return job;
}

TEST_F(Pipeline, StepsFollowEachOtherWithoutGaps) {
  start();
  for (int i = 0; i < 4; ++i) add_client(milliseconds(5), milliseconds(150));
  JobSubmission plain = pipeline_job();
  plain.has_evaluation = false;
  const JobId job = submit(plain);
  const TimePoint began = now;
  run(job);
  // Compute 5 ms, aggregation 2 ms, reply and report 1 ms each.
  EXPECT_LE((last_step_at.back() - began).count() / 200.0, 9.2);
  EXPECT_EQ(coordinator->job_summary(job, now)->samples_counted, 200u * 128u);
}

TEST_F(Pipeline, EvaluationsDoNotHoldUpTraining) {
  start();
  for (int i = 0; i < 4; ++i) add_client(milliseconds(5), milliseconds(150), i == 0);
  const JobId job = submit(pipeline_job());
  const TimePoint began = now;
  run(job);
  // One host evaluates nearly all the time; of the other three one computes twice: 14 ms.
  EXPECT_LE((last_step_at.back() - began).count() / 200.0, 14.2);
}

TEST_F(Pipeline, AKilledHostDelaysOneStepByAQuarterOfASecond) {
  start();
  for (int i = 0; i < 4; ++i) add_client(milliseconds(5), milliseconds(50), i == 0);
  const JobId job = submit(pipeline_job());
  // In the middle of a workunit.
  fault_at(100, [this] { at(milliseconds(4), [this] { clients[3].is_dead = true; }); });
  fault_at(150, [this] { at(milliseconds(4), [this] { clients[2].is_dead = true; }); });
  run(job);
  EXPECT_LT(longest_step, milliseconds(400));
  EXPECT_GT(longest_step, milliseconds(200)) << "nobody was killed with a lease in hand";
}

TEST_F(Pipeline, AHostThatDiesBeforeItsFirstResultDelaysTwoSeconds) {
  start();
  for (int i = 0; i < 3; ++i) add_client(milliseconds(5), milliseconds(50), i == 0);
  const JobId job = submit(pipeline_job());
  fault_at(10, [this] { clients[add_client(milliseconds(60'000), milliseconds(1))].held.clear(); });
  run(job);
  EXPECT_LT(longest_step, milliseconds(2'500));
}

TEST_F(Pipeline, GoesOnAfterAServerCrashByItself) {
  start();
  for (int i = 0; i < 3; ++i) add_client(milliseconds(5), milliseconds(50), i == 0);
  const JobId job = submit(pipeline_job());
  for (const std::uint64_t step : {30u, 90u, 91u, 160u}) {
    fault_at(step, [this] {
      restart();
      // Connections break: parked calls are gone, clients ask again.
      parked.clear();
      serve({});
      for (std::size_t i = 0; i < clients.size(); ++i) {
        clients[i].is_polling = false;
        at(milliseconds(50), [this, i] { poll(i); });
      }
    });
  }
  run(job);
  EXPECT_LT(longest_step, milliseconds(400));
  EXPECT_EQ(store.steps.size(), 200u);
}

TEST_F(Pipeline, OneSlowHostAmongFastOnesDoesNotSetThePace) {
  start();
  add_client(milliseconds(5), milliseconds(50), true);
  add_client(milliseconds(5), milliseconds(50));
  add_client(milliseconds(1'500), milliseconds(50));
  const JobId job = submit(pipeline_job());
  const TimePoint began = now;
  run(job);
  EXPECT_LT((last_step_at.back() - began).count() / 200.0, 60);
}

}  // namespace
}  // namespace mh::scheduler
