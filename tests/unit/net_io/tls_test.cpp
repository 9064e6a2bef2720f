// TLS: the same calls and transfers as without, and what is refused: certificates, handshakes that
// do not end, connections that are cut.
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/error.hpp>

#include "proto/net/certificate.h"
#include "proto/net/http_tls.h"
#include "tests/unit/net_io/scripted_server.h"
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

using ErrorCode = boost::system::error_code;

struct Identity {
  std::string certificate;
  std::string key;
};

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

// A self-signed certificate of a fresh P-256 key, as scripts and small sites make them.
Identity make_identity(const std::string& names, int days = 1) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -2 * 86'400);
  X509_gmtime_adj(X509_getm_notAfter(certificate), days * 86'400);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("Manyhands test"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate, key, EVP_sha256());
  Identity identity;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  identity.certificate = text_of(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  identity.key = text_of(bio);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

const std::string kLocalNames = "DNS:localhost,IP:127.0.0.1";

class TlsTest : public ServerFixture {
 protected:
  void start_tls(HttpServerOptions options = {}) {
    options.tls_certificate_pem = identity_.certificate;
    options.tls_key_pem = identity_.key;
    start(options);
  }
  Url tls_url(const std::string& host = "127.0.0.1", std::uint16_t port = 0) const {
    return *parse_url("https://" + host + ":" + std::to_string(port == 0 ? port_ : port));
  }
  HttpClientOptions trusting() const {
    HttpClientOptions options = client_options();
    options.tls_trusted_pem = identity_.certificate;
    return options;
  }
  static Result<v1::GetJobResponse> call(BlockingClient& client, std::uint64_t id = 1) {
    v1::GetJobRequest request;
    request.set_id(id);
    return client.call<v1::GetJobResponse>(kEcho, request);
  }
  Error refusal(const Url& url, HttpClientOptions options) {
    BlockingClient client(url, std::move(options));
    const auto answer = call(client);
    EXPECT_FALSE(answer.has_value());
    return answer.has_value() ? Error() : answer.error();
  }

  Identity identity_ = make_identity(kLocalNames);
};

TEST_F(TlsTest, CarriesCallsAndTransfersOnOneConnection) {
  start_tls();
  BlockingClient client(tls_url(), trusting());
  EXPECT_EQ(call(client, 7)->yaml(), "job 7");
  EXPECT_EQ(call(client, 1'000'000)->yaml().size(), 1'000'000U);
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 7);
  const auto uploaded = client.upload_bytes(content, sha256(content));
  ASSERT_TRUE(uploaded.has_value()) << uploaded.error().message;
  const auto file = folder_ / "blob";
  const auto downloaded = client.download(sha256(content), file);
  ASSERT_TRUE(downloaded.has_value()) << downloaded.error().message;
  EXPECT_EQ(downloaded->bytes_moved, content.size());
  EXPECT_EQ(*client.fetch(sha256(content), content.size()), content);
  EXPECT_EQ(server_->stats().connections_accepted, 1U);
}

TEST_F(TlsTest, UploadsWhoseFirstPiecesMeetTheSessionTicketGoOn) {
  // The ticket comes while the client sends: it must not look like a refusal.
  start_tls();
  BlockingClient client(tls_url(), trusting());
  const std::string content(8'000'000, 'u');
  const auto uploaded = client.upload_bytes(content, sha256(content));
  ASSERT_TRUE(uploaded.has_value()) << uploaded.error().message;
  EXPECT_EQ(uploaded->bytes_moved, content.size());
}

TEST_F(TlsTest, AClientTrustsOnlyCertificatesThatItKnowsForThisHost) {
  start_tls();
  Error error = refusal(tls_url(), client_options());
  EXPECT_EQ(error.code, Errc::kUnavailable);
  EXPECT_NE(error.message.find("not to be trusted (self-signed certificate)"), std::string::npos)
      << error.message;
  HttpClientOptions other = client_options();
  other.tls_trusted_pem = make_identity(kLocalNames).certificate;
  error = refusal(tls_url(), other);
  EXPECT_NE(error.message.find("not to be trusted"), std::string::npos) << error.message;
  other.tls_trusted_pem = "no certificate";
  EXPECT_EQ(refusal(tls_url(), other).code, Errc::kInvalidArgument);
  EXPECT_EQ(server_->stats().requests, 0U);
  BlockingClient by_name(tls_url("localhost"), trusting());
  EXPECT_TRUE(call(by_name).has_value());
}

TEST_F(TlsTest, AClientRefusesTheCertificateOfAnotherHostAndAnOldOne) {
  identity_ = make_identity("DNS:elsewhere.example,IP:127.0.0.2");
  start_tls();
  Error error = refusal(tls_url(), trusting());
  EXPECT_NE(error.message.find("IP address mismatch"), std::string::npos) << error.message;
  error = refusal(tls_url("localhost"), trusting());
  EXPECT_NE(error.message.find("hostname mismatch"), std::string::npos) << error.message;
  stop();
  identity_ = make_identity(kLocalNames, -1);
  start_tls();
  error = refusal(tls_url(), trusting());
  EXPECT_NE(error.message.find("certificate has expired"), std::string::npos) << error.message;
}

TEST_F(TlsTest, HandshakesThatDoNotEndAreCut) {
  HttpServerOptions options;
  options.handshake_timeout = 100ms;
  start_tls(options);
  const auto begin = SteadyClock::now();
  RawSocket silent(port_);
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_TRUE(silent.is_closed());
  EXPECT_GE(SteadyClock::now() - begin, 100ms);
  RawSocket slow(port_);
  // The start of a record that never becomes whole; more bytes do not buy more time.
  slow.send(std::string("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", 9));
  for (int i = 0; i < 50 && slow.send("x"); ++i) std::this_thread::sleep_for(10ms);
  slow.read_to_end();
  EXPECT_TRUE(slow.is_closed());
  EXPECT_LT(SteadyClock::now() - begin, 5s);
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections_open == 0; }));
}

