// See world.h. Here: making a world and running it; its faults are in world_faults.cpp.
#include "tests/sim/world.h"

#include <algorithm>
#include <cmath>

#include "tests/sim/jobs.h"

namespace mh::sim {
namespace {

// Bits and bytes.
constexpr double kBytesPerMsOfMbit = 125;
constexpr double kDownPerUp = 5;
// Worlds of so many hosts are looked at as a whole after every event.
constexpr std::size_t kSmallWorld = 32;
// Larger ones: after so many events for each host.
constexpr std::uint64_t kEventsPerHost = 400;
// A restart is tried beside the server after so many events.
constexpr std::uint64_t kRestartEvery = 97;
// How long a world goes on after its jobs have ended: late and repeated reports.
constexpr milliseconds kAfterwards{20'000};
// Crowds arrive within this share of the duration.
constexpr double kCrowdTime = 0.8;

milliseconds to_ms(double seconds) {
  return milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

}  // namespace

World::World(const Scenario& scenario, std::uint64_t seed, std::optional<std::vector<SimJob>> jobs)
    : scenario_(scenario),
      seed_(seed),
      events_(TimePoint{} + milliseconds(1'000)),
      environment_{scenario_, events_, {}, {}, {}, false, {}, 0},
      network_(scenario_, events_, seed),
      server_(environment_, network_, seed),
      faults_(seed, Purpose::kFaults),
      admin_(seed, Purpose::kAdmin) {
  environment_.jobs = jobs ? std::move(*jobs) : make_jobs(scenario_, seed);
}

Outcome World::run() {
  Outcome outcome;
  try {
    server_.start();
    submit_jobs();
    make_hosts();
    plan_faults();
    run_events();
    check_end();
  } catch (const Violation& violation) {
    outcome.invariant = violation.invariant();
    outcome.text = violation.what();
  } catch (const std::exception& error) {
    outcome.invariant = "exception";
    outcome.text = error.what();
  }
  fill(outcome);
  return outcome;
}

// Again, where a crash has lost a submission: researchers repeat them until they are answered.
void World::submit_jobs() {
  for (SimJob& job : environment_.jobs) {
    if (server_.coordinator().job_of_request(job.submission.request_id)) continue;
    server_.add_blob(job.submission.job_digest);
    server_.add_blob(job.submission.manifest_digest);
    server_.add_blob(job.submission.parameters_digest);
    for (const auto& [split, chunks] : job.chunks) {
      for (const client::ManifestChunk& chunk : chunks) server_.add_blob(chunk.digest);
    }
    job.id = server_.submit(job.submission);
  }
}

HostProfile World::draw_profile(std::uint32_t index, Random& random) const {
  HostProfile profile;
  profile.index = index;
  profile.is_anchor = index == 0;
  profile.gflops = random.log_normal(scenario_.speed_gflops, scenario_.speed_sigma);
  if (random.chance(scenario_.slow_share) && index > 0) profile.gflops /= scenario_.slow_factor;
  profile.is_always_on = random.chance(scenario_.always_on);
  profile.time_zone = random.uniform();
  profile.is_bad = random.chance(scenario_.bad_share);
  profile.is_forgetful = random.chance(scenario_.forgetful_share);
  profile.is_impostor = random.chance(scenario_.impostor_share);
  profile.is_repeater = random.chance(scenario_.repeater_share);
  profile.drift = random.between(-scenario_.drift, scenario_.drift);
  return profile;
}

void World::make_hosts() {
  const auto count = static_cast<std::uint32_t>(scenario_.host_count);
  hosts_.reserve(count);
  for (std::uint32_t index = 0; index < count; ++index) {
    Random random(seed_, Purpose::kProfile, index);
    const HostProfile profile = draw_profile(index, random);
    const double up = random.log_normal(scenario_.up_mbits, scenario_.link_sigma);
    Link link;
    link.latency_ms = scenario_.latency_ms * random.between(0.3, 2);
    link.up_bytes_per_ms = up * kBytesPerMsOfMbit;
    link.down_bytes_per_ms = up * kBytesPerMsOfMbit * kDownPerUp;
    network_.add_link(link);
    hosts_.push_back(std::make_unique<Host>(environment_, network_, server_, profile, seed_));
    // The first hosts are there from the start, a crowd follows.
    const bool is_early = index == 0 || random.chance(1 / scenario_.crowd);
    const double wait = is_early ? random.uniform() * std::min(1.0, scenario_.day)
                                 : random.uniform() * scenario_.duration * kCrowdTime;
    Event arrival;
    arrival.kind = EventKind::kHostArrives;
    arrival.host = index;
    events_.schedule_in(to_ms(wait), arrival);
  }
}

// A world needs a few hundred for each host: one that makes more turns in a circle.
std::uint64_t World::event_count_max() const { return 100'000 + 20'000 * hosts_.size(); }

void World::run_events() {
  const TimePoint end = TimePoint{} + to_ms(1 + scenario_.duration);
  const bool is_endless = scenario_.is_endless > 0;
  while (!events_.is_empty()) {
    if (is_endless && events_.next_time() > end) return;
    if (!is_endless && is_over()) return;
    if (!is_endless && events_.next_time() > patience()) {
      throw Violation("progress", "jobs have not ended " +
                                      std::to_string((patience() - end).count() / 1000) +
                                      " s after the faults did");
    }
    if (!is_endless && environment_.counts.events > event_count_max()) {
      throw Violation("progress", "jobs have not ended after " +
                                      std::to_string(environment_.counts.events) + " events");
    }
    const Event event = events_.pop();
    ++environment_.counts.events;
    digest_ = derive_key(digest_, static_cast<std::uint64_t>(to_unix_ms(event.time)),
                         (std::uint64_t{event.host} << 8) | static_cast<std::uint64_t>(event.kind));
    if (environment_.trace.is_kept()) trace(event);
    handle(event);
    look_at_everything();
  }
  throw Violation("progress", "nothing will ever happen again");
}

void World::trace(const Event& event) {
  const bool is_of_host = event.kind <= EventKind::kClockJump || event.kind == EventKind::kRequest;
  std::string text = is_of_host ? "host " + std::to_string(event.host) + " " : "server ";
  text += event_name(event.kind);
  environment_.trace.add(event.time, text);
}

void World::handle(const Event& event) {
  if (event.kind < EventKind::kClockJump) return hosts_[event.host]->handle(event);
  if (event.kind >= EventKind::kRequest && event.kind <= EventKind::kAggregated) {
    return server_.handle(event);
  }
  if (event.kind == EventKind::kServerStart) return server_.handle(event);
  handle_fault(event);
}

void World::look_at_everything() {
  if (until_check_ > 0) {
    --until_check_;
    return;
  }
  const bool is_small = hosts_.size() <= kSmallWorld;
  until_check_ = is_small ? 0 : kEventsPerHost * hosts_.size();
  if (server_.is_up()) server_.coordinator().sanity_check();
  if (is_small && environment_.counts.events % kRestartEvery == 0) {
    server_.compare_restart();
    server_.check_all();
  }
}

bool World::is_over() {
  if (!server_.has_ended()) {
    ended_ = {};
    return false;
  }
  if (ended_ == TimePoint{}) ended_ = events_.now();
  return events_.now() >= ended_ + kAfterwards && server_.is_settled();
}

// When all jobs must have ended: the faults are over, all hosts are there and do what they should.
TimePoint World::patience() const {
  // Pauses and back-offs that faults have left behind.
  constexpr double kCalmDown = 1'800;
  constexpr double kPerStep = 60;
  double slowest = 0;
  for (const auto& host : hosts_) {
    if (!host->has_left()) slowest = std::max(slowest, 1 / host->profile().gflops);
  }
  double seconds = scenario_.duration + kCalmDown;
  for (const SimJob& job : environment_.jobs) {
    const scheduler::JobSubmission& facts = job.submission;
    const double workunit = static_cast<double>(facts.shard) * facts.training_flops / 1e9 * slowest;
    // Each step may wait for the queue of the slowest host, and so may each evaluation.
    seconds += 2 * static_cast<double>(facts.step_count) *
               (kPerStep + 3 * (1 + scenario_.queue_length) * workunit);
  }
  return TimePoint{} + to_ms(seconds);
}

void World::check_end() {
  server_.check_all();
  if (scenario_.is_endless > 0) return;
  server_.compare_restart();
  for (const auto& host : hosts_) {
    if (!host->id() || !host->is_on()) continue;
    const scheduler::HostRow* row = server_.durable().host(*host->id());
    if (row == nullptr || host->credit() > row->credit * (1 + 1e-9)) {
      throw Violation("credit",
                      "host " + to_string(*host->id()) + " was told of more credit than it has");
    }
  }
}

void World::fill(Outcome& outcome) const {
  outcome.digest = derive_key(digest_, server_.digest());
  outcome.counts = environment_.counts;
  outcome.server = server_.counts();
  outcome.seconds = static_cast<double>(to_unix_ms(events_.now())) / 1000 - 1;
  TimePoint last{};
  for (const auto& [id, job] : server_.durable().jobs) {
    outcome.steps_done += job.step;
    outcome.samples_done += job.step * job.batch;
    if (job.state == scheduler::JobState::kFinished) ++outcome.jobs_finished;
    last = std::max({last, job.finished, job.last_step});
  }
  outcome.job_seconds = std::max(0.0, static_cast<double>(to_unix_ms(last)) / 1000 - 1);
  for (const auto& host : hosts_) {
    outcome.counts.online_seconds += host->online_seconds_of_this_run();
  }
  outcome.trace = {environment_.trace.lines().begin(), environment_.trace.lines().end()};
}

}  // namespace mh::sim
