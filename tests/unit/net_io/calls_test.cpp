// Calls over a real connection: both codecs, parked calls that nobody waits for any more, limits,
// and the stop of the server.
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

class CallsTest : public ServerFixture {
 protected:
  static std::string call_text(const std::string& path, const std::string& body,
                               const std::string& more = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + more +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
};

TEST_F(CallsTest, AnswersInBothCodecsOnOneConnection) {
  start();
  BlockingClient client(url(), client_options());
  v1::GetJobRequest request;
  for (const Codec codec : {Codec::kProto, Codec::kJson}) {
    for (const bool use_get : {false, true}) {
      for (const bool compress : {false, true}) {
        CallOptions options;
        options.codec = codec;
        options.use_get = use_get;
        options.compress = compress;
        request.set_id(7);
        ReplyMetadata metadata;
        v1::GetJobResponse response;
        const Status status = client.call_message(kEcho, request, response, options, &metadata);
        ASSERT_TRUE(status.has_value()) << status.error().message;
        EXPECT_EQ(response.yaml(), "job 7");
        EXPECT_EQ(metadata.trailers.find("x-peer"), "127.0.0.1");
      }
    }
  }
  request.set_id(1'000'000);
  EXPECT_EQ((client.call<v1::GetJobResponse>(kEcho, request)->yaml().size()), 1'000'000U);
  request.set_id(404);
  const auto missing = client.call<v1::GetJobResponse>(kEcho, request);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
  EXPECT_EQ(missing.error().message, "no job 404");
  EXPECT_EQ(server_->stats().connections_accepted, 1U);
}

TEST_F(CallsTest, AHandlerThatThrowsIsAnInternalErrorWithoutDetails) {
  start();
  BlockingClient client(url());
  const auto answer = client.call<v1::GetJobLogResponse>(kThrow, v1::GetJobLogRequest());
  EXPECT_EQ(answer.error().code, Errc::kInternal);
  EXPECT_EQ(answer.error().message.find("secret"), std::string::npos);
}

TEST_F(CallsTest, AParkedCallEndsWhenItsTimeIsUp) {
  start();
  const auto begin = SteadyClock::now();
  const std::string reply =
      talk(call_text(kPark, "{}", "Connect-Timeout-Ms: 80\r\nConnection: close\r\n"));
  EXPECT_EQ(status_of_reply(reply), 504);
  EXPECT_NE(reply.find("deadline_exceeded"), std::string::npos);
  EXPECT_GE(SteadyClock::now() - begin, 80ms);
  EXPECT_LT(SteadyClock::now() - begin, 2s);
  EXPECT_TRUE(wait_until([this] { return unparked_ == 1; }));
  EXPECT_TRUE(wait_until([this] { return server_->stats().calls_open == 0; }));
}

TEST_F(CallsTest, TheServersOwnLimitHoldsForCallersWithoutOne) {
  HttpServerOptions options;
  options.call_timeout_max = 80ms;
  start(options);
  EXPECT_EQ(status_of_reply(talk(call_text(kPark, "{}", "Connection: close\r\n"))), 504);
  EXPECT_EQ(status_of_reply(talk(
                call_text(kPark, "{}", "Connect-Timeout-Ms: 9999999999\r\nConnection: close\r\n"))),
            504);
}

TEST_F(CallsTest, AParkedCallHearsThatItsCallerHasGone) {
  start();
  for (int i = 0; i < 4; ++i) {
    RawSocket socket(port_);
    socket.send(call_text(kPark, "{}"));
    ASSERT_TRUE(wait_until([&] { return parked_ == i + 1; }));
    if (i == 0) socket.close();
    if (i == 1) socket.reset();
    // The next request in front of the end must not hide it.
    if (i == 2) socket.send(call_text(kEcho, "{}"));
    if (i == 3) socket.send(std::string(100'000, 'x'));
    socket.close();
    EXPECT_TRUE(wait_until([&] { return unparked_ == i + 1; }, 2s)) << i;
  }
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections_open == 0; }));
}

