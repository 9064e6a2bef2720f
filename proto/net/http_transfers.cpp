// Blob downloads and tus uploads that go on after a cut. See http_client.h.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/random.h"
#include "proto/net/async.h"
#include "proto/net/backoff.h"
#include "proto/net/http_client_impl.h"

namespace mh::net {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::uint64_t kSentenceBytesMax = 64 * 1024;

std::string blob_target(const Digest& digest) { return "/blob/sha256/" + digest.hex(); }

// Worth another try: the way was cut or the server is busy, nothing is wrong with the request.
bool is_transient(const Error& error) {
  return error.code == Errc::kUnavailable || error.code == Errc::kDeadlineExceeded;
}

// Counts tries without progress and waits between them.
class Patience {
 public:
  Patience(std::uint32_t count_max, std::uint64_t seed)
      : count_max_(count_max),
        backoff_(seed, {std::chrono::milliseconds(100), std::chrono::seconds(5)}) {}
  bool has_more() const { return backoff_.failure_count() < count_max_; }
  void reset() { backoff_.reset(); }
  asio::awaitable<void> wait() {
    const auto pause = backoff_.next();
    co_await sleep_for(pause);
  }

 private:
  const std::uint32_t count_max_;
  Backoff backoff_;
};

Patience patience_for(const HttpClientOptions& options, const Digest& digest) {
  const auto now = static_cast<std::uint64_t>(HttpStream::Clock::now().time_since_epoch().count());
  return Patience(options.resume_count_max, now ^ std::hash<Digest>()(digest));
}

// "bytes 100-199/1000": where the part starts and how long the whole is.
struct ContentRange {
  std::uint64_t begin = 0;
  std::uint64_t total = 0;
};

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash)
    return std::nullopt;
  const auto begin = parse_decimal(text.substr(0, dash));
  const auto total = parse_decimal(text.substr(slash + 1));
  if (!begin || !total) return std::nullopt;
  return ContentRange{*begin, *total};
}

// The file that a download grows in, hashed as it grows.
class PartFile {
 public:
  static Result<PartFile> open(const fs::path& path) {
    PartFile part;
    part.path_ = path;
    part.file_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!part.file_.is_open()) return errno_error("cannot open", path, errno);
    std::vector<std::byte> piece(kPieceBytes);
    while (true) {
      const ssize_t count = ::read(part.file_.get(), piece.data(), piece.size());
      if (count < 0) return errno_error("cannot read", path, errno);
      if (count == 0) break;
      part.hash_.update(std::span(piece).first(static_cast<std::size_t>(count)));
      part.bytes_ += static_cast<std::uint64_t>(count);
    }
    return part;
  }

  std::uint64_t bytes() const { return bytes_; }

  Status append(std::span<const char> bytes) {
    const auto raw = std::as_bytes(bytes);
    MH_TRY_VOID(write_all(file_.get(), raw, path_));
    hash_.update(raw);
    bytes_ += bytes.size();
    return {};
  }

  Status restart() {
    if (::ftruncate(file_.get(), 0) != 0 || ::lseek(file_.get(), 0, SEEK_SET) != 0)
      return errno_error("cannot empty", path_, errno);
    hash_ = Sha256();
    bytes_ = 0;
    return {};
  }

  Status publish(const fs::path& target, bool durable) {
    if (durable) {
      if (::fsync(file_.get()) != 0) return errno_error("cannot write", path_, errno);
      return publish_file(path_, target);
    }
    std::error_code error;
    fs::rename(path_, target, error);
    if (error) return errno_error("cannot rename to", target, error.value());
    return {};
  }

  Digest finish() { return hash_.finish(); }
  void discard() { ::unlink(path_.c_str()); }

 private:
  fs::path path_;
  UniqueFd file_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

struct Download {
  Digest digest;
  DownloadOptions options;
  TransferReport report;
};

using Impl = HttpClient::Impl;

// The sentence of a refusal, then the error.
asio::awaitable<Error> read_refusal(Impl& client, ResponseHead head, std::string doing) {
  auto body = co_await client.read_body(kSentenceBytesMax, RequestDeadlines());
  if (body.has_value()) {
    client.end_reply();
    head.response.body = *std::move(body);
  } else {
    client.drop();
  }
  co_return error_of_reply(head.response, doing);
}

// What a 200 or 206 promises: the bytes of the whole blob. Restarts the part where it must.
Result<std::uint64_t> check_blob_head(const ResponseHead& head, PartFile& part,
                                      const Download& download) {
  const std::string doing = "download of " + download.digest.hex();
  const std::string_view type = head.response.headers.find("Content-Type").value_or("");
  if ((head.response.status != 200 && head.response.status != 206) || type.starts_with("text/html"))
    return error_of_reply(head.response, doing);
  if (!head.framing.content_length)
    return fail(Errc::kUnknown, doing + ": the reply has no Content-Length");
  std::uint64_t total = *head.framing.content_length;
  if (head.response.status == 206) {
    const auto range =
        parse_content_range(head.response.headers.find("Content-Range").value_or(""));
    if (!range || range->begin != part.bytes() || range->total < range->begin ||
        range->total - range->begin != total)
      return fail(Errc::kUnknown, doing + ": the server sent another range than it was asked for");
    total = range->total;
  } else if (part.bytes() > 0) {
    MH_TRY_VOID(part.restart());
  }
  if (total > download.options.bytes_max)
    return fail(Errc::kResourceExhausted, doing + ": the blob has " + std::to_string(total) +
                                              " bytes, the limit is " +
                                              std::to_string(download.options.bytes_max));
  return total;
}

