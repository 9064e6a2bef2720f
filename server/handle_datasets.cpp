// DatasetService: manifests get names once all their chunks are here.
#include <algorithm>

#include "manyhands/v1/dataset.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/log.h"
#include "proto/net/async.h"
#include "server/handler.h"
#include "server/handlers.h"

namespace mh::server {
namespace {

namespace v1 = manyhands::v1;

constexpr int kFindBlobsMax = 4096;

Error no_such_dataset(const std::string& name) {
  return fail(Errc::kNotFound, "there is no data set \"" + name.substr(0, 64) +
                                   "\" ('manyhands dataset list' shows all)");
}

void write_tensor(const SampleTensor& tensor, std::string* dtype,
                  google::protobuf::RepeatedField<std::uint64_t>* shape) {
  *dtype = std::string(data_type_name(tensor.dtype));
  for (const std::int64_t size : tensor.shape) shape->Add(static_cast<std::uint64_t>(size));
}

v1::Dataset to_message(const Dataset& dataset) {
  const DatasetManifest& manifest = *dataset.manifest;
  v1::Dataset message;
  message.set_name(dataset.row.name);
  message.set_manifest_digest(dataset.row.manifest.hex());
  write_tensor(manifest.input, message.mutable_input_dtype(), message.mutable_input_shape());
  write_tensor(manifest.target, message.mutable_target_dtype(), message.mutable_target_shape());
  message.set_class_count(static_cast<std::uint32_t>(manifest.class_count));
  for (const std::string& name : manifest.class_names) message.add_class_names(name);
  for (const std::string_view name : kSplitNames) {
    const SplitInfo* split = manifest.find_split(name);
    if (split == nullptr) continue;
    v1::DatasetSplit& row = *message.add_splits();
    row.set_name(std::string(name));
    row.set_sample_count(split->count);
    row.set_chunk_count(static_cast<std::uint32_t>(split->chunks.size()));
    for (const std::uint64_t count : split->class_counts) row.add_class_counts(count);
  }
  message.set_bytes(manifest.chunk_bytes());
  message.set_created_ms(to_unix_ms(dataset.row.created));
  return message;
}

// Reads a manifest that was uploaded and looks for its chunks, each with its size.
Result<ManifestPtr> read_whole_dataset(BlobStore& blobs, const Digest& manifest_digest) {
  const auto bytes = blobs.read(manifest_digest, kManifestBytesMax);
  if (!bytes) {
    if (bytes.error().code != Errc::kNotFound) return bytes.error();
    return fail(Errc::kFailedPrecondition,
                "manifest " + manifest_digest.hex() + " is not on this server: upload it first");
  }
  MH_TRY_VOID(blobs.make_durable(manifest_digest));
  auto manifest = parse_manifest(as_text(*bytes));
  if (!manifest) return fail(Errc::kInvalidArgument, "manifest: " + manifest.error().message);
  for (const auto& [name, split] : manifest->splits) {
    for (const ChunkInfo& chunk : split.chunks) {
      const auto size = blobs.size(chunk.digest);
      if (!size) {
        return fail(Errc::kFailedPrecondition, "chunk " + chunk.digest.hex() + " of split " + name +
                                                   " is not on this server: upload it first");
      }
      if (*size != chunk.bytes) {
        return fail(Errc::kInvalidArgument, "chunk " + chunk.digest.hex() + " of split " + name +
                                                " has " + std::to_string(*size) +
                                                " bytes, the manifest says " +
                                                std::to_string(chunk.bytes));
      }
      MH_TRY_VOID(blobs.make_durable(chunk.digest));
    }
  }
  return std::make_shared<const DatasetManifest>(*std::move(manifest));
}

asio::awaitable<Result<v1::RegisterDatasetResponse>> register_dataset(
    Core& core, net::CallContext context, v1::RegisterDatasetRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  MH_CO_TRY_VOID(check_dataset_name(request.name()));
  MH_CO_TRY(const Digest digest, Digest::from_hex(request.manifest_digest()));
  auto read = [&blobs = core.blobs(), digest] { return read_whole_dataset(blobs, digest); };
  MH_CO_TRY(ManifestPtr manifest, co_await net::run_on(core.pool(), std::move(read)));
  Transaction extra;
  if (const Dataset* present = core.datasets().find(request.name())) {
    if (present->row.manifest != digest) {
      co_return fail(Errc::kAlreadyExists, "data set \"" + request.name() +
                                               "\" exists with other content (manifest " +
                                               present->row.manifest.hex() +
                                               "): choose another name, or remove it first");
    }
  } else {
    const DatasetRow row{request.name(), digest, manifest->chunk_bytes(), core.now()};
    core.datasets().add(row, manifest);
    extra = audited(core, caller, "data set " + row.name + " was registered");
    extra.datasets.push_back(row);
    log_info("data set registered", {{"name", row.name}, {"by", caller.account.name}});
  }
  co_await core.commit(std::move(extra));
  v1::RegisterDatasetResponse response;
  const Dataset* present = core.datasets().find(request.name());
  if (present == nullptr) co_return no_such_dataset(request.name());
  *response.mutable_dataset() = to_message(*present);
  co_return response;
}

asio::awaitable<Result<v1::FindBlobsResponse>> find_blobs(Core& core, net::CallContext context,
                                                          v1::FindBlobsRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  if (request.digests_size() > kFindBlobsMax) {
    co_return fail(Errc::kInvalidArgument, "digests: " + std::to_string(request.digests_size()) +
                                               " entries, limit is " +
                                               std::to_string(kFindBlobsMax));
  }
  std::vector<Digest> digests;
  for (const std::string& hex : request.digests()) {
    MH_CO_TRY(const Digest digest, Digest::from_hex(hex));
    digests.push_back(digest);
  }
  auto look = [&blobs = core.blobs(), digests = std::move(digests)]() mutable {
    std::erase_if(digests, [&blobs](const Digest& digest) { return blobs.contains(digest); });
    return std::move(digests);
  };
  const std::vector<Digest> missing = co_await net::run_on(core.pool(), std::move(look));
  v1::FindBlobsResponse response;
  for (const Digest& digest : missing) response.add_missing_digests(digest.hex());
  co_return response;
}

asio::awaitable<Result<v1::ListDatasetsResponse>> list_datasets(Core& core,
                                                                net::CallContext context,
                                                                v1::ListDatasetsRequest) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  v1::ListDatasetsResponse response;
  for (const auto& [name, dataset] : core.datasets().all())
    *response.add_datasets() = to_message(dataset);
  co_return response;
}

asio::awaitable<Result<v1::GetDatasetResponse>> get_dataset(Core& core, net::CallContext context,
                                                            v1::GetDatasetRequest request) {
  MH_CO_TRY_VOID(core.accounts().authenticate(context.bearer_token, Role::kResearcher, core.now()));
  co_await core.settled();
  const Dataset* dataset = core.datasets().find(request.name());
  if (dataset == nullptr) co_return no_such_dataset(request.name());
  v1::GetDatasetResponse response;
  *response.mutable_dataset() = to_message(*dataset);
  co_return response;
}

// True if a job, finished or not, was made for it: its models are named by the manifest.
bool is_manifest_used(Core& core, const Digest& manifest) {
  const auto jobs = core.coordinator().jobs(core.now());
  return std::any_of(jobs.begin(), jobs.end(), [&](const scheduler::JobView& view) {
    return view.row.manifest_digest == manifest;
  });
}

// Unfinished jobs that train on it, in words; empty: none.
std::string users_of(Core& core, const Digest& manifest) {
  std::string users;
  for (const scheduler::JobView& view : core.coordinator().jobs(core.now())) {
    if (view.row.manifest_digest != manifest) continue;
    const bool is_running = view.row.state == scheduler::JobState::kRunning;
    if (!is_running && view.row.state != scheduler::JobState::kPaused) continue;
    if (!users.empty()) users += ", ";
    users += "job " + to_string(view.row.id) + " (" + view.row.name + "), which is " +
             (is_running ? "running" : "paused");
  }
  return users;
}

asio::awaitable<Result<v1::RemoveDatasetResponse>> remove_dataset(
    Core& core, net::CallContext context, v1::RemoveDatasetRequest request) {
  MH_CO_TRY(const Caller caller,
            core.accounts().authenticate(context.bearer_token, Role::kAdmin, core.now()));
  const Dataset* dataset = core.datasets().find(request.name());
  if (dataset == nullptr) co_return no_such_dataset(request.name());
  const Digest manifest = dataset->row.manifest;
  if (const std::string users = users_of(core, manifest); !users.empty()) {
    co_return fail(Errc::kFailedPrecondition, "data set \"" + request.name() + "\" is used by " +
                                                  users + "; wait for it, or cancel it first");
  }
  std::vector<Digest> unneeded = dataset->manifest->chunk_digests();
  if (!is_manifest_used(core, manifest)) unneeded.push_back(manifest);
  core.datasets().remove(request.name());
  Transaction extra = audited(core, caller, "data set " + request.name() + " was removed");
  extra.removed_datasets.push_back(request.name());
  co_await core.commit(std::move(extra));
  log_info("data set removed", {{"name", request.name()}, {"by", caller.account.name}});
  core.release_blobs(std::move(unneeded));
  co_return v1::RemoveDatasetResponse();
}

}  // namespace

void add_dataset_service(net::ServiceTable& table, Core& core) {
  // 4,096 digests in hex.
  const net::MethodOptions with_digests{2 * 1024 * 1024, 2 * 1024 * 1024};
  add_call(table, core, "DatasetService/RegisterDataset", &register_dataset, Needs::kRoom);
  add_call(table, core, "DatasetService/FindBlobs", &find_blobs, Needs::kNothing, with_digests);
  add_call(table, core, "DatasetService/ListDatasets", &list_datasets);
  add_call(table, core, "DatasetService/GetDataset", &get_dataset);
  add_call(table, core, "DatasetService/RemoveDataset", &remove_dataset, Needs::kStore);
}

}  // namespace mh::server