TEST_F(CallsTest, ACallerThatClosesOnlyItsSideIsStillAnswered) {
  start();
  RawSocket socket(port_);
  socket.send(call_text(kEcho, R"({"id":3})"));
  socket.close_sending();
  EXPECT_NE(socket.read_to_end().find("job 3"), std::string::npos);
  EXPECT_TRUE(socket.is_closed());
}

TEST_F(CallsTest, PipelinedCallsAreAnsweredInOrder) {
  start();
  const std::string reply = talk(call_text(kEcho, R"({"id":1})") + call_text(kEcho, R"({"id":2})") +
                                 call_text(kEcho, R"({"id":3})", "Connection: close\r\n"));
  EXPECT_EQ(count_replies(reply), 3U);
  EXPECT_LT(reply.find("job 1"), reply.find("job 2"));
  EXPECT_LT(reply.find("job 2"), reply.find("job 3"));
}

TEST_F(CallsTest, TakesChunkedBodiesAndExpectations) {
  start();
  const std::string head =
      std::string("POST ") + kEcho + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  std::string reply =
      talk(head +
           "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
           "3;name=value\r\n{\"i\r\n4\r\nd\":5\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n");
  EXPECT_NE(reply.find("job 5"), std::string::npos) << reply;
  RawSocket socket(port_);
  socket.send(head + "Content-Length: 8\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(socket.read_reply(), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send(R"({"id":6})");
  EXPECT_NE(socket.read_reply().find("job 6"), std::string::npos);
  socket.send(head + "Content-Length: 8\r\nExpect: magic\r\n\r\n");
  EXPECT_EQ(status_of_reply(socket.read_reply()), 417);
}

TEST_F(CallsTest, RefusesALongBodyBeforeItComes) {
  start();
  const std::string head =
      std::string("POST ") + kEcho + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  RawSocket socket(port_);
  socket.send(head + "Content-Length: 100000000\r\n\r\n");
  const std::string reply = socket.read_reply();
  EXPECT_EQ(status_of_reply(reply), 429);
  EXPECT_NE(reply.find("resource_exhausted"), std::string::npos);
  EXPECT_NE(reply.find("Connection: close"), std::string::npos);
  // Announced by chunks only: refused when the limit is passed.
  RawSocket chunked(port_);
  chunked.send(head + "Transfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 40; ++i) {
    if (!chunked.send("4000\r\n" + std::string(0x4000, ' ') + "\r\n")) break;
  }
  EXPECT_EQ(status_of_reply(chunked.read_reply()), 429);
  EXPECT_TRUE(wait_until([this] { return server_->stats().calls_open == 0; }));
}

TEST_F(CallsTest, AnswersARefusedBodyThatIsStillBeingSent) {
  start();
  RawSocket socket(port_);
  socket.send(std::string("POST ") + kEcho +
              " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
              "Content-Length: 900000\r\n\r\n");
  EXPECT_TRUE(socket.send(std::string(900'000, ' ')));
  EXPECT_EQ(status_of_reply(socket.read_to_end()), 429);
}

TEST_F(CallsTest, TooManyCallsAreUnavailableWithRetryAfter) {
  HttpServerOptions options;
  options.calls_max = 2;
  start(options);
  RawSocket first(port_);
  RawSocket second(port_);
  first.send(call_text(kPark, "{}"));
  second.send(call_text(kPark, "{}"));
  ASSERT_TRUE(wait_until([this] { return parked_ == 2; }));
  const std::string reply = talk(call_text(kEcho, "{}"));
  EXPECT_EQ(status_of_reply(reply), 503);
  EXPECT_NE(reply.find("Retry-After: "), std::string::npos);
  EXPECT_NE(reply.find("unavailable"), std::string::npos);
}

TEST_F(CallsTest, TooManyConnectionsAreRefused) {
  HttpServerOptions options;
  options.connections_per_address_max = 2;
  start(options);
  RawSocket first(port_);
  RawSocket second(port_);
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections_open == 2; }));
  EXPECT_EQ(status_of_reply(talk("")), 503);
  first.close();
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections_open == 1; }));
  EXPECT_EQ(status_of_reply(talk("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")),
            200);
}

