// Blob downloads of the client that go on after a cut. See http_client.h.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "proto/base/file.h"
#include "proto/base/kill_point.h"
#include "proto/net/http_client_impl.h"
#include "proto/net/http_patience.h"

namespace mh::net {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::uint64_t kSentenceBytesMax = 64 * 1024;

KillPoint before_write("download.before_write");
KillPoint before_rename("download.before_rename");
KillPoint after_rename("download.after_rename");

std::string blob_target(const Digest& digest) { return "/blob/sha256/" + digest.hex(); }

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
    before_write.pass();
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
    before_rename.pass();
    MH_TRY_VOID(rename_to(target, durable));
    after_rename.pass();
    return {};
  }

  Digest finish() { return hash_.finish(); }
  void discard() { ::unlink(path_.c_str()); }

 private:
  Status rename_to(const fs::path& target, bool durable) const {
    if (durable) {
      if (::fsync(file_.get()) != 0) return errno_error("cannot write", path_, errno);
      return publish_file(path_, target);
    }
    std::error_code error;
    fs::rename(path_, target, error);
    if (error) return errno_error("cannot rename to", target, error.value());
    return {};
  }

  fs::path path_;
  UniqueFd file_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

struct Download {
  Digest digest;
  DownloadOptions options;
  TransferReport report;
  // Ask every cache on the way for what the server itself has: something gave wrong bytes.
  bool past_caches = false;
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
  if (part.bytes() > 0) {
    request.headers.add("Range", "bytes=" + std::to_string(part.bytes()) + "-");
    // What has another tag is another blob (a proxy's page, a mirror's mistake): then all of it.
    request.headers.add("If-Range", "\"" + download.digest.hex() + "\"");
  }
  if (download.past_caches) request.headers.add("Cache-Control", "no-cache");
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
  // Bytes of an earlier try, or of a cache on the way, may be damaged: then once more from the
  // start, past the caches.
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto part = PartFile::open(part_path);
    if (!part.has_value()) co_return part.error();
    download.past_caches = attempt > 0;
    const Status status = co_await download_whole(*impl, *part, download);
    if (!status.has_value()) co_return impl->explain(started, status.error());
    if (part->finish() == digest) {
      download.report.bytes_total = part->bytes();
      const Status published = part->publish(target, download.options.durable);
      if (!published.has_value()) co_return published.error();
      co_return download.report;
    }
    part->discard();
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
  bool past_caches = false;
  while (true) {
    HttpRequest request;
    request.method = "GET";
    request.target = blob_target(digest);
    if (past_caches) request.headers.add("Cache-Control", "no-cache");
    auto response =
        co_await impl->exchange(std::move(request), BodySource(), RequestDeadlines(), bytes_max);
    if (response.has_value()) {
      const bool is_blob = response->status == 200;
      if (is_blob && sha256(response->body) == digest) co_return std::move(response->body);
      if (is_blob &&
          !response->headers.find("Content-Type").value_or("").starts_with("text/html")) {
        if (!std::exchange(past_caches, true)) continue;
        co_return fail(Errc::kDataLoss,
                       "blob " + digest.hex() + ": the bytes that came have another SHA-256");
      }
      response = error_of_reply(*response, "blob " + digest.hex());
    }
    if (!is_transient(response.error()) || !patience.has_more())
      co_return impl->explain(started, response.error());
    co_await patience.wait();
  }
}

}  // namespace mh::net
