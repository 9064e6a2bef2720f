// See daemon.h.
#include "client/daemon/daemon.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "client/daemon/blob_fetcher.h"
#include "client/daemon/control_socket.h"
#include "client/daemon/host_core.h"
#include "client/daemon/host_description.h"
#include "client/daemon/outbox.h"
#include "client/daemon/server_connection.h"
#include "client/daemon/status_text.h"
#include "client/daemon/trainer_process.h"
#include "client/daemon/trainer_sandbox.h"
#include "client/daemon/wire.h"
#include "client/daemon/work_records.h"
#include "proto/base/build_info.h"
#include "proto/base/kill_point.h"
#include "proto/base/log.h"
#include "proto/base/numerics.h"
#include "proto/base/random.h"

namespace mh::client {
namespace asio = boost::asio;
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kExchange = "/manyhands.v1.WorkService/Exchange";
// The server holds a call for at most 25 s; the rest is for the way.
constexpr seconds kCallMargin(15);
// LibTorch from a slow disk, a CUDA context: minutes, not hours.
constexpr seconds kTrainerStartMax(300);
// A trainer that computes says so every half second, but a large micro-batch may take longer.
constexpr seconds kTrainerSilenceMax(900);
constexpr seconds kWatchInterval(15);
// An update has the numbers of the parameters and a header of its own.
constexpr std::uint64_t kUpdateSlackBytes = 64 * 1024;

KillPoint before_call("call.before");
KillPoint after_call("call.after");
KillPoint before_delivery("delivery.before");
KillPoint after_delivery("delivery.after");
KillPoint after_answer("trainer.after_answer");

// What the server has acknowledged, for who compares it later with what the server kept.
void log_verdicts(const ExchangeReply& reply) {
  for (const Verdict& verdict : reply.verdicts) {
    // All digits: it must be compared to the last bit.
    log_debug("verdict", {{"result", verdict.result},
                          {"is_valid", verdict.kind == VerdictKind::kValid ? 1 : 0},
                          {"credit", nlohmann::json(verdict.credit).dump()}});
  }
}

std::uint64_t random_seed() {
  const std::vector<std::byte> bytes = secure_random_bytes(sizeof(std::uint64_t));
  std::uint64_t seed = 0;
  std::memcpy(&seed, bytes.data(), sizeof seed);
  return seed;
}

HostCoreOptions core_options(const DaemonOptions& given) {
  HostCoreOptions options;
  options.seed = random_seed();
  options.undelivered_count_max = given.undelivered_count_max;
  options.undelivered_bytes_max = given.undelivered_bytes_max;
  options.undelivered_age_max = given.undelivered_age_max;
  return options;
}

class Daemon {
 public:
  Daemon(const DaemonOptions& options, const ClientState& state, const net::Url& server,
         const net::HttpClientOptions& connection, TrainerSandbox sandbox);
  Status run();

 private:
  void perform(Actions actions);
  void arm_timer();
  void act(const StartExchange& action);
  void act(const CancelExchange& action);
  void act(const StartDownload& action) { fetcher_.start(action); }
  void act(const DropBlob& action) { cache_.remove(action.digest); }
  void act(const StartTrainer& action);
  void act(const StopTrainer&);
  void act(const SendCompute& action);
  void act(const SendCancel& action);
  void act(const KeepRecord& action);
  void act(const DropRecord& action);
  void act(const StartUpload& action);
  void act(const Log& action);
  void act(const Exit&) { io_.stop(); }

  asio::awaitable<void> exchange(Channel channel, ExchangeCall call);
  asio::awaitable<void> upload(StartUpload action);
  void take_message(TrainerMessage message);
  void take_result(const TrainerDone& done);
  Status prepare_output(const Assignment& assignment);
  void trainer_ended(std::string how);
  void wait_for_signal();
  void watch_trainer();
  std::string answer(const std::string& verb);
  void set_paused(bool is_paused);
  nlohmann::ordered_json status() const;
  static TimePoint now() { return SystemClock().now(); }
  net::HttpClient& client(Channel channel) {
    return channel == Channel::kPoll ? poll_client_ : report_client_;
  }

