// The host core against a server, a network and a trainer that fail at random, in virtual time.
// Whatever happens: no result is computed or delivered twice, the core never spins, and when the
// faults stop everything is delivered.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "client/daemon/host_core.h"
#include "proto/base/random.h"

namespace mh::client {
namespace {

using std::chrono::milliseconds;

enum class Lease { kLeased, kDone };

class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed), core_(options(seed)) {}

  void run() {
    schedule(0, [this] { carry_out(core_.start(now_, {}, false)); });
    while (now_ < kFaultsEnd + milliseconds(600'000) && !::testing::Test::HasFailure()) step();
    EXPECT_EQ(leases_.size(), kWorkunits) << "the server got rid of all its work";
    for (const auto& [result, lease] : leases_) EXPECT_EQ(lease, Lease::kDone) << result;
    EXPECT_TRUE(core_.status().work.empty());
  }

 private:
  static constexpr std::size_t kWorkunits = 200;
  static constexpr TimePoint kFaultsEnd{milliseconds(60'000)};

  static HostCoreOptions options(std::uint64_t seed) {
    HostCoreOptions options;
    options.seed = seed;
    options.trainer_end_count_max = 1'000'000;
    return options;
  }

  bool chance(std::uint64_t percent) { return now_ < kFaultsEnd && random_.below(100) < percent; }
  void schedule(std::uint64_t delay_ms_max, std::function<void()> event) {
    const auto delay = milliseconds(random_.below(delay_ms_max + 1));
    events_.emplace(now_ + delay, std::move(event));
  }

  void step() {
    const auto wake = core_.wake_at();
    if (events_.empty() || (wake && *wake < events_.begin()->first)) {
      ASSERT_TRUE(wake.has_value()) << "nothing will ever happen again";
      now_ = std::max(now_, *wake);
      carry_out(core_.timer(now_));
      ASSERT_TRUE(!core_.wake_at() || *core_.wake_at() > now_) << "would spin";
      return;
    }
    const auto first = events_.begin();
    now_ = std::max(now_, first->first);
    const auto event = std::move(first->second);
    events_.erase(first);
    event();
  }

  void carry_out(const Actions& actions) {
    for (const Action& action : actions) std::visit([this](const auto& one) { act(one); }, action);
  }

  void act(const StartExchange& action) {
    schedule(20, [this, action] {
      if (chance(15)) return lose(action.channel);  // the request was lost
      const ExchangeReply reply = answer(action.call);
      schedule(20, [this, action, reply] {
        if (chance(15)) return lose(action.channel);  // the reply was lost
        carry_out(core_.exchange_done(now_, action.channel, reply));
      });
    });
  }
  void lose(Channel channel) {
    carry_out(core_.exchange_failed(now_, channel, fail(Errc::kUnavailable, "cut")));
  }

  ExchangeReply answer(const ExchangeCall& call) {
    ExchangeReply reply;
    std::set<std::uint64_t> named;
    for (const Report& report : call.reports) {
      const std::uint64_t result = report.result.value();
      named.insert(result);
      EXPECT_TRUE(leases_.contains(result));
      if (report.outcome == Outcome::kSuccess) {
        EXPECT_TRUE(uploads_.contains(result)) << "reported before it was uploaded";
        leases_[result] = Lease::kDone;
        reply.verdicts.push_back({report.result, VerdictKind::kValid, "", 1});
      } else {
        // Given back: in this world it is done by somebody else.
        leases_[result] = Lease::kDone;
        reply.verdicts.push_back({report.result, VerdictKind::kNoted, "", 0});
      }
    }
    for (const ResultId held : call.held) {
      named.insert(held.value());
      if (leases_[held.value()] == Lease::kDone) reply.revoked.push_back(held);
    }
    for (const auto& [result, lease] : leases_) {
      if (lease == Lease::kLeased && !named.contains(result))
        reply.assignments.push_back(make(result));
    }
    for (std::uint32_t i = 0; i < call.wanted && leases_.size() < kWorkunits; ++i) {
      leases_[next_result_] = Lease::kLeased;
      reply.assignments.push_back(make(next_result_++));
    }
    return reply;
  }
  static Assignment make(std::uint64_t result) {
    Assignment assignment;
    assignment.result = ResultId(result);
    assignment.parameters_digest = sha256("parameters " + std::to_string(result / 4));
    assignment.job_digest = sha256(std::string_view("job"));
    assignment.manifest_digest = sha256(std::string_view("manifest"));
    assignment.end = 32;
    assignment.split = "train";
    assignment.lease = std::chrono::seconds(60);
    return assignment;
  }

  void act(const CancelExchange&) {}
  void act(const StartDownload& action) {
    EXPECT_TRUE(downloading_.insert(action.digest).second) << "the same blob twice at once";
    schedule(30, [this, action] {
      downloading_.erase(action.digest);
      if (chance(10)) {
        const Errc code = random_.below(2) == 0 ? Errc::kUnavailable : Errc::kDataLoss;
        return carry_out(core_.download_failed(now_, action.digest, fail(code, "cut")));
      }
      const ManifestChunks chunks = {{"train", {{sha256(std::string_view("chunk")), 10}}}};
      const bool is_manifest = action.kind == BlobKind::kManifest;
      carry_out(core_.download_done(now_, action.digest, is_manifest ? &chunks : nullptr));
    });
  }
  void act(const DropBlob& action) { EXPECT_FALSE(core_.is_needed(action.digest)); }
  void act(const StartTrainer&) {
    const std::uint64_t generation = ++trainer_;
    schedule(300, [this, generation] {
      if (generation != trainer_) return;
      if (chance(10)) return end_trainer();
      carry_out(core_.trainer_ready(now_, {"cpu", "virtual", 1, ""}));
    });
  }
  void act(const StopTrainer&) {
    ++trainer_;
    in_trainer_.clear();
  }
  void end_trainer() {
    ++trainer_;
    in_trainer_.clear();
    carry_out(core_.trainer_ended(now_, "signal 9"));
  }
  void act(const SendCompute& action) {
    const std::uint64_t result = action.assignment.result.value();
    EXPECT_FALSE(computed_.contains(result)) << "computed twice";
    EXPECT_TRUE(in_trainer_.insert(result).second);
    EXPECT_LE(in_trainer_.size(), 2u);
    const std::uint64_t generation = trainer_;
    schedule(100, [this, result, generation] {
      if (generation != trainer_ || !in_trainer_.contains(result)) return;
      if (chance(4)) return end_trainer();
      in_trainer_.erase(result);
      TrainerDone done;
      done.result = ResultId(result);
      done.update_bytes = 10;
      carry_out(core_.trainer_done(now_, done));
    });
  }
  void act(const SendCancel& action) { in_trainer_.erase(action.result.value()); }
  void act(const KeepRecord& action) {
    EXPECT_TRUE(computed_.insert(action.report.result.value()).second);
  }
  void act(const DropRecord& action) { uploads_.erase(action.result.value()); }
  void act(const StartUpload& action) {
    EXPECT_TRUE(computed_.contains(action.result.value())) << "uploaded before it was recorded";
    schedule(30, [this, action] {
      if (chance(15))
        return carry_out(core_.upload_failed(now_, action.result, fail(Errc::kUnavailable, "cut")));
      uploads_.insert(action.result.value());
      carry_out(core_.upload_done(now_, action.result));
    });
  }
  void act(const Log&) {}
  void act(const Exit&) { ADD_FAILURE() << "nobody asked it to end"; }

  TimePoint now_{};
  Philox4x32 random_;
  HostCore core_;
  std::multimap<TimePoint, std::function<void()>> events_;
  std::map<std::uint64_t, Lease> leases_;
  std::set<Digest> downloading_;
  std::set<std::uint64_t> uploads_;
  std::set<std::uint64_t> computed_;
  std::set<std::uint64_t> in_trainer_;
  std::uint64_t next_result_ = 1;
  std::uint64_t trainer_ = 0;
};

TEST(HostCoreRandom, DeliversEverythingOnceWhateverFails) {
  for (std::uint64_t seed = 1; seed <= 40 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World(seed).run();
  }
}

}  // namespace
}  // namespace mh::client