TEST_F(CallsTest, BodiesInMemoryAreBounded) {
  HttpServerOptions options;
  options.body_bytes_in_flight_max = 1000;
  start(options);
  RawSocket slow(port_);
  slow.send(std::string("POST ") + kEcho + " HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
  ASSERT_TRUE(wait_until([this] { return server_->stats().calls_open == 1; }));
  EXPECT_EQ(status_of_reply(talk(call_text(kEcho, R"({"id":1})" + std::string(200, ' ')))), 503);
}

TEST_F(CallsTest, SlowHeadsAndBodiesAreCut) {
  HttpServerOptions options;
  options.idle_timeout = 100ms;
  options.header_timeout = 100ms;
  options.body_timeout = 100ms;
  start(options);
  const auto begin = SteadyClock::now();
  EXPECT_EQ(talk(""), "");
  RawSocket head(port_);
  // Bytes that trickle in do not extend the deadline.
  for (int i = 0; i < 20 && head.send("GET / HTTP/1.1\r\n"); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(status_of_reply(head.read_to_end()), 408);
  EXPECT_EQ(status_of_reply(talk(std::string("POST ") + kEcho +
                                 " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 8\r\n\r\n{\"id\"")),
            408);
  EXPECT_EQ(status_of_reply(talk(std::string("POST ") + kEcho +
                                 " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"id\"")),
            408);
  EXPECT_LT(SteadyClock::now() - begin, 12s);
}

TEST_F(CallsTest, ConnectionsEndAfterTheirShareOfRequests) {
  HttpServerOptions options;
  options.requests_per_connection_max = 2;
  start(options);
  RawSocket socket(port_);
  socket.send(call_text(kEcho, "{}") + call_text(kEcho, "{}") + call_text(kEcho, "{}"));
  const std::string replies = socket.read_to_end();
  EXPECT_EQ(count_replies(replies), 2U);
  EXPECT_NE(replies.find("Connection: close"), std::string::npos);
}

TEST_F(CallsTest, StopEndsParkedCallsAndIdleConnectionsAtOnce) {
  start();
  RawSocket idle(port_);
  RawSocket parked(port_);
  parked.send(call_text(kPark, "{}"));
  ASSERT_TRUE(wait_until([this] { return parked_ == 1; }));
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections_open == 2; }));
  const auto begin = SteadyClock::now();
  stop();
  EXPECT_LT(SteadyClock::now() - begin, 2s);
  EXPECT_EQ(unparked_, 1);
  // What the handler answered is sent before the connection ends.
  EXPECT_EQ(status_of_reply(parked.read_to_end()), 200);
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_TRUE(idle.is_closed());
  EXPECT_FALSE(RawSocket(port_).is_connected());
}

TEST_F(CallsTest, TwoServersOnOnePortAreAClearError) {
  start();
  HttpServer other(io_.get_executor(), pool_.get_executor());
  const auto outcome = other.start("127.0.0.1", port_);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().code, Errc::kUnavailable);
  EXPECT_NE(outcome.error().message.find("in use"), std::string::npos);
  EXPECT_EQ(other.start("no such host!", 0).error().code, Errc::kInvalidArgument);
}

TEST_F(CallsTest, PagesAreFoundByTheirPath) {
  start();
  const auto get = [this](const std::string& path, const std::string& method = "GET") {
    return talk(method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  };
  EXPECT_NE(get("/healthz").find("\r\n\r\nok\n"), std::string::npos);
  EXPECT_NE(get("http://x/healthz").find("\r\n\r\nok\n"), std::string::npos);
  EXPECT_NE(get("/pages/a/b?c").find("/pages/a/b?c"), std::string::npos);
  EXPECT_EQ(status_of_reply(get("/pages")), 404);
  EXPECT_EQ(status_of_reply(get("/healthz/")), 404);
  EXPECT_EQ(status_of_reply(get("/manyhands.v1.JobService/Nothing")), 404);
  const std::string head = get("/healthz", "HEAD");
  EXPECT_NE(head.find("Content-Length: 3\r\n"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_EQ(status_of_reply(get("/healthz", "OPTIONS")), 405);
  EXPECT_NE(talk("GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n").find("Connection: close"),
            std::string::npos);
}

}  // namespace
}  // namespace mh::net
