// See gradient_audit.h.
#include "client/cli/gradient_audit.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>

#include "client/cli/table.h"
#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/find_trainer.h"
#include "trainer/update/tensor_pack.h"

extern char** environ;

namespace mh::cli {
namespace {

namespace fs = std::filesystem;

// Runs a program with its output thrown away; its errors go where ours go.
Status run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed =
      ::posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return errno_error("cannot start", words[0], failed);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(Errc::kInternal, "the trainer failed (status " + std::to_string(status) +
                                   "): gradients could not be computed again");
}

// |a - b| / |b| in double.
double relative_distance(std::span<const float> a, std::span<const float> b) {
  double apart = 0;
  double length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    apart += difference * difference;
    length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return apart == 0 ? 0 : std::sqrt(apart) / std::sqrt(length);
}

}  // namespace

bool GradientAudit::is_chosen(const RecordedUpdate& update) const {
  const Digest draw = sha256("sample " + std::to_string(options_.seed) + " " + update.digest.hex() +
                             " " + std::to_string(update.begin));
  const auto number = load_le<std::uint64_t>(std::as_bytes(std::span(draw.bytes)).data());
  return static_cast<double>(number >> 11) * 0x1p-53 < options_.share;
}

Status GradientAudit::keep(const CheckedUpdate& update, std::vector<AuditFinding>& findings) {
  const RecordedUpdate& recorded = update.record.updates[update.shard];
  if (!is_chosen(recorded)) return {};
  const std::string name =
      std::to_string(update.record.sequence) + "-" + std::to_string(update.shard);
  Sample sample;
  sample.place.step = update.record.step;
  sample.place.shard = update.shard;
  sample.place.what = "update";
  sample.place.digest = recorded.digest.hex();
  sample.begin = recorded.begin;
  sample.end = recorded.end;
  sample.theirs = folder_ / (name + ".theirs");
  sample.mine = folder_ / (name + ".mine");
  sample.parameters = folder_ / (update.record.parameters_before.hex() + ".parameters");
  std::error_code error;
  if (!fs::exists(sample.parameters, error)) {
    fs::create_hard_link(update.parameters, sample.parameters, error);
    if (error) return errno_error("cannot link", sample.parameters, error.value());
    kept_bytes_ += fs::file_size(sample.parameters, error);
  }
  fs::rename(update.update, sample.theirs, error);
  if (error) return errno_error("cannot keep", sample.theirs, error.value());
  // Its own update is written beside it.
  kept_bytes_ += 2 * fs::file_size(sample.theirs, error);
  samples_.push_back(std::move(sample));
  return kept_bytes_ > kKeptBytesMax ? flush(findings) : Status();
}

Status GradientAudit::prepare() {
  if (is_prepared_) return {};
  MH_TRY_VOID(write_file_atomically(folder_ / "job.json", job_.canonical_json));
  if (options_.data.empty()) MH_TRY_VOID(fetch_data());
  is_prepared_ = true;
  return {};
}

Status GradientAudit::fetch_data() {
  std::error_code error;
  const fs::path data = folder_ / "data";
  fs::create_directory(data, error);
  if (error) return errno_error("cannot create", data, error.value());
  MH_TRY_VOID(write_file_atomically(data / "manifest.json", job_.manifest_json));
  const SplitInfo* train = job_.manifest.find_split("train");
  std::uint64_t done = 0;
  const bool is_live = Context::is_terminal(2);
  for (const ChunkInfo& chunk : train->chunks) {
    MH_TRY_VOID(context_.fetch_file(chunk.digest, data / chunk.digest.hex(), chunk.bytes));
    done += chunk.bytes;
    if (is_live)
      context_.err() << "\rdata set: " << bytes_text(static_cast<double>(done)) << "   "
                     << std::flush;
  }
  if (is_live) context_.err() << "\n";
  return {};
}

Status GradientAudit::run_trainer() {
  MH_TRY(const fs::path trainer, find_trainer(options_.trainer));
  std::string list;
  for (const Sample& sample : samples_) {
    list += sample.parameters.string() + "\t" + std::to_string(sample.begin) + "\t" +
            std::to_string(sample.end) + "\t" + sample.mine.string() + "\n";
  }
  const fs::path list_path = folder_ / "list";
  MH_TRY_VOID(write_file_atomically(list_path, list));
  const std::string data = options_.data.empty() ? (folder_ / "data").string() : options_.data;
  return run_program({trainer.string(), "gradient", (folder_ / "job.json").string(), "--data", data,
                      "--list", list_path.string()});
}

Status GradientAudit::compare(const Sample& sample, std::vector<AuditFinding>& findings) {
  MH_TRY(const MappedFile mine, MappedFile::open(sample.mine));
  MH_TRY(const MappedFile theirs, MappedFile::open(sample.theirs));
  ++counts_.computed;
  if (sha256(mine.bytes()) == sha256(theirs.bytes())) {
    ++counts_.equal;
    return {};
  }
  MH_TRY(const update::PackView own, update::view_pack(mine.bytes()));
  MH_TRY(const update::PackView other,
         update::view_pack(theirs.bytes(), update::PackKind::kGradientSum, own.header.layout_digest,
                           own.header.element_count));
  const double distance = relative_distance(own.values(), other.values());
  if (distance <= options_.tolerance) {
    ++counts_.within;
    counts_.distance_max = std::max(counts_.distance_max, distance);
    return {};
  }
  AuditFinding found = sample.place;
  found.problem = "computed again it is another gradient: relative distance " +
                  std::to_string(distance) + ", tolerance " + std::to_string(options_.tolerance);
  findings.push_back(std::move(found));
  return {};
}

Status GradientAudit::flush(std::vector<AuditFinding>& findings) {
  if (samples_.empty()) return {};
  MH_TRY_VOID(prepare());
  if (Context::is_terminal(2))
    context_.err() << "\rcomputing " << samples_.size() << " gradients …   " << std::flush;
  MH_TRY_VOID(run_trainer());
  for (const Sample& sample : samples_) MH_TRY_VOID(compare(sample, findings));
  std::error_code ignored;
  for (const Sample& sample : samples_) {
    fs::remove(sample.theirs, ignored);
    fs::remove(sample.mine, ignored);
    fs::remove(sample.parameters, ignored);
  }
  samples_.clear();
  kept_bytes_ = 0;
  return {};
}

}  // namespace mh::cli
