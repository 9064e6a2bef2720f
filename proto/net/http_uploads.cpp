// tus 1.0 (tus.io) with creation, creation-with-upload, expiration and termination. The digest is
// announced at creation: "Upload-Metadata: sha256 BASE64(hex digest)". See http_session.h.
#include <algorithm>
#include <span>

#include "proto/base/bytes.h"
#include "proto/net/async.h"
#include "proto/net/connect_json.h"
#include "proto/net/http_session.h"

namespace mh::net {
namespace {

constexpr std::string_view kVersion = "1.0.0";
constexpr std::string_view kUploadType = "application/offset+octet-stream";
// A connection that was cut is noticed late; its upload goes to the one that comes after it.
constexpr auto kLockPatience = std::chrono::seconds(3);
constexpr auto kLockLook = std::chrono::milliseconds(10);
constexpr int kStatusChecksum = 460;
constexpr int kStatusLocked = 423;

HttpResponse tus_response(int status, std::string text = {}) {
  HttpResponse response;
  if (!text.empty()) response = plain_text_response(status, std::move(text));
  response.status = status;
  response.headers.add("Tus-Resumable", std::string(kVersion));
  response.headers.add("Cache-Control", "no-store");
  return response;
}

HttpResponse tus_error(const Error& error) {
  HttpResponse response = tus_response(status_of(error.code), error.message);
  if (error.code == Errc::kUnauthenticated) response.headers.add("WWW-Authenticate", "Bearer");
  if (error.code == Errc::kUnavailable) response.headers.add("Retry-After", "1");
  return response;
}

void add_state(HttpResponse& response, const UploadState& state) {
  response.headers.add("Upload-Offset", std::to_string(state.offset));
  if (!state.is_complete && state.expires != TimePoint{})
    response.headers.add("Upload-Expires", http_date(to_unix_ms(state.expires) / 1000));
}

// The digest in "sha256 BASE64,filename BASE64".
Result<Digest> announced_digest(const Headers& headers) {
  for (const std::string_view item : split_list(headers.find("Upload-Metadata").value_or(""))) {
    const std::size_t blank = item.find(' ');
    if (item.substr(0, blank) != "sha256" || blank == std::string_view::npos) continue;
    const auto text = from_base64(trim(item.substr(blank)));
    if (text.has_value()) return Digest::from_hex(as_text(*text));
  }
  return fail(Errc::kInvalidArgument,
              "Upload-Metadata must name the blob: 'sha256 ' and the base64 of its SHA-256 in 64 "
              "lower-case hex digits");
}

bool is_upload_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
}

std::string lock_key(const std::string& owner, const std::string& id) { return id + "/" + owner; }

}  // namespace

asio::awaitable<void> Session::serve_upload() {
  HttpResponse refusal;
  const std::string& method = head_.request.method;
  const std::string path(head_.request.path());
  const Headers& headers = head_.request.headers;
  if (method == "OPTIONS") {
    HttpResponse offer = tus_response(204);
    offer.headers.add("Tus-Version", std::string(kVersion));
    offer.headers.add("Tus-Extension", "creation,creation-with-upload,expiration,termination");
    offer.headers.add("Tus-Max-Size", std::to_string(server_->options.upload_bytes_max));
    co_await respond(std::move(offer));
    co_return;
  }
  if (headers.find("Tus-Resumable").value_or("") != kVersion) {
    refusal = tus_response(412, "uploads need the header Tus-Resumable: 1.0.0");
    refusal.headers.add("Tus-Version", std::string(kVersion));
    co_await respond(std::move(refusal));
    co_return;
  }
  const std::string id(path.size() > 8 ? path.substr(8) : std::string());
  const bool is_known = id.empty() ? method == "POST" && path == "/upload"
                                   : method == "HEAD" || method == "PATCH" || method == "DELETE";
  if (!is_known || (!id.empty() && !is_upload_id(id))) {
    const bool is_wrong_verb = is_upload_id(id) || path == "/upload";
    refusal = is_wrong_verb ? tus_response(405, "uploads are made by POST, continued by PATCH")
                            : tus_response(404, "an upload's name is letters, digits and dashes");
    if (is_wrong_verb)
      refusal.headers.add("Allow", id.empty() ? "POST, OPTIONS" : "HEAD, PATCH, DELETE, OPTIONS");
    co_await respond(std::move(refusal));
    co_return;
  }
  auto owner = co_await server_->authorizer(bearer_token_of(headers), peer_address_);
  if (!owner.has_value()) {
    refusal = tus_error(owner.error());
    co_await respond(std::move(refusal));
    co_return;
  }
  if (id.empty()) {
    co_await create_upload(*std::move(owner));
    co_return;
  }
  std::string key = lock_key(*owner, id);
  const bool is_locked = co_await lock_upload(key);
  if (!is_locked) {
    refusal = tus_response(kStatusLocked, "another connection is sending this upload");
    co_await respond(std::move(refusal));
    co_return;
  }
  if (method == "HEAD") {
    co_await describe_upload(*owner, id);
  } else if (method == "PATCH") {
    co_await append_upload(*owner, id);
  } else {
    co_await remove_upload(*owner, id);
  }
  server_->unlock_upload(key);
}