  // Constant after construction.
  const DaemonOptions options_;
  const net::Url server_;
  const TrainerFolders folders_;
  const TrainerSandbox sandbox_;
  const TrainerCommand trainer_command_;
  // On the one thread.
  ClientState state_;
  asio::io_context io_{1};
  HostCore core_;
  WorkCache cache_;
  WorkRecords records_;
  Outbox outbox_;
  net::HttpClient poll_client_;
  net::HttpClient report_client_;
  net::HttpClient upload_client_;
  BlobFetcher fetcher_;
  std::optional<TrainerProcess> trainer_;
  bool is_trainer_ready_ = false;
  std::chrono::steady_clock::time_point trainer_heard_{};
  asio::steady_timer timer_{io_};
  asio::steady_timer watch_timer_{io_};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGHUP};
};

Daemon::Daemon(const DaemonOptions& options, const ClientState& state, const net::Url& server,
               const net::HttpClientOptions& connection, TrainerSandbox sandbox)
    : options_(options),
      server_(server),
      folders_{options.folder.cache(), options.folder.out()},
      sandbox_(std::move(sandbox)),
      trainer_command_(trainer_command(options, sandbox_)),
      state_(state),
      core_(core_options(options)),
      cache_(options.folder.cache(), options.cache_bytes_max),
      records_(options.folder.work(), state.host),
      outbox_(options.folder.out()),
      poll_client_(io_.get_executor(), server, connection),
      report_client_(io_.get_executor(), server, connection),
      upload_client_(io_.get_executor(), server, connection),
      fetcher_(io_.get_executor(), server, connection, cache_,
               {.on_done =
                    [this](const Digest& digest, const ManifestChunks* manifest) {
                      perform(core_.download_done(now(), digest, manifest));
                    },
                .on_failed =
                    [this](const Digest& digest, const Error& error) {
                      perform(core_.download_failed(now(), digest, error));
                    },
                .is_needed = [this](const Digest& digest) { return core_.is_needed(digest); },
                .on_evicted = [this](const Digest& digest) { core_.blob_evicted(digest); }}) {}

Status Daemon::run() {
  auto control = ControlServer::start(io_.get_executor(), options_.folder.socket(),
                                      [this](const std::string& verb) { return answer(verb); });
  if (!control.has_value()) return control.error();
  core_.set_present(cache_.digests());
  for (auto& [digest, chunks] : find_manifests(cache_))
    core_.add_manifest(digest, std::move(chunks));
  log_info("client started", {{"server", server_.text()},
                              {"host", state_.host},
                              {"name", state_.name},
                              {"folder", options_.folder.root.string()}});
  log(sandbox_.is_whole() ? LogLevel::kInfo : LogLevel::kWarning,
      "sandbox of the trainer: " + sandbox_.sentence(), {});
  wait_for_signal();
  watch_trainer();
  perform(core_.start(now(), records_.recover(), state_.is_paused));
  io_.run();
  trainer_.reset();
  log_info("client stopped");
  return {};
}

void Daemon::perform(Actions actions) {
  for (const Action& action : actions) {
    std::visit([this](const auto& one) { act(one); }, action);
  }
  arm_timer();
}

void Daemon::arm_timer() {
  const auto wake_at = core_.wake_at();
  if (!wake_at) {
    timer_.cancel();
    return;
  }
  timer_.expires_after(std::max(milliseconds(0), *wake_at - now()) + milliseconds(1));
  timer_.async_wait([this](boost::system::error_code cancelled) {
    if (!cancelled) perform(core_.timer(now()));
  });
}

// --- The server. ---

void Daemon::act(const StartExchange& action) {
  asio::co_spawn(io_, exchange(action.channel, action.call), asio::detached);
}

void Daemon::act(const CancelExchange& action) { client(action.channel).close(); }

asio::awaitable<void> Daemon::exchange(Channel channel, ExchangeCall call) {
  v1::ExchangeRequest request = to_message(call);
  if (call.with_description) {
    const TrainerReady& known = core_.status().trainer;
    TrainerReady claim = known;
    if (claim.threads == 0) claim = {options_.device, cpu_model(), options_.threads, ""};
    *request.mutable_description() = describe_host(state_.name, claim);
  }
  net::CallOptions call_options;
  call_options.timeout = call.wait + kCallMargin;
  before_call.pass();
  std::string method(kExchange);
  v1::ExchangeResponse response;
  net::ReplyMetadata metadata;
  const Status done = co_await client(channel).call_message(std::move(method), &request, &response,
                                                            std::move(call_options), &metadata);
  if (done.has_value()) {
    const ExchangeReply reply = from_message(response);
    log_verdicts(reply);
    after_call.pass();
    perform(core_.exchange_done(now(), channel, reply));
  } else {
    const auto retry_after = net::retry_after_of(metadata.headers);
    perform(core_.exchange_failed(now(), channel, done.error(), retry_after));
  }
}