// One request: from where the part ends to the end of the blob, or to a cut.
asio::awaitable<Status> download_rest(Impl& client, PartFile& part, Download& download) {
  HttpRequest request;
  request.method = "GET";
  request.target = blob_target(download.digest);
  if (part.bytes() > 0) request.headers.add("Range", "bytes=" + std::to_string(part.bytes()) + "-");
  BodySource nothing;
  auto head = co_await client.begin(std::move(request), std::move(nothing), RequestDeadlines());
  if (!head.has_value()) co_return head.error();
  if (head->response.status == 416) {
    // The part is whole already, or longer than the blob: the digest will tell.
    client.drop();
    co_return Status();
  }
  if (head->response.status >= 300)
    co_return co_await read_refusal(client, *head, "download of " + download.digest.hex());
  const auto total = check_blob_head(*head, part, download);
  if (!total.has_value()) {
    client.drop();
    co_return total.error();
  }
  download.report.bytes_total = *total;
  std::vector<char> piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(*total - part.bytes(), kPieceBytes)));
  while (part.bytes() < *total) {
    const auto count = co_await client.read_piece(piece);
    Status written;
    if (count.has_value()) written = part.append(std::span(piece).first(*count));
    if (!count.has_value() || !written.has_value()) {
      client.drop();
      co_return count.has_value() ? written.error() : count.error();
    }
    download.report.bytes_moved += *count;
    if (download.options.progress) download.options.progress(part.bytes(), *total);
  }
  client.end_reply();
  co_return Status();
}

// Tries until the blob is whole, or nothing moves any more.
asio::awaitable<Status> download_whole(Impl& client, PartFile& part, Download& download) {
  Patience patience = patience_for(client.options, download.digest);
  while (true) {
    const std::uint64_t moved = download.report.bytes_moved;
    const Status status = co_await download_rest(client, part, download);
    if (status.has_value() || !is_transient(status.error())) co_return status;
    if (download.report.bytes_moved > moved) patience.reset();
    if (!patience.has_more()) co_return status;
    co_await patience.wait();
  }
}

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
                                           kSentenceBytesMax);
  if (!response.has_value()) co_return response.error();
  if (response->status < 200 || response->status >= 300)
    co_return error_of_reply(*response, "upload");
  co_return place_of(*response, std::move(target), client.server.base_path);
}

asio::awaitable<Result<UploadPlace>> create_upload(Impl& client, const UploadContent& content,
                                                   bool with_body) {
  HttpRequest request = tus_request("POST", "/upload");
  request.headers.add("Upload-Length", std::to_string(content.source.bytes));
  request.headers.add("Upload-Metadata", "sha256 " + to_base64(as_bytes(content.digest.hex())));
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
  TransferReport report;
};

// One request towards the end of an upload: creates it, asks where it stands, or sends the rest.
// True if bytes have moved or a question was answered.
asio::awaitable<Result<bool>> advance_upload(Impl& client, const UploadContent& content,
                                             UploadProgress& upload) {
  const std::uint64_t total = content.source.bytes;
  const bool in_one = total <= client.options.single_request_bytes_max;
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
    co_await patience.wait();
  }
  if (content.progress) content.progress(total, total);
  co_return upload.report;
}

}  // namespace

asio::awaitable<Result<TransferReport>> HttpClient::download(Digest digest, fs::path target,
                                                             DownloadOptions options) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::uint64_t started = impl->generation;
  const auto turn = co_await impl->take_turn();
  if (impl->generation != started) co_return impl->explain(started, Error());
  fs::path part_path = target;
  part_path += ".part";
  Download download;
  download.digest = digest;
  download.options = std::move(options);
  // Bytes of an earlier try may be damaged: then once more from the start.
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto part = PartFile::open(part_path);
    if (!part.has_value()) co_return part.error();
    const std::uint64_t bytes_before = part->bytes();
    const Status status = co_await download_whole(*impl, *part, download);
    if (!status.has_value()) co_return impl->explain(started, status.error());
    if (part->finish() == digest) {
      download.report.bytes_total = part->bytes();
      const Status published = part->publish(target, download.options.durable);
      if (!published.has_value()) co_return published.error();
      co_return download.report;
    }
    part->discard();
    if (bytes_before == 0) break;
  }
  co_return fail(Errc::kDataLoss,
                 "download of " + digest.hex() + ": the bytes that came have another SHA-256");
}

asio::awaitable<Result<std::string>> HttpClient::fetch(Digest digest, std::uint64_t bytes_max) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::uint64_t started = impl->generation;
  const auto turn = co_await impl->take_turn();
  if (impl->generation != started) co_return impl->explain(started, Error());
  Patience patience = patience_for(impl->options, digest);
  while (true) {
    HttpRequest request;
    request.method = "GET";
    request.target = blob_target(digest);
    auto response =
        co_await impl->exchange(std::move(request), BodySource(), RequestDeadlines(), bytes_max);
    if (response.has_value()) {
      const bool is_blob = response->status == 200;
      if (is_blob && sha256(response->body) == digest) co_return std::move(response->body);
      if (is_blob && !response->headers.find("Content-Type").value_or("").starts_with("text/html"))
        co_return fail(Errc::kDataLoss,
                       "blob " + digest.hex() + ": the bytes that came have another SHA-256");
      response = error_of_reply(*response, "blob " + digest.hex());
    }
    if (!is_transient(response.error()) || !patience.has_more())
      co_return impl->explain(started, response.error());
    co_await patience.wait();
  }
}

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
