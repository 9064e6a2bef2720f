// tus uploads of the client that go on after a cut. See http_client.h.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/net/http_client_impl.h"
#include "proto/net/http_patience.h"

namespace mh::net {
namespace {

namespace fs = std::filesystem;
using Impl = HttpClient::Impl;

constexpr std::uint64_t kReplyBytesMax = 64 * 1024;

// A file or a text as the body of uploads.
struct UploadContent {
  Digest digest;
  BodySource source;
  TransferProgress progress;
};

// The bytes from `begin` on.
BodySource rest_of(const UploadContent& content, std::uint64_t begin) {
  BodySource rest;
  rest.bytes = content.source.bytes - begin;
  rest.read = [whole = content.source, begin, progress = content.progress](
                  std::uint64_t offset, std::span<char> out) -> Status {
    if (progress && begin + offset > 0) progress(begin + offset, whole.bytes);
    return whole.read(begin + offset, out);
  };
  return rest;
}

struct UploadPlace {
  std::string target;  // "/upload/…"
  std::uint64_t offset = 0;
};

// Location and offset of a reply to POST, HEAD or PATCH.
Result<UploadPlace> place_of(const HttpResponse& response, std::string target,
                             const std::string& base_path) {
  if (const auto location = response.headers.find("Location")) {
    std::string_view path = *location;
    if (const std::size_t scheme = path.find("://"); scheme != std::string_view::npos) {
      const std::size_t slash = path.find('/', scheme + 3);
      path = slash == std::string_view::npos ? std::string_view("/") : path.substr(slash);
    }
    if (!base_path.empty() && path.starts_with(base_path)) path.remove_prefix(base_path.size());
    target = path;
  }
  const bool is_clean =
      std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7F; });
  const auto offset = parse_decimal(response.headers.find("Upload-Offset").value_or(""));
  if (!target.starts_with("/") || !is_clean || !offset)
    return fail(
        Errc::kUnknown,
        "upload: the reply does not say where the upload stands: is this a Manyhands server?");
  return UploadPlace{std::move(target), *offset};
}

HttpRequest tus_request(std::string method, std::string target) {
  HttpRequest request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.headers.add("Tus-Resumable", "1.0.0");
  return request;
}

// Sends one tus request and says where the upload stands then.
asio::awaitable<Result<UploadPlace>> tus_exchange(Impl& client, HttpRequest request,
                                                  BodySource body) {
  std::string target = request.target;
  auto response = co_await client.exchange(std::move(request), std::move(body), RequestDeadlines(),
                                           kReplyBytesMax);
  if (!response.has_value()) co_return response.error();
  if (response->status < 200 || response->status >= 300)
    co_return error_of_reply(*response, "upload");
  co_return place_of(*response, std::move(target), client.server.base_path);
}

asio::awaitable<Result<UploadPlace>> create_upload(Impl& client, const UploadContent& content,
                                                   bool with_body) {
  HttpRequest request = tus_request("POST", "/upload");
  request.headers.add("Upload-Length", std::to_string(content.source.bytes));
  std::string metadata = "sha256 " + to_base64(as_bytes(content.digest.hex()));
  // What an earlier run of this program sent of it is not sent again.
  if (!with_body) metadata += ",resume MQ==";
  request.headers.add("Upload-Metadata", std::move(metadata));
  BodySource body;
  if (with_body) {
    request.headers.add("Content-Type", "application/offset+octet-stream");
    body = rest_of(content, 0);
  }
  co_return co_await tus_exchange(client, std::move(request), std::move(body));
}

asio::awaitable<Result<UploadPlace>> continue_upload(Impl& client, const UploadContent& content,
                                                     UploadPlace place) {
  HttpRequest request = tus_request("PATCH", place.target);
  request.headers.add("Upload-Offset", std::to_string(place.offset));
  request.headers.add("Content-Type", "application/offset+octet-stream");
  BodySource body = rest_of(content, place.offset);
  co_return co_await tus_exchange(client, std::move(request), std::move(body));
}

// An upload under way: where it stands as far as is known, and what was moved.
struct UploadProgress {
  std::optional<UploadPlace> place;
  // False after a cut: the server must be asked.
  bool is_place_known = false;
  // A request was cut: from here on what has arrived of it is asked for, not sent again.
  bool was_cut = false;
  TransferReport report;
};