TEST_F(TlsTest, BytesThatAreNoTlsEndTheConnection) {
  start_tls();
  RawSocket rubbish(port_);
  rubbish.send(std::string(100'000, '\x16'));
  rubbish.read_to_end();
  EXPECT_TRUE(rubbish.is_closed());
  EXPECT_EQ(server_->stats().requests, 0U);
  // Plain HTTP is answered, but goes no further.
  const std::string answer = talk("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find("this port speaks TLS only"), std::string::npos) << answer;
  EXPECT_EQ(server_->stats().requests_refused, 1U);
  BlockingClient plain(url(), client_options());
  const auto refused = call(plain);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("this port speaks TLS only"), std::string::npos);
  // The other way round: a client that expects TLS of a plain server.
  stop();
  start();
  const Error error = refusal(tls_url(), trusting());
  EXPECT_EQ(error.code, Errc::kUnavailable);
  EXPECT_NE(error.message.find("there is no TLS on this port"), std::string::npos) << error.message;
}

TEST_F(TlsTest, AFingerprintDecidesAloneWhoTheServerIs) {
  identity_ = make_identity("DNS:elsewhere.example", -1);
  start_tls();
  HttpClientOptions options = client_options();
  options.tls_fingerprint = read_certificate(identity_.certificate)->fingerprint;
  // Name, date and signer of the certificate say nothing then.
  BlockingClient client(tls_url(), options);
  EXPECT_EQ(call(client, 7)->yaml(), "job 7");
  options.tls_fingerprint->bytes[31] ^= 1U;
  options.tls_advice = "Ask Ada";
  // An authority does not help another key.
  options.tls_trusted_pem = identity_.certificate;
  const Error error = refusal(tls_url(), options);
  EXPECT_EQ(error.code, Errc::kUnavailable);
  EXPECT_NE(error.message.find("not the one that was expected"), std::string::npos)
      << error.message;
  EXPECT_TRUE(error.message.ends_with("Nothing was sent to it. Ask Ada")) << error.message;
  EXPECT_EQ(server_->stats().requests, 1U);
}

TEST_F(TlsTest, ADownloadThatIsCutGoesOn) {
  start_tls();
  const std::string content(2'000'000, 'c');
  blobs_->add(content);
  CuttingRelay relay(port_, 500'000, 2);
  BlockingClient client(tls_url("127.0.0.1", relay.port()), trusting());
  const auto report = client.download(sha256(content), folder_ / "blob");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(relay.connection_count(), 3);
}

TEST_F(TlsTest, AParkedCallHearsThatItsCallerHasGone) {
  start_tls();
  {
    asio::io_context io;
    HttpClient client(io.get_executor(), tls_url(), trusting());
    bool is_over = false;
    asio::co_spawn(io, client.call<v1::WatchJobResponse>(kPark, v1::WatchJobRequest()),
                   [&is_over](const std::exception_ptr&, const Result<v1::WatchJobResponse>&) {
                     is_over = true;
                   });
    while (parked_ == 0) io.run_one_for(10ms);
    client.close();
    while (!is_over) io.run_one_for(10ms);
  }
  EXPECT_TRUE(wait_until([this] { return unparked_ == 1; }, 2s));
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections_open == 0; }));
}

