#include "tests/bench/attack/world.h"

#include <algorithm>

#include "tests/bench/attack/world_state.h"
#include "trainer/update/optimizer.h"

namespace mh::attack {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHonestDuration{1'000};
constexpr milliseconds kAggregation{20};
constexpr milliseconds kComparison{5};
constexpr milliseconds kWakeUp{1};
constexpr milliseconds kPollMin{500};
constexpr milliseconds kBannedPoll{60'000};
// Events of a run that goes on: far more than a good one has.
constexpr std::uint64_t kEventsPerStepMax = 20'000;
constexpr double kMomentum = 0.9;
constexpr std::uint64_t kSpeedPurpose = 0x53504545;
constexpr std::uint64_t kCheckPurpose = 0x43484543;

scheduler::StepShape shape_of(const Scenario& scenario) { return {scenario.batch, scenario.shard}; }

update::StepRule rule_of(const Scenario& scenario) {
  update::StepRule rule;
  rule.optimizer.kind = model::OptimizerKind::kSgd;
  rule.optimizer.learning_rate = scenario.learning_rate;
  rule.optimizer.momentum = kMomentum;
  rule.schedule.kind = model::ScheduleKind::kCosine;
  rule.schedule.warmup_steps = scenario.step_count / 20;
  rule.step_count = scenario.step_count;
  return rule;
}

scheduler::JobSubmission submission_of(const Scenario& scenario, const model::ModelPlan& plan,
                                       const Digest& parameters) {
  scheduler::JobSubmission job;
  job.name = "attacked";
  job.dataset = "images";
  job.job_digest = sha256(std::string_view("job"));
  job.manifest_digest = sha256(std::string_view("manifest"));
  job.parameters_digest = parameters;
  job.step_count = scenario.step_count;
  job.batch = scenario.batch;
  job.shard = scenario.shard;
  job.training_flops = plan.flops_per_sample;
  job.validation = scenario.defence.has_checks
                       ? scheduler::kUsualValidation
                       : scheduler::ValidationPolicy{.mode = scheduler::ValidationMode::kNone};
  return job;
}

}  // namespace

World::World(const Scenario& scenario, Learner& learner)
    : scenario_(scenario),
      learner_(learner),
      plan_(learner.plan()),
      shape_(shape_of(scenario)),
      insight_(learner,
               SampleOrder(scenario.distribution, scenario.seed, learner.classes(), shape_), shape_,
               scenario.defence, scenario.host_count, scenario.attacker_count),
      adversary_(*scenario.attack, insight_, scenario.seed),
      rule_(rule_of(scenario)),
      parameters_(model::initial_parameters(plan_, scenario.seed)),
      state_(update::optimizer_slots(rule_.optimizer) * plan_.parameter_count),
      now_(from_unix_ms(1'000'000'000)) {}

Result<Outcome> World::run() {
  start();
  const std::uint64_t event_max = kEventsPerStepMax * scenario_.step_count;
  for (std::uint64_t count = 0; count < event_max && !events_.empty(); ++count) {
    if (coordinator_->job(job_, now_)->row.state != scheduler::JobState::kRunning) break;
    const Event event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.at);
    MH_TRY_VOID(handle(event));
  }
  Outcome made = outcome();
  MH_TRY(made.accuracy, learner_.accuracy(parameters_));
  return made;
}

void World::start() {
  scheduler::CoordinatorOptions options;
  if (scenario_.reliable_hosts_min > 0) options.reliable_hosts_min = scenario_.reliable_hosts_min;
  options.check_key = derive_key(scenario_.seed, kCheckPurpose);
  coordinator_ = std::make_unique<scheduler::Coordinator>(options, scheduler::Snapshot{}, now_);
  insight_.add_parameters(parameters_);
  const Digest first = sha256(std::as_bytes(std::span(parameters_)));
  job_ = take(coordinator_->submit_job(submission_of(scenario_, plan_, first), now_)).value().job;
  const auto classes = device_classes();
  machines_.resize(scenario_.host_count);
  const std::uint64_t first_attacker = scenario_.host_count - scenario_.attacker_count;
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    Machine& machine = machines_[i];
    machine.index = i;
    machine.device = &classes[scenario_.has_mixed_devices ? i % classes.size() : 0];
    // Half as fast to half as fast again.
    Philox4x32 random(derive_key(scenario_.seed, kSpeedPurpose), i);
    machine.duration = kHonestDuration * (50 + random.below(101)) / 100;
    if (i >= first_attacker) machine.attacker = i - first_attacker;
    machine.outcome.is_attacker = machine.attacker && scenario_.attack != &attack_table()[0];
    attach(machine);
  }
}

void World::attach(Machine& machine) {
  scheduler::HostDescription description;
  description.name = "host " + std::to_string(machine.index);
  description.device = machine.device->device;
  description.device_model = machine.device->model;
  // A new name is a new account, too; its network stays.
  scheduler::HostOrigin origin;
  origin.account = ++account_count_;
  origin.address_block = "10.0." + std::to_string(machine.index) + ".0/24";
  machine.host = take(coordinator_->attach(std::nullopt, description, origin, now_)).value();
  machine_of_[machine.host] = machine.index;
  machine.handed_in = 0;
  if (machine.index < scenario_.trusted_count)
    take(coordinator_->set_trust(machine.host, true, now_)).value();
  ++machine.generation;
  schedule(What::kHost, now_ + kWakeUp * static_cast<int>(machine.index), machine.index);
}

void World::schedule(What what, TimePoint at, std::size_t machine) {
  const std::uint64_t generation = what == What::kHost ? machines_[machine].generation : 0;
  events_.push({at, ++sequence_, what, machine, generation});
}

Status World::handle(const Event& event) {
  if (event.what == What::kStep) return complete_step();
  if (event.what == What::kCompare) compare();
  if (event.what == What::kHost) {
    Machine& machine = machines_[event.machine];
    return event.generation == machine.generation ? wake(machine) : Status();
  }
  if (event.what == What::kTick && event.at == tick_at_) take(coordinator_->tick(now_));
  return {};
}

// A host's turn: it reports what it finished and asks for more.
Status World::wake(Machine& machine) {
  ++machine.generation;
  machine.is_idle = false;
  scheduler::ExchangeEvent event;
  event.host = machine.host;
  event.received = now_;
  event.wanted = 1;
  if (machine.work) {
    MH_TRY(scheduler::Report report, finished(machine));
    event.reports = {std::move(report)};
    machine.work.reset();
  }
  const auto reply = take(coordinator_->exchange(event, now_));
  if (!reply) {
    schedule(What::kHost, now_ + kBannedPoll, machine.index);
    return {};
  }
  if (!reply->assignments.empty()) {
    machine.work = reply->assignments.front();
    const bool is_cheat = machine.attacker && !is_honest(*scenario_.attack, errand_of(machine));
    const double factor = is_cheat ? scenario_.attack->seconds_factor : 1;
    const auto duration = std::chrono::duration_cast<milliseconds>(machine.duration * factor);
    schedule(What::kHost, now_ + std::max(duration, kWakeUp), machine.index);
    return {};
  }
  machine.is_idle = true;
  TimePoint at = now_ + std::max(reply->backoff, kPollMin);
  if (reply->retry_at) at = std::min(at, std::max(*reply->retry_at, now_ + kWakeUp));
  schedule(What::kHost, at, machine.index);
  return {};
}

void World::wake_idle() {
  for (Machine& machine : machines_) {
    if (!machine.is_idle) continue;
    machine.is_idle = false;
    ++machine.generation;
    schedule(What::kHost, now_ + kWakeUp, machine.index);
  }
}

void World::note(const scheduler::Changes& changes) {
  for (const scheduler::WorkunitRow& row : changes.workunits) {
    if (row.canonical.is_valid()) canonical_[{row.step, row.shard}] = row.canonical;
  }
}

void World::carry_out(const scheduler::Effects& effects) {
  for (const scheduler::StepReady& ready : effects.steps_ready) {
    ready_ = ready;
    schedule(What::kStep, now_ + kAggregation);
  }
  for (const auto* digests : {&effects.blobs_unreferenced, &effects.updates_unused}) {
    for (const Digest& digest : *digests) {
      if (!coordinator_->is_blob_referenced(digest)) blobs_.erase(digest);
    }
  }
  for (const scheduler::Comparison& comparison : effects.comparisons) {
    comparisons_.push_back(comparison);
    schedule(What::kCompare, now_ + kComparison);
  }
  if (effects.is_work_available) wake_idle();
}

// Who was found out; and who comes back.
void World::look_at_standing() {
  const std::uint64_t step = coordinator_->job(job_, now_)->row.step;
  const std::uint64_t away = scenario_.attack->return_after_steps;
  for (Machine& machine : machines_) {
    const scheduler::HostRow row = coordinator_->host(machine.host)->row;
    const bool is_out = row.standing >= scheduler::Standing::kLimited;
    if (is_out && !machine.outcome.out_at_step) {
      machine.outcome.out_at_step = step;
      machine.outcome.out_reason = row.standing_reason;
    }
    if (!machine.attacker || away == 0) continue;
    if (is_out && !machine.return_at_step) machine.return_at_step = step + away;
    if (!machine.return_at_step || *machine.return_at_step > step) continue;
    machine.return_at_step.reset();
    machine.past_hosts.push_back(machine.host);
    machine.work.reset();
    attach(machine);
  }
}

Outcome World::outcome() {
  Outcome made;
  const scheduler::JobRow row = coordinator_->job(job_, now_)->row;
  made.steps_done = row.step;
  if (row.state == scheduler::JobState::kFailed) made.failure = row.state_reason;
  if (row.state == scheduler::JobState::kRunning) made.failure = "it came to a standstill";
  const auto workunits =
      static_cast<double>(std::max<std::uint64_t>(1, row.step) * workunits_per_step(shape_));
  made.work_factor = static_cast<double>(result_count_) / workunits;
  made.virtual_seconds = static_cast<double>((now_ - from_unix_ms(1'000'000'000)).count()) / 1000;
  for (Machine& machine : machines_) {
    machine.past_hosts.push_back(machine.host);
    machine.outcome.name_count = machine.past_hosts.size();
    for (const HostId host : machine.past_hosts) {
      const scheduler::HostRow host_row = coordinator_->host(host)->row;
      machine.outcome.credit += host_row.credit;
      machine.outcome.credit_held += host_row.credit_held;
      machine.outcome.checked_count += host_row.checked_count;
      machine.outcome.differed_count += host_row.differed_count;
    }
    made.hosts.push_back(machine.outcome);
  }
  return made;
}

Result<Outcome> run(const Scenario& scenario, Learner& learner) {
  return World(scenario, learner).run();
}

}  // namespace mh::attack
