// See http_tls.h.
#include "proto/net/http_tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/error.hpp>
#include <cerrno>
#include <utility>

#include "proto/base/check.h"
#include "proto/base/openssl_pointers.h"
#include "proto/net/certificate.h"

namespace mh::net {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

using ContextPointer = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;

constexpr unsigned char kSessionContext[] = "manyhands";
// Of TLS 1.2; those of 1.3 are all sound.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL: a peer that has gone would end the program.
int receive_some(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const int descriptor = *static_cast<const int*>(BIO_get_data(bio));
  const ssize_t count = ::recv(descriptor, out, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  return static_cast<int>(count);
}

int send_some(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const int descriptor = *static_cast<const int*>(BIO_get_data(bio));
  const ssize_t count =
      ::send(descriptor, bytes, static_cast<std::size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return static_cast<int>(count);
}

long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    MH_CHECK(made != nullptr);
    BIO_meth_set_read(made, receive_some);
    BIO_meth_set_write(made, send_some);
    BIO_meth_set_ctrl(made, control);
    return made;
  }();
  return method;
}

SSL* new_connection(SSL_CTX* context, const int& descriptor) {
  SSL* ssl = SSL_new(context);
  BIO* bio = BIO_new(socket_method());
  MH_CHECK(ssl != nullptr && bio != nullptr);
  BIO_set_data(bio, const_cast<int*>(&descriptor));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return ssl;
}

// OpenSSL judges a failure by what it finds in both.
void forget_errors() {
  errno = 0;
  ERR_clear_error();
}

// What OpenSSL complained of last, in its words.
std::string last_reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown reason" : reason;
}

Error bad_pem(const std::string& what) {
  return fail(Errc::kInvalidArgument, what + ": " + last_reason());
}