TEST_F(TlsTest, StopEndsIdleConnectionsAndHandshakesAtOnce) {
  start_tls();
  RawSocket shaking(port_);
  BlockingClient idle(tls_url(), trusting());
  EXPECT_TRUE(call(idle).has_value());
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections_open == 2; }));
  const auto begin = SteadyClock::now();
  stop();
  EXPECT_LT(SteadyClock::now() - begin, 2s);
}

TEST_F(TlsTest, ServersSayWhatIsWrongWithTheirCertificate) {
  const Identity other = make_identity(kLocalNames);
  const std::pair<Identity, const char*> cases[] = {
      {{"rubbish", identity_.key}, "certificate cannot be used"},
      {{identity_.certificate, ""}, "key of the TLS certificate cannot be read"},
      {{identity_.certificate, other.key}, "does not belong"},
      {{"", identity_.key}, "certificate cannot be used"}};
  for (const auto& [identity, words] : cases) {
    HttpServerOptions options;
    options.tls_certificate_pem = identity.certificate;
    options.tls_key_pem = identity.key;
    HttpServer server(io_.get_executor(), pool_.get_executor(), options);
    const auto started = server.start("127.0.0.1", 0);
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().code, Errc::kInvalidArgument);
    EXPECT_NE(started.error().message.find(words), std::string::npos) << started.error().message;
  }
}

// Both sides on a pair of sockets, step by step.
class TlsStepsTest : public ::testing::Test {
 protected:
  void connect() {
    int ends[2];
    client_.reset();
    server_.reset();
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_end_ = UniqueFd(ends[0]);
    client_end_ = UniqueFd(ends[1]);
    server_ = std::make_unique<TlsConnection>(server_context_, server_end_.get());
    client_ = std::make_unique<TlsConnection>(client_context_, client_end_.get(), "localhost");
    for (int i = 0; i < 10; ++i) {
      const TlsStep of_client = client_->handshake();
      const TlsStep of_server = server_->handshake();
      ASSERT_FALSE(of_client.error || of_server.error) << of_client.error << of_server.error;
      if (of_client.wait == TlsStep::Wait::kNothing && of_server.wait == TlsStep::Wait::kNothing)
        return;
    }
    FAIL() << "the handshake does not end";
  }

  const Identity identity_ = make_identity(kLocalNames);
  const std::shared_ptr<TlsContext> server_context_ =
      *TlsContext::for_server(identity_.certificate, identity_.key);
  const std::shared_ptr<TlsContext> client_context_ =
      *TlsContext::for_client(identity_.certificate);
  UniqueFd server_end_;
  UniqueFd client_end_;
  std::unique_ptr<TlsConnection> server_;
  std::unique_ptr<TlsConnection> client_;
  std::array<char, 100> bytes_{};
};

