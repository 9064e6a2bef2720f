// The trainer process's main loop; see serve.h for the rules.
#include "trainer/engine/serve.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "proto/base/kill_point.h"
#include "trainer/engine/frames.h"
#include "trainer/engine/serve_messages.h"
#include "trainer/engine/workunit.h"

namespace mh::engine {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr auto kProgressInterval = std::chrono::milliseconds(500);

KillPoint before_answer("answer.before");
KillPoint after_answer("answer.after");

/// A request to answer: a workunit, or what is wrong with one.
using Work = std::variant<ComputeRequest, BadRequest>;

/// What the reading thread tells the computing one. Threads: every member function may be called by
/// both.
class Inbox {
 public:
  /// Takes in one request; ignores a cancel for a result that is neither waiting nor being
  /// computed.
  void accept(Request request) {
    const std::lock_guard lock(mutex_);
    if (auto* compute = std::get_if<ComputeRequest>(&request)) {
      if (waiting_.size() < kQueueMax) {
        waiting_.emplace_back(std::move(*compute));
      } else {
        waiting_.emplace_back(BadRequest{
            compute->result_id, std::to_string(kQueueMax) + " workunits are waiting already"});
      }
    } else if (auto* bad = std::get_if<BadRequest>(&request)) {
      waiting_.emplace_back(std::move(*bad));
    } else if (const auto* cancel = std::get_if<CancelRequest>(&request)) {
      cancel_locked(cancel->result_id);
    } else {
      end_locked(0);
    }
    changed_.notify_one();
  }

  /// No more requests; the process is to end with `exit_code`.
  void end(int exit_code) {
    const std::lock_guard lock(mutex_);
    end_locked(exit_code);
    changed_.notify_one();
  }

  /// The next request, or nothing when it is time to end. Clears the stop flag.
  std::optional<Work> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return has_ended_ || !waiting_.empty(); });
    if (has_ended_) return std::nullopt;
    Work work = std::move(waiting_.front());
    waiting_.pop_front();
    const auto* compute = std::get_if<ComputeRequest>(&work);
    current_ = compute != nullptr ? std::optional(compute->result_id) : std::nullopt;
    is_stop_wanted_ = false;
    return work;
  }

  /// True when the current workunit is not wanted any more. Cheap: asked after each micro-batch.
  bool is_stop_wanted() const { return is_stop_wanted_; }

  int exit_code() const {
    const std::lock_guard lock(mutex_);
    return exit_code_;
  }

 private:
  void cancel_locked(std::uint64_t result_id) {
    if (current_ == result_id) is_stop_wanted_ = true;
    for (Work& work : waiting_) {
      const auto* compute = std::get_if<ComputeRequest>(&work);
      if (compute != nullptr && compute->result_id == result_id) {
        work = BadRequest{result_id, "cancelled"};
      }
    }
  }

  void end_locked(int exit_code) {
    if (!has_ended_) exit_code_ = exit_code;
    has_ended_ = true;
    is_stop_wanted_ = true;
  }

  std::atomic<bool> is_stop_wanted_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<Work> waiting_;
  std::optional<std::uint64_t> current_;
  bool has_ended_ = false;
  int exit_code_ = 0;
};

/// Body of the reading thread.
void read_requests(int input, const std::shared_ptr<Inbox>& shared_inbox) {
  Inbox& inbox = *shared_inbox;
  FrameReader reader(input);
  while (true) {
    Result<std::optional<std::string>> frame = reader.next();
    if (!frame) {
      std::fprintf(stderr, "manyhands-trainer: %s\n", frame.error().message.c_str());
      return inbox.end(2);
    }
    if (!frame->has_value()) return inbox.end(0);
    Result<Request> request = parse_request(**frame);
    if (!request) {
      std::fprintf(stderr, "manyhands-trainer: %s\n", request.error().message.c_str());
      return inbox.end(2);
    }
    const bool is_last = std::holds_alternative<ExitRequest>(*request);
    inbox.accept(std::move(*request));
    if (is_last) return;
  }
}

/// Sends progress at most twice a second and passes on the wish to stop.
Progress progress_of(const ComputeRequest& request, Inbox& inbox, FrameWriter& writer) {
  return [&request, &inbox, &writer, last = SteadyClock::now()](std::uint64_t done) mutable {
    if (inbox.is_stop_wanted()) return false;
    if (const auto now = SteadyClock::now(); now - last >= kProgressInterval) {
      last = now;
      const auto samples = request.end - request.begin;
      if (!writer.write(progress_message(request.result_id, done, samples))) return false;
    }
    return true;
  };
}

/// Computes one workunit and answers it. Errors: the output is closed, or the device is at fault.
Status answer(const ComputeRequest& request, WorkunitComputer& computer, const Device& device,
              Inbox& inbox, FrameWriter& writer) {
  Result<Computed> computed = computer.compute(request, progress_of(request, inbox, writer));
  if (computed) {
    before_answer.pass();
    MH_TRY_VOID(writer.write(done_message(request.result_id, *computed)));
    after_answer.pass();
    return {};
  }
  const Error& error = computed.error();
  const bool is_cancelled = error.code == Errc::kCanceled;
  MH_TRY_VOID(
      writer.write(failed_message(request.result_id, is_cancelled ? "cancelled" : error.message)));
  // After a fault inside CUDA nothing else works in this process; a fresh one may.
  if (device.is_cuda() && error.code == Errc::kInternal) return error;
  return {};
}

}  // namespace

int serve(int input, int output, const Device& device) {
  FrameWriter writer(output);
  const auto shared_inbox = std::make_shared<Inbox>();
  Inbox& inbox = *shared_inbox;
  WorkunitComputer computer(device);
  if (!writer.write(ready_message(device))) return 1;
  // Not joined: it may sit in read(2) for as long as the daemon lives. It owns its share of the
  // inbox and ends with the input or with the process.
  std::thread(read_requests, input, shared_inbox).detach();
  int exit_code = -1;
  while (std::optional<Work> work = inbox.next()) {
    Status answered;
    if (const auto* bad = std::get_if<BadRequest>(&*work)) {
      answered = writer.write(failed_message(bad->result_id, bad->error));
    } else {
      answered = answer(std::get<ComputeRequest>(*work), computer, device, inbox, writer);
    }
    if (!answered) {
      std::fprintf(stderr, "manyhands-trainer: %s\n", answered.error().message.c_str());
      exit_code = 1;
      break;
    }
  }
  if (exit_code < 0) exit_code = inbox.exit_code();
  return exit_code;
}

}  // namespace mh::engine