asio::awaitable<bool> Session::lock_upload(std::string key) {
  const Deadline deadline = Clock::now() + kLockPatience;
  while (true) {
    const auto other = server_->lock_upload(key, shared_from_this());
    if (!other) co_return true;
    if (Clock::now() >= deadline || is_aborted_) co_return false;
    other->interrupt_upload();
    co_await sleep_for(kLockLook);
  }
}

asio::awaitable<void> Session::create_upload(std::string owner) {
  HttpResponse refusal;
  const Headers& headers = head_.request.headers;
  const auto length = parse_decimal(headers.find("Upload-Length").value_or(""));
  const auto digest = announced_digest(headers);
  const std::uint64_t limit = server_->options.upload_bytes_max;
  if (!length || headers.count("Upload-Length") != 1) {
    refusal = tus_response(400, "Upload-Length must be the number of bytes of the blob");
  } else if (*length > limit) {
    refusal = tus_response(413, "the upload has " + std::to_string(*length) +
                                    " bytes, the limit is " + std::to_string(limit));
  } else if (!digest.has_value()) {
    refusal = tus_response(400, digest.error().message);
  } else if (head_.framing.is_chunked) {
    refusal = tus_response(411, "uploads need a Content-Length");
  } else if (body_left_ > *length) {
    refusal = tus_response(413, "the body is longer than Upload-Length says");
  } else if (body_left_ > 0 && headers.find("Content-Type").value_or("") != kUploadType) {
    refusal = tus_response(415, "the Content-Type of an upload is " + std::string(kUploadType));
  } else {
    co_await create_upload_locked(std::move(owner), *length, *digest);
    co_return;
  }
  co_await respond(std::move(refusal));
}

asio::awaitable<void> Session::create_upload_locked(std::string owner, std::uint64_t length,
                                                    Digest digest) {
  HttpResponse response;
  auto create = [sink = server_->uploads, owner, length, digest] {
    return sink->create(owner, length, digest);
  };
  auto created = co_await run_on(server_->pool, std::move(create));
  if (!created.has_value()) {
    response = tus_error(created.error());
    co_await respond(std::move(response));
    co_return;
  }
  UploadState state = *created;
  std::string location = "/upload/" + state.id;
  if (!state.is_complete && (body_left_ > 0 || length == 0)) {
    std::string key = lock_key(owner, state.id);
    const bool is_locked = co_await lock_upload(key);
    // Not a conditional expression: g++ 12.2 destroys twice what one with co_await makes.
    Result<UploadState> received = fail(Errc::kAborted, "the upload is in use");
    if (is_locked) {
      received = co_await receive(owner, state);
      const bool is_cut = received.has_value() && !received->is_complete;
      // What has arrived of a cut upload is there after a restart, too; without room for that it
      // begins again.
      if (is_cut) co_await keep_upload(owner, state.id);
      server_->unlock_upload(key);
    }
    if (!is_open_) co_return;
    if (!received.has_value()) {
      response = tus_error(received.error());
      if (received.error().code == Errc::kInvalidArgument) response.status = kStatusChecksum;
      response.headers.add("Location", location);
      co_await respond(std::move(response));
      co_return;
    }
    state = *received;
  } else if (!state.is_complete) {
    const Status kept = co_await keep_upload(owner, state.id);
    if (!kept.has_value()) {
      response = tus_error(kept.error());
      co_await respond(std::move(response));
      co_return;
    }
  }
  response = tus_response(201);
  response.headers.add("Location", location);
  add_state(response, state);
  co_await respond(std::move(response));
}

