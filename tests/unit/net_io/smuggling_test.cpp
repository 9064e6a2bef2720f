// Bytes that two HTTP parsers may read differently, or that are no HTTP: each gets one error reply
// at most, and then the connection is closed. What is hidden behind it is never answered.
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

struct Probe {
  const char* name;
  std::string bytes;
};

// The request that an attacker hides behind the first one.
const std::string kHidden = "GET /healthz HTTP/1.1\r\nHost: hidden\r\n\r\n";

std::string post(const std::string& fields, const std::string& body) {
  return std::string("POST ") + kEcho +
         " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + fields + "\r\n" + body;
}

std::string get(const std::string& fields) { return "GET /healthz HTTP/1.1\r\n" + fields + "\r\n"; }

std::vector<Probe> framing_probes() {
  const std::string chunks = "2\r\n{}\r\n0\r\n\r\n";
  return {
      {"TE xchunked", post("Transfer-Encoding: xchunked\r\n", kHidden)},
      {"TE chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", chunks)},
      {"TE gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", chunks)},
      {"TE identity", post("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "{}")},
      {"TE chunked twice",
       post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks)},
      {"TE with vertical tab", post("Transfer-Encoding: \vchunked\r\n", chunks)},
      {"TE quoted", post("Transfer-Encoding: \"chunked\"\r\n", chunks)},
      {"TE empty", post("Transfer-Encoding:\r\nContent-Length: 2\r\n", "{}")},
      {"TE and length", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunks)},
      {"length and TE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunks)},
      {"blank before the colon", post("Transfer-Encoding : chunked\r\n", chunks)},
      {"TE on HTTP/1.0", std::string("POST ") + kEcho +
                             " HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
      {"two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")},
      {"two equal lengths", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")},
      {"list of lengths", post("Content-Length: 2, 2\r\n", "{}")},
      {"signed length", post("Content-Length: +2\r\n", "{}")},
      {"negative length", post("Content-Length: -2\r\n", "{}")},
      {"hexadecimal length", post("Content-Length: 0x2\r\n", "{}")},
      {"length too large", post("Content-Length: 99999999999999999999\r\n", "{}")},
      {"empty length", post("Content-Length:\r\n", "{}")},
      {"body on GET", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\n"},
      {"chunks on GET", get("Host: x\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n"},
      {"chunk size 0x", post("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n")},
      {"chunk size signed", post("Transfer-Encoding: chunked\r\n", "+2\r\n{}\r\n0\r\n\r\n")},
      {"chunk size too large",
       post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n")},
      {"chunk with bare LF", post("Transfer-Encoding: chunked\r\n", "2\n{}\n0\n\n")},
      {"chunk without its end", post("Transfer-Encoding: chunked\r\n", "2\r\n{}xx0\r\n\r\n")},
      {"long chunk extension",
       post("Transfer-Encoding: chunked\r\n", "2;" + std::string(200'000, 'x'))},
      {"long trailer",
       post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nX: " + std::string(200'000, 'x'))},
  };
}

std::vector<Probe> head_probes() {
  std::string many;
  for (int i = 0; i < 70; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  return {
      {"no host", get("")},
      {"two hosts", get("Host: a\r\nHost: b\r\n")},
      {"two equal hosts", get("Host: a\r\nHost: a\r\n")},
      {"folded field", get("Host: x\r\nX-Fold: a\r\n b\r\n")},
      {"folded first field", get(" Host: x\r\nHost: x\r\n")},
      {"bare LF", "GET /healthz HTTP/1.1\nHost: x\n\n"},
      {"one bare LF", "GET /healthz HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"},
      {"bare CR", get("Host: x\r\nX: a\rb\r\n")},
      {"NUL", get(std::string("Host: x\r\nX: a\0b\r\n", 17))},
      {"no colon", get("Host: x\r\nnonsense\r\n")},
      {"empty name", get("Host: x\r\n: y\r\n")},
      {"blank in a name", get("Host: x\r\nX Y: z\r\n")},
      {"HTTP/2.0", "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n"},
      {"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"HTTP/0.9", "GET /healthz\r\n\r\n"},
      {"lower-case protocol", "GET /healthz http/1.1\r\nHost: x\r\n\r\n"},
      {"two blanks", "GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"blank in the target", "GET /health z HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"relative target", "GET healthz HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"target of CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"other scheme", "GET ftp://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"fragment", "GET /healthz#x HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"empty line first", "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 12)},
      {"many fields", get("Host: x\r\n" + many)},
      {"long field", get("Host: x\r\nX: " + std::string(20'000, 'y') + "\r\n")},
      {"endless head", "GET /healthz HTTP/1.1\r\nX: " + std::string(40'000, 'y')},
      {"long target", "GET /" + std::string(9'000, 'y') + " HTTP/1.1\r\nHost: x\r\n\r\n"},
  };
}

class SmugglingTest : public ServerFixture {
 protected:
  void check(const Probe& probe) {
    RawSocket socket(port_);
    socket.send(probe.bytes + kHidden);
    // No more comes, as far as the server can tell: what it does, it does now.
    const std::string reply = socket.read_to_end(5s);
    EXPECT_TRUE(socket.is_closed()) << probe.name;
    EXPECT_EQ(count_replies(reply), 1U) << probe.name << ": " << reply;
    EXPECT_GE(status_of_reply(reply), 400) << probe.name << ": " << reply;
    EXPECT_NE(reply.find("Connection: close"), std::string::npos) << probe.name;
    EXPECT_EQ(reply.find("\r\n\r\nok"), std::string::npos) << probe.name;
  }
};

TEST_F(SmugglingTest, AmbiguousFramingGetsOneErrorAndAClose) {
  HttpServerOptions options;
  options.drain_timeout = 50ms;
  start(options);
  for (const Probe& probe : framing_probes()) check(probe);
}

TEST_F(SmugglingTest, AmbiguousHeadsGetOneErrorAndAClose) {
  HttpServerOptions options;
  options.drain_timeout = 50ms;
  start(options);
  for (const Probe& probe : head_probes()) check(probe);
  EXPECT_EQ(status_of_reply(talk(head_probes().back().bytes)), 414);
}

TEST_F(SmugglingTest, TheStatusSaysWhatWasWrong) {
  HttpServerOptions options;
  options.drain_timeout = 50ms;
  start(options);
  EXPECT_EQ(status_of_reply(talk(get("Host: x\r\nX: " + std::string(20'000, 'y') + "\r\n"))), 431);
  EXPECT_EQ(status_of_reply(talk("GET / HTTP/3.0\r\nHost: x\r\n\r\n")), 505);
  EXPECT_EQ(status_of_reply(talk(get(""))), 400);
}

TEST_F(SmugglingTest, AnUnreadBodyIsNeverTakenForARequest) {
  HttpServerOptions options;
  options.drain_timeout = 50ms;
  start(options);
  const std::string length = "Content-Length: " + std::to_string(kHidden.size()) + "\r\n";
  for (const char* path : {"/nothing", "/healthz", "/blob/sha256/x", "/upload", "/upload/x"}) {
    const std::string reply =
        talk(std::string("POST ") + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
             length + "\r\n" + kHidden);
    EXPECT_EQ(count_replies(reply), 1U) << path << reply;
  }
}

}  // namespace
}  // namespace mh::net
