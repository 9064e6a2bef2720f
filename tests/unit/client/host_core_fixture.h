// A host core on a bench: events are verbs, actions are collected and can be asked for by type.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "client/daemon/host_core.h"

namespace mh::client {

inline Digest digest_of(const std::string& text) { return sha256(text); }

inline Assignment gradient(std::uint64_t result, std::uint64_t step = 0) {
  Assignment assignment;
  assignment.result = ResultId(result);
  assignment.workunit = WorkunitId(result + 1000);
  assignment.job = JobId(1);
  assignment.step = step;
  assignment.job_digest = digest_of("job");
  assignment.parameters_digest = digest_of("parameters " + std::to_string(step));
  assignment.manifest_digest = digest_of("manifest");
  assignment.begin = result * 32;
  assignment.end = result * 32 + 32;
  assignment.split = "train";
  assignment.lease = std::chrono::seconds(60);
  assignment.job_name = "study";
  return assignment;
}

inline ManifestChunks two_chunks() {
  return {{"train", {{digest_of("chunk 0"), 100}, {digest_of("chunk 1"), 100}}},
          {"test", {{digest_of("chunk 2"), 100}}}};
}

class HostCoreTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::milliseconds kSecond{1000};

  static HostCoreOptions test_options() {
    HostCoreOptions options;
    options.seed = 7;
    return options;
  }

  // Keeps the actions of an event; returns those of this event alone.
  Actions note(Actions actions) {
    last_ = actions;
    all_.insert(all_.end(), actions.begin(), actions.end());
    return actions;
  }

  template <class Kind>
  static std::vector<Kind> of(const Actions& actions) {
    std::vector<Kind> found;
    for (const Action& action : actions) {
      if (const Kind* one = std::get_if<Kind>(&action)) found.push_back(*one);
    }
    return found;
  }
  template <class Kind>
  std::vector<Kind> last() const {
    return of<Kind>(last_);
  }
  template <class Kind>
  std::size_t count() const {
    return of<Kind>(all_).size();
  }
  std::size_t log_count(const std::string& part) const {
    const auto logs = of<Log>(all_);
    return static_cast<std::size_t>(std::count_if(logs.begin(), logs.end(), [&](const Log& log) {
      return log.text.find(part) != std::string::npos;
    }));
  }
  // The one exchange on this channel that the last event started.
  std::vector<ExchangeCall> calls(Channel channel) const {
    std::vector<ExchangeCall> found;
    for (const StartExchange& start : last<StartExchange>()) {
      if (start.channel == channel) found.push_back(start.call);
    }
    return found;
  }

  // --- Events. ---

  void start(std::vector<Report> recovered = {}, bool is_paused = false) {
    note(core_.start(now_, std::move(recovered), is_paused));
  }
  void trainer_ready() { note(core_.trainer_ready(now_, {"cpu", "Test CPU", 2, ""})); }
  void reply(Channel channel, ExchangeReply answer = {}) {
    note(core_.exchange_done(now_, channel, answer));
  }
  void fail_call(Channel channel, Errc code = Errc::kUnavailable,
                 std::chrono::milliseconds retry_after = {}) {
    note(core_.exchange_failed(now_, channel, fail(code, "connection refused"), retry_after));
  }
  void assign(std::vector<Assignment> assignments) {
    ExchangeReply answer;
    answer.assignments = std::move(assignments);
    reply(Channel::kPoll, answer);
  }
  void verdict(std::uint64_t result, VerdictKind kind = VerdictKind::kValid,
               const std::string& reason = "") {
    ExchangeReply answer;
    answer.verdicts.push_back({ResultId(result), kind, reason, 1.5});
    answer.credit = 1.5;
    reply(Channel::kReport, answer);
  }
  // Completes every download asked for by the last event, and those that follow from it.
  void finish_downloads() {
    for (const StartDownload& download : last<StartDownload>()) {
      const ManifestChunks chunks = two_chunks();
      const bool is_manifest = download.kind == BlobKind::kManifest;
      note(core_.download_done(now_, download.digest, is_manifest ? &chunks : nullptr));
      if (is_manifest) {
        const Actions after = last_;
        for (const StartDownload& chunk : of<StartDownload>(after))
          note(core_.download_done(now_, chunk.digest, nullptr));
      }
    }
  }
  void computed(std::uint64_t result) {
    TrainerDone done;
    done.result = ResultId(result);
    done.loss_sum = 3.5;
    done.correct_count = 4;
    done.compute_ms = 20;
    done.update_bytes = 1024;
    done.update_digest = digest_of("update " + std::to_string(result));
    note(core_.trainer_done(now_, done));
  }
  void uploaded(std::uint64_t result) { note(core_.upload_done(now_, ResultId(result))); }
  void trainer_ended() { note(core_.trainer_ended(now_, "signal 9 (Killed)")); }
  // Lets time pass until the core wants to be woken; false: it does not.
  bool wake() {
    const auto at = core_.wake_at();
    if (!at) return false;
    EXPECT_GT(*at, now_) << "the core asks to be woken in the past: it would spin";
    now_ = std::max(now_, *at);
    note(core_.timer(now_));
    return true;
  }
  void pass(std::chrono::milliseconds time) {
    now_ += time;
    note(core_.timer(now_));
  }

  // A core with a trainer, its first poll parked.
  void start_working() {
    start();
    reply(Channel::kPoll);
    trainer_ready();
  }
  // One workunit with the trainer.
  void start_computing(std::uint64_t result = 1) {
    start_working();
    assign({gradient(result)});
    finish_downloads();
  }

  HostCore core_{test_options()};
  TimePoint now_{std::chrono::milliseconds(1'000'000)};
  Actions last_;
  Actions all_;
};

}  // namespace mh::client
