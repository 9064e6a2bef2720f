// JobService/ListStepRecords: the public records of a job's steps, signed. Whoever has a token may
// read them: they hold digests, sums and pseudonyms.
#include <algorithm>

#include "manyhands/v1/job.pb.h"
#include "proto/base/signature.h"
#include "proto/base/step_record.h"
#include "proto/net/async.h"
#include "server/handler.h"
#include "server/handlers.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

constexpr std::uint32_t kRecordsMax = 256;
constexpr std::uint64_t kPageBytesMax = 4'000'000;

template <class Bytes>
std::string raw(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The digest that was stored is signed, not that of the text: a text that was changed since does
// not get a signature that fits.
Result<v1::ListStepRecordsResponse> read_records(Store& store, const SigningKey& key,
                                                 const scheduler::JobRow& job, std::uint64_t from,
                                                 std::uint64_t count_max) {
  MH_TRY(auto rows, store.records(job.id, from, count_max, kPageBytesMax));
  v1::ListStepRecordsResponse response;
  for (scheduler::StepRecordRow& row : rows) {
    // Later than the answer's head.
    if (row.sequence >= job.record_count) break;
    v1::StepRecord& record = *response.add_records();
    record.set_signature(raw(key.sign(signed_text(row.digest))));
    record.set_record(std::move(row.record));
  }
  response.set_record_count(job.record_count);
  if (job.record_count > 0) response.set_head_digest(job.record_digest.raw());
  response.set_retained_from(job.retained_from);
  response.set_public_key(raw(key.public_key()));
  return response;
}

asio::awaitable<Result<v1::ListStepRecordsResponse>> list_step_records(
    Core& core, net::CallContext context, v1::ListStepRecordsRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kVolunteer, core.now()));
  co_await core.settled();
  const auto view = core.coordinator().job(JobId(request.job_id()), core.now());
  if (!view) co_return no_such_job(request.job_id());
  const std::uint32_t count_max =
      request.count_max() == 0 ? kRecordsMax : std::min(request.count_max(), kRecordsMax);
  auto read = [&store = core.store(), &key = core.signing_key(), job = view->row,
               from = request.from_sequence(),
               count_max] { return read_records(store, key, job, from, count_max); };
  co_return co_await net::run_on(core.pool(), std::move(read));
}

}  // namespace

void add_record_calls(net::ServiceTable& table, Core& core) {
  add_call(table, core, "JobService/ListStepRecords", &list_step_records);
}

}  // namespace mh::server
