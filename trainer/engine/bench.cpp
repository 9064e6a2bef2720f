// Measuring in turns; see bench.h.
#include "trainer/engine/bench.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/random.h"
#include "trainer/engine/plain_loop.h"
#include "trainer/engine/sample_source.h"

namespace mh::engine {
namespace {

/// Turns of each side, and the shortest that is worth its warm-up.
constexpr int kTurns = 5;
constexpr double kTurnSecondsMin = 0.5;
constexpr int kWarmUpShards = 2;
constexpr std::uint64_t kSampleCount = 4'096;

/// Samples made up once: the same work as reading mapped chunks, without a data set.
class MadeUpSource final : public SampleSource {
 public:
  explicit MadeUpSource(const model::ModelPlan& plan) {
    std::size_t elements = 1;
    for (const std::int64_t size : plan.input_shape) elements *= static_cast<std::size_t>(size);
    bytes_.resize(std::min<std::size_t>(elements * kSampleCount, std::size_t{64} << 20));
    Philox4x32 generator(7);
    for (unsigned char& byte : bytes_) byte = static_cast<unsigned char>(generator.next() >> 24);
  }

  std::uint64_t count() const override { return kSampleCount; }
  Result<void> read_input(std::uint64_t index, std::span<float> out) const override {
    const unsigned char* from = bytes_of(index, out.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = (static_cast<float>(from[i]) - 127.5F) * (1 / 73.6F);
    }
    return {};
  }
  Result<void> read_input(std::uint64_t index, std::span<std::int64_t> out,
                          std::int64_t limit) const override {
    const unsigned char* from = bytes_of(index, out.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = from[i] % limit;
    return {};
  }
  Result<void> read_target(std::uint64_t index, std::span<std::int64_t> out,
                           std::int64_t class_count) const override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<std::int64_t>((index + i) % static_cast<std::uint64_t>(class_count));
    }
    return {};
  }
  Result<void> read_target(std::uint64_t index, std::span<float> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>((index + i) % 7) - 3;
    return {};
  }

 private:
  const unsigned char* bytes_of(std::uint64_t index, std::size_t size) const {
    const std::size_t places = bytes_.size() - std::min(size, bytes_.size()) + 1;
    return bytes_.data() + index * size % places;
  }

  std::vector<unsigned char> bytes_;
};

/// Samples per second of gradients as workunits take them.
Result<double> trainer_speed(const BenchOptions& options, const Device& device, double seconds) {
  using Clock = std::chrono::steady_clock;
  const MadeUpSource samples(options.job.plan);
  MH_TRY(const std::unique_ptr<Engine> engine, Engine::create(options.job, device));
  MH_TRY_VOID(
      engine->set_parameters(model::initial_parameters(options.job.plan, options.job.seed)));
  std::vector<float> gradient(options.job.plan.parameter_count);
  std::vector<std::uint64_t> indices(options.shard);
  std::uint64_t position = 0;
  const auto compute = [&]() -> Status {
    for (std::uint64_t& index : indices) index = position++ * 2'654'435'761U % kSampleCount;
    MH_TRY_VOID(engine->compute_gradient(samples, indices, position, gradient));
    return {};
  };
  for (int i = 0; i < kWarmUpShards; ++i) MH_TRY_VOID(compute());
  const auto begin = Clock::now();
  std::uint64_t done = 0;
  double elapsed = 0;
  while (elapsed < seconds) {
    MH_TRY_VOID(compute());
    done += indices.size();
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return static_cast<double>(done) / elapsed;
}

Result<double> turn(const BenchOptions& options, bool of_trainer, double seconds) {
  if (of_trainer) keep_freed_memory();
  MH_TRY(const Device device, open_device(options.device, options.threads));
  return of_trainer ? trainer_speed(options, device, seconds)
                    : plain_loop_speed(options.job.plan, device, seconds);
}

/// Writes the turn's outcome to a pipe: a number, or a text behind a 0.
void report(int descriptor, const Result<double>& speed) {
  const double number = speed ? *speed : 0;
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  if (!speed) bytes += speed.error().message;
  // Where nobody reads any more, nobody wants to know.
  (void)write_all(descriptor, std::as_bytes(std::span(bytes)), "pipe");
}

/// One turn in a child process.
Result<double> turn_in_child(const BenchOptions& options, bool of_trainer, double seconds) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return errno_error("cannot make", "a pipe", errno);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("cannot fork", "a turn", errno);
  if (child == 0) {
    report(write_end.get(), turn(options, of_trainer, seconds));
    // No destructors: they belong to the parent.
    ::_exit(0);
  }
  write_end.reset();
  std::string bytes;
  std::array<char, 1024> buffer;
  ssize_t count = 0;
  while ((count = ::read(read_end.get(), buffer.data(), buffer.size())) != 0) {
    if (count > 0) bytes.append(buffer.data(), static_cast<std::size_t>(count));
    if (count < 0 && errno != EINTR) break;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  double speed = 0;
  if (status != 0 || bytes.size() < sizeof speed) {
    return fail(Errc::kInternal, "a turn ended with status " + std::to_string(status));
  }
  std::memcpy(&speed, bytes.data(), sizeof speed);
  if (bytes.size() > sizeof speed) return fail(Errc::kInternal, bytes.substr(sizeof speed));
  return speed;
}

std::optional<double> median(std::vector<double> speeds) {
  if (speeds.empty()) return std::nullopt;
  std::sort(speeds.begin(), speeds.end());
  return speeds[speeds.size() / 2];
}

}  // namespace

Result<BenchOutcome> measure(const BenchOptions& options) {
  const int sides = (options.with_trainer ? 1 : 0) + (options.with_plain ? 1 : 0);
  if (sides == 0) return fail(Errc::kInvalidArgument, "there is nothing to measure");
  const int turns =
      std::clamp(static_cast<int>(options.seconds / (sides * kTurnSecondsMin)), 1, kTurns);
  const double seconds = options.seconds / (sides * turns);
  std::vector<double> trainer;
  std::vector<double> plain;
  for (int i = 0; i < turns; ++i) {
    if (options.with_trainer) {
      MH_TRY(const double speed, turn_in_child(options, true, seconds));
      trainer.push_back(speed);
    }
    if (options.with_plain) {
      MH_TRY(const double speed, turn_in_child(options, false, seconds));
      plain.push_back(speed);
    }
  }
  return BenchOutcome{median(std::move(trainer)), median(std::move(plain))};
}

}  // namespace mh::engine