TEST_F(TlsStepsTest, ASessionTicketIsNoNewsAndAnAnswerIs) {
  connect();
  EXPECT_FALSE(client_->has_news());
  EXPECT_EQ(server_->write("answer").bytes, 6U);
  EXPECT_TRUE(client_->has_news());
  EXPECT_EQ(client_->read(bytes_).bytes, 6U);
  EXPECT_FALSE(client_->has_news());
  EXPECT_EQ(client_->read(bytes_).wait, TlsStep::Wait::kReadable);
  server_->close_sending();
  EXPECT_TRUE(client_->has_news());
}

TEST_F(TlsStepsTest, AClientSaysWhichHostItMeans) {
  for (const auto& [host, is_name] :
       {std::pair("localhost", true), std::pair("127.0.0.1", false)}) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd peer(ends[0]);
    const UniqueFd own(ends[1]);
    TlsConnection client(client_context_, own.get(), host);
    EXPECT_EQ(client.handshake().wait, TlsStep::Wait::kReadable);
    std::string hello(4096, '\0');
    const ssize_t size = ::recv(peer.get(), hello.data(), hello.size(), 0);
    ASSERT_GT(size, 0);
    hello.resize(static_cast<std::size_t>(size));
    EXPECT_EQ(hello.find(host) != std::string::npos, is_name) << host;
  }
}

TEST_F(TlsStepsTest, TheNextConnectionContinuesTheSession) {
  connect();
  EXPECT_FALSE(client_->is_resumed());
  server_->write("the ticket comes before the answer");
  client_->read(bytes_);
  connect();
  EXPECT_TRUE(client_->is_resumed());
  EXPECT_EQ(client_->distrust(), "");
}

TEST_F(TlsStepsTest, APinnedClientSaysNothingToAnotherKey) {
  Digest other = read_certificate(identity_.certificate)->fingerprint;
  other.bytes[0] ^= 0x80U;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd peer(ends[0]);
  const UniqueFd own(ends[1]);
  TlsConnection server(server_context_, peer.get());
  TlsConnection client(*TlsContext::for_client("", other), own.get(), "localhost");
  TlsStep of_client;
  for (int i = 0; i < 10 && !of_client.error; ++i) {
    of_client = client.handshake();
    server.handshake();
  }
  EXPECT_TRUE(of_client.error);
  ASSERT_TRUE(client.wrong_fingerprint().has_value());
  EXPECT_EQ(*client.wrong_fingerprint(), read_certificate(identity_.certificate)->fingerprint);
  EXPECT_NE(client.write("secret").error, ErrorCode());
  EXPECT_TRUE(server.read(bytes_).error);
}

TEST_F(TlsStepsTest, TheEndIsToldFromACut) {
  connect();
  server_->close_sending();
  EXPECT_EQ(client_->read(bytes_).error, asio::error::eof);
  // The other direction is still open.
  EXPECT_EQ(client_->write("more").bytes, 4U);
  EXPECT_EQ(server_->read(bytes_).bytes, 4U);
  connect();
  ::shutdown(server_end_.get(), SHUT_WR);
  const TlsStep cut = client_->read(bytes_);
  EXPECT_NE(cut.error, asio::error::eof);
  EXPECT_EQ(cut.error.message(), "stream truncated");
}

TEST_F(TlsStepsTest, AFullSocketIsWaitedFor) {
  connect();
  const std::string much(1 << 20, 'm');
  TlsStep step;
  std::size_t written = 0;
  while (step.wait == TlsStep::Wait::kNothing) {
    step = server_->write(much);
    written += step.bytes;
    ASSERT_FALSE(step.error) << step.error;
  }
  EXPECT_EQ(step.wait, TlsStep::Wait::kWritable);
  // What is read at the other end makes room; the pieces come in order and whole.
  std::string buffer(64 * 1024, '\0');
  std::size_t read = 0;
  for (TlsStep got; got.wait == TlsStep::Wait::kNothing; read += got.bytes)
    got = client_->read(buffer);
  EXPECT_EQ(read, written);
}

}  // namespace
}  // namespace mh::net