BioPointer reader_of(const std::string& pem) {
  return BioPointer(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Without this, OpenSSL would ask the terminal for a password.
int no_password(char*, int, int, void*) { return 0; }

void set_common(SSL_CTX* context) {
  MH_CHECK(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  MH_CHECK(SSL_CTX_set_cipher_list(context, kCiphers) == 1);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

Status use_certificate(SSL_CTX* context, const std::string& pem) {
  const BioPointer reader = reader_of(pem);
  const CertificatePointer own(PEM_read_bio_X509(reader.get(), nullptr, no_password, nullptr));
  if (!own || SSL_CTX_use_certificate(context, own.get()) != 1)
    return bad_pem("the TLS certificate cannot be used");
  while (true) {
    CertificatePointer next(PEM_read_bio_X509(reader.get(), nullptr, no_password, nullptr));
    if (!next) break;
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1)
      return bad_pem("a certificate behind the first one cannot be used");
    static_cast<void>(next.release());
  }
  ERR_clear_error();
  return {};
}

Status use_key(SSL_CTX* context, const std::string& pem) {
  const BioPointer reader = reader_of(pem);
  const KeyPointer key(PEM_read_bio_PrivateKey(reader.get(), nullptr, no_password, nullptr));
  if (!key) return bad_pem("the key of the TLS certificate cannot be read");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return bad_pem("the key does not belong to the TLS certificate");
  return {};
}

Status trust_only(SSL_CTX* context, const std::string& pem) {
  const BioPointer reader = reader_of(pem);
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  std::size_t count = 0;
  while (true) {
    const CertificatePointer next(PEM_read_bio_X509(reader.get(), nullptr, no_password, nullptr));
    if (!next) break;
    if (X509_STORE_add_cert(store, next.get()) != 1)
      return bad_pem("a trusted certificate cannot be used");
    ++count;
  }
  if (count == 0) return bad_pem("there is no certificate among those to be trusted");
  ERR_clear_error();
  return {};
}

// What whoever reads the refusal can do.
const char* advice_for(long verify_result) {
  switch (verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "the server's admin must renew it, unless the clock of this computer is wrong";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "is the clock of this computer right?";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return "it is made for another address: use that one";
    default:
      return "use the whole address that the server printed, with @FINGERPRINT at its end, or name "
             "its authority with --ca-file";
  }
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::for_server(const std::string& certificate_pem,
                                                           const std::string& key_pem) {
  ContextPointer context(SSL_CTX_new(TLS_server_method()));
  MH_CHECK(context != nullptr);
  set_common(context.get());
  MH_TRY_VOID(use_certificate(context.get(), certificate_pem));
  MH_TRY_VOID(use_key(context.get(), key_pem));
  SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Sessions travel in tickets; the server keeps none.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 1);
  SSL_CTX_set_session_id_context(context.get(), kSessionContext, sizeof kSessionContext - 1);
  return std::shared_ptr<TlsContext>(new TlsContext(context.release()));
}

Result<std::shared_ptr<TlsContext>> TlsContext::for_client(
    const std::string& trusted_pem, const std::optional<Digest>& fingerprint) {
  ContextPointer context(SSL_CTX_new(TLS_client_method()));
  MH_CHECK(context != nullptr);
  set_common(context.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (trusted_pem.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    MH_TRY_VOID(trust_only(context.get(), trusted_pem));
  }
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context.get(), keep_session);
  const std::shared_ptr<TlsContext> made(new TlsContext(context.release()));
  SSL_CTX_set_app_data(made->context_, made.get());
  made->fingerprint_ = fingerprint;
  if (fingerprint)
    SSL_CTX_set_cert_verify_callback(made->context_, compare_fingerprint, made.get());
  return made;
}

TlsContext::~TlsContext() {
  SSL_SESSION_free(session_);
  SSL_CTX_free(context_);
}

int TlsContext::keep_session(SSL* ssl, SSL_SESSION* session) {
  auto* self = static_cast<TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  SSL_SESSION_free(std::exchange(self->session_, session));
  return 1;  // it is ours now
}

// In the place of OpenSSL's look at the chain: an authority or a date changes nothing.
int TlsContext::compare_fingerprint(X509_STORE_CTX* store, void* self) {
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* connection = static_cast<TlsConnection*>(SSL_get_app_data(ssl));
  const Digest found = key_fingerprint(X509_STORE_CTX_get0_cert(store));
  const bool is_right = found == *static_cast<TlsContext*>(self)->fingerprint_;
  if (!is_right) connection->wrong_fingerprint_ = found;
  X509_STORE_CTX_set_error(store, is_right ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
  return is_right ? 1 : 0;
}

TlsConnection::TlsConnection(std::shared_ptr<TlsContext> context, int descriptor)
    : context_(std::move(context)),
      descriptor_(descriptor),
      ssl_(new_connection(context_->context_, descriptor_)) {
  SSL_set_accept_state(ssl_);
}

TlsConnection::TlsConnection(std::shared_ptr<TlsContext> context, int descriptor,
                             const std::string& host)
    : TlsConnection(std::move(context), descriptor) {
  MH_CHECK(!host.empty());
  SSL_set_connect_state(ssl_);
  SSL_set_app_data(ssl_, this);
  ErrorCode error;
  asio::ip::make_address(host, error);
  if (!error) {
    MH_CHECK(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str()) == 1);
  } else {
    SSL_set_hostflags(ssl_, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    MH_CHECK(SSL_set1_host(ssl_, host.c_str()) == 1);
    SSL_set_tlsext_host_name(ssl_, host.c_str());
  }
  if (context_->session_ != nullptr) SSL_set_session(ssl_, context_->session_);
}

TlsConnection::~TlsConnection() {
  close_sending();
  SSL_free(ssl_);
}

TlsStep TlsConnection::outcome_of(int result, std::size_t bytes) {
  TlsStep step;
  step.bytes = result == 1 ? bytes : 0;
  if (result == 1) return step;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      step.wait = TlsStep::Wait::kReadable;
      return step;
    case SSL_ERROR_WANT_WRITE:
      step.wait = TlsStep::Wait::kWritable;
      return step;
    case SSL_ERROR_ZERO_RETURN:
      step.error = asio::error::eof;
      return step;
    case SSL_ERROR_SYSCALL:
      step.error = errno != 0 ? ErrorCode(errno, boost::system::system_category())
                              : ErrorCode(asio::ssl::error::stream_truncated);
      break;
    default: {
      const unsigned long code = ERR_get_error();
      step.error = ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                       ? ErrorCode(asio::ssl::error::stream_truncated)
                       : ErrorCode(static_cast<int>(code), asio::error::get_ssl_category());
    }
  }
  // OpenSSL wants no more calls after these.
  is_broken_ = true;
  ERR_clear_error();
  return step;
}

TlsStep TlsConnection::handshake() {
  forget_errors();
  return outcome_of(SSL_do_handshake(ssl_), 0);
}

TlsStep TlsConnection::read(std::span<char> space) {
  std::size_t bytes = 0;
  forget_errors();
  const int result = SSL_read_ex(ssl_, space.data(), space.size(), &bytes);
  return outcome_of(result, bytes);
}

TlsStep TlsConnection::write(std::string_view bytes) {
  std::size_t written = 0;
  forget_errors();
  const int result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &written);
  return outcome_of(result, written);
}

bool TlsConnection::has_news() {
  if (is_broken_) return true;
  char byte = 0;
  std::size_t bytes = 0;
  forget_errors();
  const int result = SSL_peek_ex(ssl_, &byte, 1, &bytes);
  return outcome_of(result, bytes).wait == TlsStep::Wait::kNothing;
}

void TlsConnection::close_sending() {
  if (is_broken_ || SSL_is_init_finished(ssl_) == 0 ||
      (SSL_get_shutdown(ssl_) & SSL_SENT_SHUTDOWN) != 0)
    return;
  if (SSL_shutdown(ssl_) < 0) ERR_clear_error();
}

bool TlsConnection::is_resumed() const { return SSL_session_reused(ssl_) == 1; }

std::string TlsConnection::distrust() const {
  if (wrong_fingerprint_)
    return "the key that it shows is not the one that was expected: its fingerprint is " +
           fingerprint_text(*wrong_fingerprint_) + ", not " +
           fingerprint_text(*context_->fingerprint_) + ". Nothing was sent to it";
  const long result = SSL_get_verify_result(ssl_);
  if (result == X509_V_OK) return {};
  return "its certificate is not to be trusted (" +
         std::string(X509_verify_cert_error_string(result)) + "): " + advice_for(result);
}

std::string explain_handshake(const ErrorCode& error) {
  if (error.category() != asio::error::get_ssl_category()) return {};
  switch (ERR_GET_REASON(static_cast<unsigned long>(error.value()))) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      return "there is no TLS on this port; if it is plain HTTP, the address begins with http://";
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
      return "it speaks no TLS as new as 1.2, and older ones are not safe: it must be updated";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_NO_SHARED_CIPHER:
      return "it has no modern cipher in common with us: it must be updated";
    default:
      return {};
  }
}

}  // namespace mh::net
