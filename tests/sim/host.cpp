// See host.h. Here: the process, its clock, and the person before it.
#include "tests/sim/host.h"

#include <algorithm>
#include <cmath>

namespace mh::sim {
namespace {

// Sessions are heavy-tailed (Weibull); those of hosts that are always on last a day on average.
constexpr double kSessionShape = 0.6;
// Pause between two sessions of a host that is always on, in days.
constexpr double kRestartPause = 0.005;
// When people come home, and the spread, in days.
constexpr double kEvening = 0.75;
constexpr double kEveningSpread = 0.08;
constexpr double kAttachRetrySeconds = 2;
constexpr double kMsPerSecond = 1000;
// Clocks of hosts show a day in 2026, so that one set back still shows a time after 1970.
constexpr std::chrono::hours kClockStart{24 * 20'500};

milliseconds to_ms(double seconds) {
  // A month is beyond every horizon.
  constexpr double kSecondsMax = 2.6e6;
  return milliseconds(
      static_cast<std::int64_t>(std::clamp(seconds, 0.0, kSecondsMax) * kMsPerSecond));
}

}  // namespace

Host::Host(Environment& environment, Network& network, Server& server, const HostProfile& profile,
           std::uint64_t seed)
    : environment_(environment),
      network_(network),
      server_(server),
      profile_(profile),
      seed_(seed),
      session_(seed, Purpose::kSession, profile.index),
      trainer_(seed, Purpose::kTrainer, profile.index),
      hostile_(seed, Purpose::kHostile, profile.index) {}

void Host::schedule(EventKind kind, milliseconds delay, std::uint64_t subject) {
  Event event;
  event.kind = kind;
  event.host = profile_.index;
  event.life = life_;
  event.subject = subject;
  environment_.events.schedule_in(delay, event);
}

void Host::handle(const Event& event) {
  if (event.life != life_ || has_left_) return;
  switch (event.kind) {
    case EventKind::kHostArrives:
    case EventKind::kHostUp:
      return start();
    case EventKind::kAttachReply:
      return attached(event);
    default:
      break;
  }
  if (core_ == nullptr) return;
  switch (event.kind) {
    case EventKind::kHostDown:
      if (environment_.is_healed) return;
      if (!profile_.is_anchor && session_.chance(environment_.scenario.leave)) return leave();
      return perform(core_->stop(clock()));
    case EventKind::kHostKilled:
      return kill();
    case EventKind::kHostPause:
      is_paused_ = true;
      return perform(core_->pause(clock()));
    case EventKind::kHostResume:
      is_paused_ = false;
      return perform(core_->resume(clock()));
    case EventKind::kHostTimer:
      if (event.time != timer_at_) return;
      timer_at_ = {};
      return perform(core_->timer(clock()));
    case EventKind::kReply:
      return replied(event);
    case EventKind::kDownloadEnd:
      return downloaded(event);
    case EventKind::kUploadEnd:
      return uploaded(event);
    case EventKind::kTrainerReady:
      return trainer_ready(event);
    case EventKind::kTrainerEnded:
      return trainer_ended(event);
    case EventKind::kTrainerDone:
      return computed(event);
    default:
      return;
  }
}

// The client's wall clock: it drifts, and jumps when somebody sets it.
TimePoint Host::clock() const {
  const TimePoint now = environment_.events.now();
  const double drifted = static_cast<double>(to_unix_ms(now)) * profile_.drift;
  return now + kClockStart + milliseconds(static_cast<std::int64_t>(clock_offset_ms_ + drifted));
}

void Host::jump_clock(double seconds) { clock_offset_ms_ += seconds * kMsPerSecond; }

void Host::start() {
  if (core_ != nullptr || has_left_) return;
  if (!id_) return attach();
  ++environment_.counts.client_starts;
  client::HostCoreOptions options;
  options.queue_length = static_cast<std::uint32_t>(environment_.scenario.queue_length);
  options.poll_wait = to_ms(environment_.scenario.poll_wait);
  options.seed = derive_key(seed_, profile_.index, life_);
  core_ = std::make_unique<client::HostCore>(options);
  on_since_ = environment_.events.now();
  core_->set_present(cache_);
  for (const SimJob& job : environment_.jobs) {
    const Digest& manifest = job.submission.manifest_digest;
    if (cache_.contains(manifest)) core_->add_manifest(manifest, job.chunks);
  }
  std::vector<client::Report> recovered;
  for (const auto& [result, report] : records_) recovered.push_back(report);
  perform(core_->start(clock(), std::move(recovered), is_paused_));
  plan_session();
}

void Host::attach() {
  AttachMessage message;
  message.from = {profile_.index, life_};
  message.description.name = "host" + std::to_string(profile_.index);
  network_.send_attach(std::move(message));
}

void Host::attached(const Event& event) {
  if (core_ != nullptr || id_) return;
  if (event.subject == 0) {
    return schedule(EventKind::kHostUp, to_ms(session_.exponential(kAttachRetrySeconds)));
  }
  id_ = HostId(event.subject);
  start();
}

void Host::plan_session() {
  const Scenario& scenario = environment_.scenario;
  if (environment_.is_healed) return;
  const double mean = profile_.is_always_on ? scenario.day : scenario.session * scenario.day;
  const milliseconds length = to_ms(session_.weibull(kSessionShape, mean));
  const bool is_cut = session_.chance(scenario.power_cut);
  schedule(is_cut ? EventKind::kHostKilled : EventKind::kHostDown, length);
}

void Host::plan_return() {
  if (has_left_) return;
  const double day = environment_.scenario.day;
  double seconds = 0;
  if (environment_.is_healed) {
    seconds = session_.uniform();
  } else if (profile_.is_always_on) {
    seconds = session_.exponential(kRestartPause * day);
  } else {
    const double now = static_cast<double>(to_unix_ms(environment_.events.now())) / kMsPerSecond;
    const double local = now / day + profile_.time_zone;
    const double evening = kEvening + kEveningSpread * session_.normal();
    double days = evening - (local - std::floor(local));
    if (days < 0) days += 1;
    seconds = days * day;
  }
  schedule(EventKind::kHostUp, to_ms(seconds));
}

void Host::kill() {
  if (core_ == nullptr) return;
  end_process();
  plan_return();
}

double Host::online_seconds_of_this_run() const {
  if (core_ == nullptr) return 0;
  const milliseconds on = environment_.events.now() - on_since_;
  return static_cast<double>(on.count()) / kMsPerSecond;
}

void Host::end_process() {
  if (core_ == nullptr) return;
  environment_.counts.online_seconds += online_seconds_of_this_run();
  for (const Computing& lost : computing_) {
    if (lost.began != TimePoint{}) waste(lost.assignment.result, false);
  }
  computing_.clear();
  is_trainer_ready_ = false;
  ++trainer_serial_;
  core_.reset();
  assignments_.clear();
  timer_at_ = {};
  ++life_;
}

// `manyhands-client detach`: the server is told, then everything is gone.
void Host::leave() {
  server_.detach(*id_);
  end_process();
  has_left_ = true;
}

void Host::heal() {
  if (has_left_) return;
  if (core_ == nullptr) return schedule(EventKind::kHostUp, to_ms(session_.uniform()));
  if (is_paused_) {
    is_paused_ = false;
    perform(core_->resume(clock()));
  }
}

void Host::perform(client::Actions actions) {
  for (const client::Action& action : actions) {
    if (core_ == nullptr) return;
    std::visit([this](const auto& one) { act(one); }, action);
  }
  if (core_ != nullptr) arm_timer();
}

// As the daemon does: by the length of time, whatever the clock says meanwhile.
void Host::arm_timer() {
  const auto wake_at = core_->wake_at();
  if (!wake_at) {
    timer_at_ = {};
    return;
  }
  const milliseconds wait = std::max(milliseconds(0), *wake_at - clock()) + milliseconds(1);
  const TimePoint at = environment_.events.now() + wait;
  if (at == timer_at_) return;
  timer_at_ = at;
  schedule(EventKind::kHostTimer, wait);
}

}  // namespace mh::sim