asio::awaitable<Status> Session::keep_upload(std::string owner, std::string id) {
  auto keep = [sink = server_->uploads, owner, id] { return sink->keep(owner, id); };
  co_return co_await run_on(server_->pool, std::move(keep));
}

asio::awaitable<void> Session::describe_upload(std::string owner, std::string id) {
  auto find = [sink = server_->uploads, owner, id] { return sink->find(owner, id); };
  auto state = co_await run_on(server_->pool, std::move(find));
  HttpResponse response = state.has_value() ? tus_response(200) : tus_error(state.error());
  if (state.has_value()) {
    add_state(response, *state);
    response.headers.add("Upload-Length", std::to_string(state->length));
  }
  co_await respond(std::move(response));
}

asio::awaitable<void> Session::append_upload(std::string owner, std::string id) {
  HttpResponse response;
  const Headers& headers = head_.request.headers;
  const auto offset = parse_decimal(headers.find("Upload-Offset").value_or(""));
  auto find = [sink = server_->uploads, owner, id] { return sink->find(owner, id); };
  auto state = co_await run_on(server_->pool, std::move(find));
  if (headers.find("Content-Type").value_or("") != kUploadType) {
    response = tus_response(415, "the Content-Type of an upload is " + std::string(kUploadType));
  } else if (!offset || headers.count("Upload-Offset") != 1) {
    response = tus_response(400, "Upload-Offset must be the number of bytes sent so far");
  } else if (!head_.framing.content_length) {
    response = tus_response(411, "uploads need a Content-Length");
  } else if (!state.has_value()) {
    response = tus_error(state.error());
  } else if (*offset != state->offset) {
    response = tus_response(409, "the upload stands at byte " + std::to_string(state->offset));
    add_state(response, *state);
  } else if (body_left_ > state->length - state->offset) {
    response = tus_response(413, "the body is longer than what is missing of the upload");
  } else {
    auto received = co_await receive(std::move(owner), *state);
    if (!is_open_) co_return;
    if (received.has_value()) {
      response = tus_response(204);
      add_state(response, *received);
    } else {
      response = tus_error(received.error());
      if (received.error().code == Errc::kInvalidArgument) response.status = kStatusChecksum;
    }
  }
  co_await respond(std::move(response));
}

// The body, piece by piece, from the socket to the sink. A cut keeps what has arrived.
asio::awaitable<Result<UploadState>> Session::receive(std::string owner, UploadState state) {
  const HttpServerOptions& options = server_->options;
  const Slot slot = Slot::take(server_->uploads_open, 1, options.uploads_max);
  if (!slot)
    co_return fail(Errc::kUnavailable, "the server receives " +
                                           std::to_string(options.uploads_max) +
                                           " uploads already: try again");
  const bool goes_on = co_await send_continue();
  if (!goes_on) co_return state;
  const auto piece = server_->take_piece();
  Result<UploadState> outcome = state;
  do {
    outcome = co_await receive_piece(owner, *outcome, piece);
  } while (outcome.has_value() && is_open_ && body_left_ > 0);
  server_->give_piece(piece);
  co_return outcome;
}

asio::awaitable<Result<UploadState>> Session::receive_piece(std::string owner, UploadState state,
                                                            std::shared_ptr<char[]> piece) {
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, kUploadPieceBytes));
  is_receiving_ = true;
  const auto outcome = co_await stream_->read(std::span(piece.get(), size), body_deadline(size));
  is_receiving_ = false;
  const std::size_t count = outcome.second;
  body_left_ -= count;
  if (outcome.first || is_interrupted_) is_open_ = is_interrupted_ = false;
  // The empty blob is one empty piece.
  if (count == 0 && size > 0) co_return state;
  auto append = [sink = server_->uploads, owner, state, piece, count] {
    return sink->append(owner, state.id, state.offset,
                        std::as_bytes(std::span(piece.get(), count)));
  };
  co_return co_await run_on(server_->pool, std::move(append));
}

asio::awaitable<void> Session::remove_upload(std::string owner, std::string id) {
  auto remove = [sink = server_->uploads, owner, id] { return sink->remove(owner, id); };
  const Status removed = co_await run_on(server_->pool, std::move(remove));
  HttpResponse response = removed.has_value() ? tus_response(204) : tus_error(removed.error());
  co_await respond(std::move(response));
}

}  // namespace mh::net