// One request towards the end of an upload: creates it, asks where it stands, or sends the rest.
// True if bytes have moved or a question was answered.
asio::awaitable<Result<bool>> advance_upload(Impl& client, const UploadContent& content,
                                             UploadProgress& upload) {
  const std::uint64_t total = content.source.bytes;
  const bool in_one = total <= client.options.single_request_bytes_max && !upload.was_cut;
  const bool is_question = upload.place && !upload.is_place_known;
  const bool is_bare_creation = !upload.place && !in_one;
  const std::uint64_t before = upload.place ? upload.place->offset : 0;
  Result<UploadPlace> next = UploadPlace();
  if (!upload.place) {
    next = co_await create_upload(client, content, in_one);
  } else if (is_question) {
    HttpRequest question = tus_request("HEAD", upload.place->target);
    BodySource nothing;
    next = co_await tus_exchange(client, std::move(question), std::move(nothing));
  } else {
    next = co_await continue_upload(client, content, *upload.place);
  }
  if (!next.has_value()) co_return next.error();
  if (next->offset > total)
    co_return fail(Errc::kUnknown, "upload: the server has more bytes than were sent");
  const bool has_moved = next->offset > before;
  if (has_moved && !is_bare_creation) upload.report.bytes_moved += next->offset - before;
  upload.place = *std::move(next);
  upload.is_place_known = true;
  co_return has_moved || is_question || is_bare_creation;
}

// Creates, sends, and after a cut asks where the server stands and goes on from there.
asio::awaitable<Result<TransferReport>> upload_whole(Impl& client, UploadContent content) {
  const std::uint64_t total = content.source.bytes;
  UploadProgress upload;
  upload.report.bytes_total = total;
  Patience patience = patience_for(client.options, content.digest);
  while (!upload.place || upload.place->offset < total || !upload.is_place_known) {
    const std::uint64_t moved = upload.report.bytes_moved;
    const auto step = co_await advance_upload(client, content, upload);
    if (upload.report.bytes_moved > moved) patience.reset();
    if (step.has_value() && *step) continue;
    const Error error = step.has_value()
                            ? fail(Errc::kUnavailable, "upload: the server takes no more bytes")
                            : step.error();
    // An upload that the server has dropped is made anew.
    const bool is_dropped = upload.place && error.code == Errc::kNotFound;
    if (is_dropped) upload.place.reset();
    const bool goes_on = is_dropped || is_transient(error) || error.code == Errc::kAborted;
    if (!goes_on || !patience.has_more()) co_return error;
    upload.is_place_known = false;
    upload.was_cut = true;
    co_await patience.wait();
  }
  if (content.progress) content.progress(total, total);
  co_return upload.report;
}

}  // namespace

asio::awaitable<Result<TransferReport>> HttpClient::upload(fs::path file, Digest digest,
                                                           TransferProgress progress) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::uint64_t started = impl->generation;
  const auto turn = co_await impl->take_turn();
  if (impl->generation != started) co_return impl->explain(started, Error());
  const auto descriptor = std::make_shared<UniqueFd>(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!descriptor->is_open() || ::fstat(descriptor->get(), &info) != 0)
    co_return errno_error("cannot open", file, errno);
  UploadContent content;
  content.digest = digest;
  content.progress = std::move(progress);
  content.source.bytes = static_cast<std::uint64_t>(info.st_size);
  content.source.read = [descriptor, file](std::uint64_t offset, std::span<char> out) -> Status {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = ::pread(descriptor->get(), out.data() + done, out.size() - done,
                                    static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno_error("cannot read", file, errno);
      if (count == 0)
        return fail(Errc::kDataLoss, file.string() + " became shorter while it was uploaded");
      done += static_cast<std::size_t>(count);
    }
    return {};
  };
  auto report = co_await upload_whole(*impl, std::move(content));
  if (!report.has_value()) co_return impl->explain(started, report.error());
  co_return report;
}

asio::awaitable<Result<TransferReport>> HttpClient::upload_bytes(std::string text, Digest digest) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::uint64_t started = impl->generation;
  const auto turn = co_await impl->take_turn();
  if (impl->generation != started) co_return impl->explain(started, Error());
  const auto bytes = std::make_shared<const std::string>(std::move(text));
  UploadContent content;
  content.digest = digest;
  content.source.bytes = bytes->size();
  content.source.read = [bytes](std::uint64_t offset, std::span<char> out) -> Status {
    std::copy_n(bytes->data() + offset, out.size(), out.data());
    return {};
  };
  auto report = co_await upload_whole(*impl, std::move(content));
  if (!report.has_value()) co_return impl->explain(started, report.error());
  co_return report;
}

}  // namespace mh::net