void Daemon::act(const StartUpload& action) { asio::co_spawn(io_, upload(action), asio::detached); }

asio::awaitable<void> Daemon::upload(StartUpload action) {
  before_delivery.pass();
  auto path = records_.update_path(action.result);
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    // Not from within perform(): the core is told when its present actions are all carried out.
    co_await asio::post(io_, asio::use_awaitable);
    perform(core_.upload_failed(now(), action.result,
                                fail(Errc::kDataLoss, path.string() + " is not there any more")));
    co_return;
  }
  auto report = co_await upload_client_.upload(std::move(path), action.digest);
  after_delivery.pass();
  if (report.has_value()) {
    perform(core_.upload_done(now(), action.result));
  } else {
    perform(core_.upload_failed(now(), action.result, report.error()));
  }
}

// --- The trainer. ---

void Daemon::act(const StartTrainer& action) {
  is_trainer_ready_ = false;
  trainer_heard_ = std::chrono::steady_clock::now();
  outbox_.clear();
  TrainerHandlers handlers;
  handlers.on_message = [this](TrainerMessage message) { take_message(std::move(message)); };
  handlers.on_ended = [this](std::string how) { trainer_ended(std::move(how)); };
  handlers.on_text = [](const std::string& line) { log_info("trainer: " + line); };
  TrainerCommand command = trainer_command_;
  if (action.is_pinned)
    command.environment.assign(kPinnedEnvironment.begin(), kPinnedEnvironment.end());
  auto started = TrainerProcess::start(io_.get_executor(), command, std::move(handlers));
  if (started.has_value()) {
    trainer_.emplace(*std::move(started));
    return;
  }
  // Not from within perform(): the core is told when its present actions are all carried out.
  asio::post(io_, [this, how = started.error().message] { trainer_ended(how); });
}

void Daemon::act(const StopTrainer&) {
  trainer_.reset();
  outbox_.clear();
}

void Daemon::trainer_ended(std::string how) {
  trainer_.reset();
  outbox_.clear();
  perform(core_.trainer_ended(now(), std::move(how)));
}

void Daemon::act(const SendCompute& action) {
  std::vector<Digest> lost;
  for (const Digest& digest : action.inputs) {
    if (::access(cache_.path(digest).c_str(), R_OK) == 0)
      cache_.touch(digest);
    else
      lost.push_back(digest);
  }
  if (!lost.empty()) {
    // Not from within perform(), as in act(StartTrainer).
    asio::post(io_, [this, result = action.assignment.result, lost = std::move(lost)] {
      for (const Digest& digest : lost) cache_.remove(digest);
      perform(core_.inputs_lost(now(), result, lost));
    });
    return;
  }
  trainer_heard_ = std::chrono::steady_clock::now();
  if (!trainer_) return;
  if (const Status made = prepare_output(action.assignment); !made.has_value()) {
    // Not from within perform(), as in act(StartTrainer).
    asio::post(io_, [this, result = action.assignment.result, why = made.error().message] {
      perform(core_.trainer_failed(now(), result, why));
    });
    return;
  }
  trainer_->send(compute_frame(action.assignment, folders_));
}

// Makes the file that the trainer is to fill.
Status Daemon::prepare_output(const Assignment& assignment) {
  if (assignment.kind != WorkKind::kGradient) return {};
  std::error_code error;
  const auto bytes = std::filesystem::file_size(cache_.path(assignment.parameters_digest), error);
  MH_TRY_VOID(outbox_.prepare(assignment.result, (error ? 0 : bytes) + kUpdateSlackBytes));
  trainer_->limit_file_size(outbox_.largest_bytes());
  return {};
}

void Daemon::act(const SendCancel& action) {
  if (trainer_) trainer_->send(cancel_frame(action.result));
}

void Daemon::take_message(TrainerMessage message) {
  trainer_heard_ = std::chrono::steady_clock::now();
  if (auto* ready = std::get_if<TrainerReady>(&message)) {
    is_trainer_ready_ = true;
    perform(core_.trainer_ready(now(), std::move(*ready)));
  } else if (const auto* progress = std::get_if<TrainerProgress>(&message)) {
    perform(core_.trainer_progress(progress->result, progress->samples_done));
  } else if (const auto* done = std::get_if<TrainerDone>(&message)) {
    after_answer.pass();
    take_result(*done);
  } else if (auto* failure = std::get_if<TrainerFailure>(&message)) {
    outbox_.drop(failure->result);
    perform(core_.trainer_failed(now(), failure->result, std::move(failure->error)));
  }
}

