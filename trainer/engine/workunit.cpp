// Workunits from files to files; see workunit.h.
#include "trainer/engine/workunit.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/kill_point.h"
#include "trainer/engine/job_files.h"
#include "trainer/engine/loaded_job.h"
#include "trainer/update/tensor_pack.h"

namespace mh::engine {
namespace {

using SteadyClock = std::chrono::steady_clock;

KillPoint before_write("update.before_write");
KillPoint half_written("update.half_written");
KillPoint after_write("update.after_write");

std::uint64_t milliseconds_since(SteadyClock::time_point begin) {
  const auto elapsed = SteadyClock::now() - begin;
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count());
}

Error damaged(const std::string& what, const std::string& path) {
  return fail(Errc::kInvalidArgument,
              what + " " + path + " is damaged: its SHA-256 is not the one asked for");
}

/// A text whose digest is known. Errors: also kInvalidArgument when it is another one.
Result<std::string> read_named(const std::string& what, const std::string& path,
                               const Digest& digest, std::uint64_t bytes_max) {
  MH_TRY(std::string text, read_file(path, bytes_max));
  if (sha256(text) != digest) return damaged(what, path);
  return text;
}

/// Writes an update so that a file that stands at `path` afterwards is whole, or there is none.
Status write_update(const std::string& path, std::span<const std::byte> pack) {
  // The daemon has made the file: in its sandbox the trainer can make none.
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file.is_open() && errno == ENOENT)
    file = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return errno_error("cannot create", path, errno);
  before_write.pass();
  const std::size_t half = pack.size() / 2;
  Status written = write_all(file.get(), pack.first(half), path);
  half_written.pass();
  if (written) written = write_all(file.get(), pack.subspan(half), path);
  // Some file systems tell of a full disk only now.
  if (::close(file.release()) != 0 && written) written = errno_error("cannot write", path, errno);
  if (!written) ::unlink(path.c_str());
  after_write.pass();
  return written;
}

constexpr std::size_t kHeaderFloats = update::kPackHeaderBytes / sizeof(float);

}  // namespace

struct WorkunitComputer::ReadyJob {
  Digest job_digest;
  Digest manifest_digest;
  std::string chunk_dir;
  std::unique_ptr<LoadedJob> job;
  /// The parameters in the engine; none at first and after an error.
  std::optional<Digest> parameters_digest;
  std::uint64_t parameters_step = 0;
  /// A whole update: header, then gradient.
  std::vector<float> pack;

  std::span<float> gradient() { return std::span(pack).subspan(kHeaderFloats); }

  bool is_for(const ComputeRequest& request) const {
    return job_digest == request.job_digest && manifest_digest == request.manifest_digest &&
           chunk_dir == request.chunk_dir;
  }

  Status load_parameters(const ComputeRequest& request);
};

Status WorkunitComputer::ReadyJob::load_parameters(const ComputeRequest& request) {
  if (parameters_digest != request.parameters_digest) {
    parameters_digest.reset();
    const model::ModelPlan& plan = job->files().plan;
    const std::uint64_t bytes =
        update::pack_size(update::PackKind::kParameters, 1, plan.parameter_count);
    MH_TRY(const MappedFile file, MappedFile::open(request.parameters_path, bytes));
    // The daemon hashed the file as it came; to hash it again would cost as much as the download.
    MH_TRY(const update::PackView view,
           update::view_pack(file.bytes(), update::PackKind::kParameters, plan.layout_digest,
                             plan.parameter_count));
    MH_TRY_VOID(job->set_parameters(view.values()));
    parameters_digest = request.parameters_digest;
    parameters_step = view.header.step;
  }
  if (parameters_step != request.step) {
    return fail(Errc::kInvalidArgument,
                "the parameters are of step " + std::to_string(parameters_step) +
                    ", the workunit is of step " + std::to_string(request.step));
  }
  return {};
}

WorkunitComputer::WorkunitComputer(const Device& device) : device_(device) {}
WorkunitComputer::~WorkunitComputer() = default;

Result<WorkunitComputer::ReadyJob*> WorkunitComputer::ready_job(const ComputeRequest& request) {
  const auto found = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const auto& job) { return job->is_for(request); });
  if (found != jobs_.end()) {
    jobs_.splice(jobs_.begin(), jobs_, found);
    return jobs_.front().get();
  }
  MH_TRY(const std::string job_text,
         read_named("job file", request.job_path, request.job_digest, scheduler::kJobTextBytesMax));
  MH_TRY(scheduler::JobSpec spec, parse_job_text(job_text, "job"));
  MH_TRY(const std::string manifest,
         read_named("manifest", request.manifest_path, request.manifest_digest, kManifestBytesMax));
  MH_TRY(JobFiles files, fit_job(std::move(spec), manifest, request.chunk_dir));
  auto ready = std::make_unique<ReadyJob>();
  ready->job_digest = request.job_digest;
  ready->manifest_digest = request.manifest_digest;
  ready->chunk_dir = request.chunk_dir;
  ready->pack.resize(kHeaderFloats + files.plan.parameter_count);
  // The daemon verifies every chunk before it is used; here their sizes and values are checked.
  MH_TRY(ready->job,
         LoadedJob::load(std::move(files), device_, device_.threads, update::ChunkCheck::kSize));
  while (jobs_.size() >= kReadyJobCountMax) jobs_.pop_back();
  jobs_.push_front(std::move(ready));
  return jobs_.front().get();
}

Result<Computed> WorkunitComputer::compute(const ComputeRequest& request,
                                           const Progress& progress) {
  const auto begin = SteadyClock::now();
  MH_TRY(ReadyJob * job, ready_job(request));
  MH_TRY_VOID(job->load_parameters(request));
  MH_TRY(Computed computed, request.is_gradient ? compute_gradient(request, *job, progress)
                                                : evaluate(request, *job, progress));
  computed.compute_ms = milliseconds_since(begin);
  return computed;
}

Result<Computed> WorkunitComputer::compute_gradient(const ComputeRequest& request, ReadyJob& job,
                                                    const Progress& progress) {
  Computed computed;
  MH_TRY(computed.sums, job.job->gradient({request.begin, request.end}, job.gradient(), progress));
  update::PackHeader header;
  header.kind = update::PackKind::kGradientSum;
  header.element_count = job.gradient().size();
  header.step = request.step;
  header.sample_count = computed.sums.sample_count;
  header.layout_digest = job.job->files().plan.layout_digest;
  const std::span<std::byte> pack = std::as_writable_bytes(std::span(job.pack));
  update::write_pack_header(header, pack.first<update::kPackHeaderBytes>());
  MH_TRY_VOID(write_update(request.update_path, pack));
  computed.update_bytes = pack.size();
  computed.update_digest = sha256(pack);
  return computed;
}

Result<Computed> WorkunitComputer::evaluate(const ComputeRequest& request, ReadyJob& job,
                                            const Progress& progress) {
  Computed computed;
  MH_TRY(computed.sums, job.job->evaluate(request.split, {request.begin, request.end}, progress));
  return computed;
}

}  // namespace mh::engine
