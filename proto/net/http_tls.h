// TLS on a connected socket, without waiting: each step says what it waits for, HttpStream waits.
// OpenSSL reads and writes the descriptor itself. *Rationale:* asio::ssl keeps four buffers of
// 17 KB beside OpenSSL's own, 76 KB a connection; this way an idle connection gives its buffers
// back (measured: 21 KB; 7 KB plain), and a peek can tell a session ticket from an answer.
//
// Rules
// 1. TLS 1.3, or 1.2 with ephemeral keys and AEAD ciphers; no renegotiation, no compression, no
//    early data. *Rationale:* each of the others has been an attack.
// 2. A client checks the server in the handshake, before it sends anything of its own: by the
//    certificate (authority, dates, host name), or, if it knows the fingerprint of the server's
//    key, by that alone. *Rationale:* the fingerprint came with the invitation, from the admin; no
//    authority and no date makes a key more right than that, and none can make another one right.
//    It sends the host's name (SNI).
// 3. The end of the stream is the peer's close_notify; a bare end of the connection is an error.
//    *Rationale:* whoever is in between could cut an answer short otherwise.
// Only for proto/net/http_*.cpp. Threads: a context any; a connection one at a time.
#pragma once

#include <boost/system/error_code.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/base/sha256.h"

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;
struct x509_store_ctx_st;

namespace mh::net {

/// What the connections of one server, or of one client, share.
class TlsContext {
 public:
  /// PEM texts: the server's certificate with those that lead to its authority, and its key,
  /// without a password. Errors: kInvalidArgument.
  static Result<std::shared_ptr<TlsContext>> for_server(const std::string& certificate_pem,
                                                        const std::string& key_pem);
  /// `trusted_pem`: the authorities that are trusted, instead of the system's; empty: the system's.
  /// `fingerprint`: of the server's key (certificate.h); it then decides alone.
  /// Keeps the last session, so that the next connection costs less. Errors: kInvalidArgument.
  static Result<std::shared_ptr<TlsContext>> for_client(
      const std::string& trusted_pem, const std::optional<Digest>& fingerprint = std::nullopt);

  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsConnection;
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  static int keep_session(ssl_st* ssl, ssl_session_st* session);
  static int compare_fingerprint(x509_store_ctx_st* store, void* self);

  ssl_ctx_st* const context_;
  std::optional<Digest> fingerprint_;
  ssl_session_st* session_ = nullptr;
};

/// What a step of a connection came to.
struct TlsStep {
  enum class Wait { kNothing, kReadable, kWritable };
  /// Not kNothing: wait for it, then take the step again.
  Wait wait = Wait::kNothing;
  /// asio's eof after the peer's close_notify, stream_truncated without it, or what OpenSSL says.
  boost::system::error_code error;
  std::size_t bytes = 0;
};

class TlsConnection {
 public:
  /// The server's side.
  TlsConnection(std::shared_ptr<TlsContext> context, int descriptor);
  /// The client's side; `host` is a name or an address.
  TlsConnection(std::shared_ptr<TlsContext> context, int descriptor, const std::string& host);
  /// Says goodbye if nothing went wrong, without waiting.
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  TlsStep handshake();
  TlsStep read(std::span<char> space);
  TlsStep write(std::string_view bytes);
  /// True if the peer has sent an answer or closed; what belongs to TLS itself is no news.
  bool has_news();
  /// Sends close_notify; reading goes on.
  void close_sending();
  /// The session of an earlier connection goes on: the certificate was checked then.
  bool is_resumed() const;
  /// Why the peer was refused, and what can be done about it; empty: it was not.
  std::string distrust() const;
  /// The peer's key, where it is not the one that was expected.
  const std::optional<Digest>& wrong_fingerprint() const { return wrong_fingerprint_; }

 private:
  friend class TlsContext;
  TlsStep outcome_of(int result, std::size_t bytes);

  const std::shared_ptr<TlsContext> context_;
  const int descriptor_;
  ssl_st* const ssl_;
  bool is_broken_ = false;
  std::optional<Digest> wrong_fingerprint_;
};

/// What a failed handshake is about, and what can be done, where OpenSSL's words do not say it: a
/// port without TLS, a TLS that is too old. Empty: they do.
std::string explain_handshake(const boost::system::error_code& error);

}  // namespace mh::net