// What the trainer says it has done is taken out of its reach before anything else is done with it.
void Daemon::take_result(const TrainerDone& done) {
  if (outbox_.is_prepared(done.result)) {
    const Status taken =
        outbox_.take(done.result, done.update_bytes, records_.update_path(done.result));
    if (!taken.has_value()) {
      perform(core_.trainer_failed(now(), done.result, taken.error().message));
      return;
    }
  }
  perform(core_.trainer_done(now(), done));
}

// Ends a trainer that hangs; the core gives its work to the next one.
void Daemon::watch_trainer() {
  watch_timer_.expires_after(kWatchInterval);
  watch_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (cancelled) return;
    const auto silence = std::chrono::steady_clock::now() - trainer_heard_;
    const bool is_computing = core_.status().activity == "computing";
    if (trainer_ && ((!is_trainer_ready_ && silence > kTrainerStartMax) ||
                     (is_computing && silence > kTrainerSilenceMax))) {
      log_warn("the trainer has said nothing for too long: ending it");
      trainer_->kill();
    }
    watch_trainer();
  });
}

// --- Records, log, signals, verbs. ---

void Daemon::act(const KeepRecord& action) {
  const Status kept = records_.keep(action.report);
  if (!kept.has_value())
    log_warn("a finished result cannot be recorded; it is delivered all the same",
             {{"result", action.report.result}, {"why", kept.error().message}});
}

void Daemon::act(const DropRecord& action) {
  records_.drop(action.result);
  outbox_.drop(action.result);
}

void Daemon::act(const Log& action) {
  const LogLevel level = action.severity == Severity::kInfo      ? LogLevel::kInfo
                         : action.severity == Severity::kWarning ? LogLevel::kWarning
                                                                 : LogLevel::kError;
  log(level, action.text, {});
}

void Daemon::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code cancelled, int) {
    if (cancelled) return;
    // The second one ends the process at once; that is safe, too.
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    perform(core_.stop(now()));
  });
}

void Daemon::set_paused(bool is_paused) {
  state_.is_paused = is_paused;
  const Status saved = save_state(options_.folder, state_);
  if (!saved.has_value()) log_warn("the pause is not kept: " + saved.error().message);
}

nlohmann::ordered_json Daemon::status() const {
  nlohmann::ordered_json json = status_json(core_.status());
  json["server"] = server_.text();
  json["host_id"] = state_.host.value();
  json["name"] = state_.name;
  json["cache_bytes"] = cache_.bytes();
  json["cache_bytes_max"] = cache_.bytes_max();
  json["bytes_down"] =
      fetcher_.bytes_received() + poll_client_.bytes_received() + report_client_.bytes_received();
  json["bytes_up"] =
      upload_client_.bytes_sent() + poll_client_.bytes_sent() + report_client_.bytes_sent();
  json["sandbox"] = sandbox_.json();
  json["pid"] = ::getpid();
  json["version"] = kVersion;
  return json;
}

std::string Daemon::answer(const std::string& verb) {
  if (verb == "pause") {
    set_paused(true);
    perform(core_.pause(now()));
  } else if (verb == "resume") {
    set_paused(false);
    perform(core_.resume(now()));
  } else if (verb == "finish") {
    asio::post(io_, [this] { perform(core_.finish(now())); });
  } else if (verb == "stop") {
    asio::post(io_, [this] { perform(core_.stop(now())); });
  } else if (verb != "status") {
    const nlohmann::json refusal = {{"ok", false}, {"error", "unknown verb '" + verb + "'"}};
    return refusal.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  nlohmann::ordered_json json = {{"ok", true}};
  json.update(status());
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Status run_daemon(const DaemonOptions& options, const ClientState& state) {
  MH_TRY(const net::Url server, net::parse_url(state.server));
  MH_TRY(const net::HttpClientOptions connection, connection_options(state));
  std::signal(SIGPIPE, SIG_IGN);
  MH_TRY(TrainerSandbox sandbox, TrainerSandbox::open(options.sandbox));
  Daemon daemon(options, state, server, connection, std::move(sandbox));
  return daemon.run();
}

}  // namespace mh::client
