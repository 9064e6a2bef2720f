// `manyhands job watch` and `job wait`: follow a job to its end by long polls. A server that is
// restarted meanwhile is waited for, for a while.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "client/cli/job_text.h"
#include "client/cli/verb.h"
#include "manyhands/v1/job.pb.h"
#include "proto/base/options.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kPollMax(25);
constexpr seconds kCallMargin(15);
// On a terminal the line moves five times a second; a file gets a line every other second.
constexpr milliseconds kLiveGap(200);
constexpr milliseconds kPlainGap(2000);
constexpr milliseconds kRetryLongest(2000);

struct FollowOptions {
  std::string job;
  /// 0: as long as it takes.
  std::uint64_t timeout_seconds = 0;
  /// How long a server may be away.
  std::uint64_t patience_seconds = 120;
  bool is_silent = false;
};

bool has_ended(const v1::Job& job) {
  return job.state() == v1::JOB_STATE_FINISHED || job.state() == v1::JOB_STATE_CANCELLED ||
         job.state() == v1::JOB_STATE_FAILED;
}

bool is_away(const Error& error) {
  return error.code == Errc::kUnavailable || error.code == Errc::kDeadlineExceeded;
}

// Shows a job as it moves: one live line on a terminal, plain lines elsewhere.
class ProgressPrinter {
 public:
  ProgressPrinter(Context& context, bool is_silent)
      : context_(context), is_silent_(is_silent), is_live_(Context::is_terminal(STDOUT_FILENO)) {}

  milliseconds gap() const { return is_silent_ || !is_live_ ? kPlainGap : kLiveGap; }

  void show(const v1::Job& job) {
    if (is_silent_) return;
    const std::string line = progress_text(job);
    if (is_live_) {
      context_.out() << "\r\033[K" << line << std::flush;
      has_line_ = true;
    } else if (line != last_) {
      context_.out() << line << std::endl;
    }
    last_ = line;
  }
  void say(const std::string& text) {
    end_line();
    context_.err() << text << std::endl;
  }
  void end_line() {
    if (std::exchange(has_line_, false)) context_.out() << std::endl;
  }

 private:
  Context& context_;
  const bool is_silent_;
  const bool is_live_;
  bool has_line_ = false;
  std::string last_;
};

class Follower {
 public:
  Follower(Context& context, const FollowOptions& options)
      : context_(context), options_(options), printer_(context, options.is_silent) {}

  Result<int> run() {
    MH_TRY(const std::uint64_t id, find());
    request_.set_id(id);
    while (true) {
      const Clock::time_point called = Clock::now();
      request_.set_max_wait_ms(wait_ms());
      const auto reply = context_.call<v1::WatchJobResponse>(
          "JobService/WatchJob", request_, milliseconds(request_.max_wait_ms()) + kCallMargin);
      if (!reply.has_value()) {
        MH_TRY_VOID(wait_for_server(reply.error()));
      } else {
        note_answer();
        printer_.show(reply->job());
        if (has_ended(reply->job())) return end(reply->job());
        request_.set_after_version(reply->job().version());
        std::this_thread::sleep_until(std::min(called + printer_.gap(), deadline()));
      }
      if (Clock::now() >= deadline()) return time_out();
    }
  }

 private:
  Result<std::uint64_t> find() {
    while (true) {
      auto id = find_job(context_, options_.job);
      if (id.has_value() || !is_away(id.error()) || Clock::now() >= deadline()) return id;
      MH_TRY_VOID(wait_for_server(id.error()));
    }
  }

  Clock::time_point deadline() const {
    return options_.timeout_seconds == 0 ? started_ + std::chrono::hours(24 * 365 * 10)
                                         : started_ + seconds(options_.timeout_seconds);
  }
  std::uint32_t wait_ms() const {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline() - Clock::now());
    return static_cast<std::uint32_t>(
        std::clamp(left, milliseconds(1), milliseconds(kPollMax)).count());
  }

  void note_answer() {
    if (std::exchange(is_away_, false)) printer_.say("server is back");
    retry_gap_ = milliseconds(100);
  }

  // Returns when it is time to ask again. Errors: the given one, when asking again is of no use.
  Status wait_for_server(const Error& error) {
    if (!is_away(error)) {
      printer_.end_line();
      return error;
    }
    const Clock::time_point now = Clock::now();
    if (!std::exchange(is_away_, true)) {
      away_since_ = now;
      printer_.say(error.message + "; retrying");
    }
    if (now - away_since_ >= seconds(options_.patience_seconds)) {
      printer_.end_line();
      return error;
    }
    std::this_thread::sleep_until(std::min(now + retry_gap_, deadline()));
    retry_gap_ = std::min(retry_gap_ * 2, kRetryLongest);
    return {};
  }

  int end(const v1::Job& job) {
    printer_.end_line();
    if (context_.wants_json()) {
      context_.print_json(job);
    } else {
      context_.out() << "Job " << job.id() << " is " << state_text(job.state())
                     << (job.state_reason().empty() ? "" : ": " + job.state_reason()) << "\n";
    }
    return job.state() == v1::JOB_STATE_FINISHED ? kExitDone : kExitFailed;
  }

  int time_out() {
    printer_.end_line();
    context_.err() << "manyhands: job " << options_.job << " has not ended within "
                   << options_.timeout_seconds << " s; it goes on\n";
    return kExitFailed;
  }

  Context& context_;
  const FollowOptions options_;
  ProgressPrinter printer_;
  v1::WatchJobRequest request_;
  const Clock::time_point started_ = Clock::now();
  bool is_away_ = false;
  Clock::time_point away_since_{};
  milliseconds retry_gap_{100};
};

std::function<VerbRun(OptionSink&)> follow(bool is_wait) {
  return [is_wait](OptionSink& options) -> VerbRun {
    const auto arguments = std::make_shared<FollowOptions>();
    options.positional("job", arguments->job, "Id or name of the job");
    options.number("--timeout", arguments->timeout_seconds, 0, 315'360'000,
                   "Give up after so many seconds (exit code 1); 0: never");
    options.number("--patience", arguments->patience_seconds, 0, 86'400,
                   "Seconds that the server may be away");
    return [arguments, is_wait](Context& context) {
      FollowOptions follow_options = *arguments;
      follow_options.is_silent = is_wait || context.wants_json();
      return Follower(context, follow_options).run();
    };
  };
}

}  // namespace

std::vector<Verb> job_watch_verbs() {
  return {{"job", "watch", "Follow a job: step, loss, test accuracy, samples/s, volunteers, ETA",
           "manyhands job watch 1", follow(false)},
          {"job", "wait", "Wait for the end of a job; exit code 1 if it failed or was cancelled",
           "manyhands job wait 1 --timeout 600", follow(true)}};
}

}  // namespace mh::cli
