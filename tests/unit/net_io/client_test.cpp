// The client against servers that are gone, slow, something else, or back again.
#include <boost/asio/steady_timer.hpp>

#include "tests/unit/net_io/scripted_server.h"
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

class ClientTest : public ServerFixture {
 protected:
  static Url url_of(std::uint16_t port) {
    return *parse_url("http://127.0.0.1:" + std::to_string(port));
  }
  static std::string reply_text(const std::string& first_line, const std::string& fields,
                                const std::string& body) {
    return "HTTP/1.1 " + first_line + "\r\n" + fields +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static Result<v1::GetJobResponse> call(BlockingClient& client, std::uint64_t id = 1,
                                         CallOptions options = {}) {
    v1::GetJobRequest request;
    request.set_id(id);
    return client.call<v1::GetJobResponse>(kEcho, request, options);
  }
  // What the client says of a server that answers every call with this.
  Error error_for(const std::string& reply, CallOptions options = {}) {
    ScriptedServer server({{reply}});
    BlockingClient client(url_of(server.port()));
    const auto answer = call(client, 1, options);
    EXPECT_FALSE(answer.has_value()) << reply;
    return answer.has_value() ? Error() : answer.error();
  }
};

TEST_F(ClientTest, SaysWhyItCannotConnect) {
  BlockingClient nobody(url_of(9));
  auto answer = call(nobody);
  EXPECT_EQ(answer.error().code, Errc::kUnavailable);
  EXPECT_EQ(answer.error().message, "cannot connect to http://127.0.0.1:9: connection refused");
  BlockingClient nowhere(*parse_url("http://no-such-host.invalid:1"));
  answer = call(nowhere);
  EXPECT_EQ(answer.error().code, Errc::kUnavailable);
  EXPECT_NE(answer.error().message.find("no-such-host.invalid"), std::string::npos);
}

TEST_F(ClientTest, SaysWhatItIsTalkingToIfThatIsNoServerOfOurs) {
  Error error = error_for(reply_text("302 Found", "Location: https://other/\r\n", ""));
  EXPECT_EQ(error.code, Errc::kUnknown);
  EXPECT_NE(error.message.find("https://other/"), std::string::npos);
  error = error_for(reply_text("200 OK", "Content-Type: text/html\r\n", "<html>"));
  EXPECT_NE(error.message.find("Manyhands server"), std::string::npos);
  error = error_for("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  EXPECT_EQ(error.code, Errc::kUnknown);
  EXPECT_NE(error.message.find("Manyhands server"), std::string::npos);
  error = error_for("+OK POP3 ready\n");
  EXPECT_EQ(error.code, Errc::kUnknown);
  EXPECT_EQ(error_for(reply_text("503 Busy", "", "")).code, Errc::kUnavailable);
  EXPECT_EQ(error_for("").code, Errc::kUnavailable);
}

TEST_F(ClientTest, BoundsWhatItReads) {
  CallOptions options;
  options.response_bytes_max = 1000;
  EXPECT_EQ(error_for("HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\n"
                      "Content-Length: 99999999999\r\n\r\n",
                      options)
                .code,
            Errc::kResourceExhausted);
  EXPECT_EQ(error_for("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n").code,
            Errc::kResourceExhausted);
  EXPECT_EQ(error_for("HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\n\r\n" +
                          std::string(1'000'000, 'x'),
                      options)
                .code,
            Errc::kResourceExhausted);
  EXPECT_EQ(error_for(reply_text("200 OK", "Content-Type: application/proto\r\n",
                                 std::string(2000, '\0')),
                      options)
                .code,
            Errc::kResourceExhausted);
}

TEST_F(ClientTest, ReadsChunkedRepliesOfProxies) {
  ScriptedServer server(
      {{"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
        "2\r\n\x1a\x03\r\n3;x=y\r\njob\r\n0\r\n\r\n",
        reply_text("200 OK", "Content-Type: application/proto\r\n", "\x1a\x03two")}});
  BlockingClient client(url_of(server.port()));
  EXPECT_EQ(call(client)->yaml(), "job");
  EXPECT_EQ(call(client)->yaml(), "two");
  EXPECT_EQ(server.connection_count(), 1U);
}

TEST_F(ClientTest, ReplacesAConnectionThatDiedBetweenCallsOnceAndOnlyThen) {
  const std::string good =
      reply_text("200 OK", "Content-Type: application/proto\r\n", "\x1a\x03job");
  {
    ScriptedServer server({{good}});
    BlockingClient client(url_of(server.port()));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(call(client).has_value());
    EXPECT_EQ(server.connection_count(), 3U);
  }
  // It dies after the second request was sent, before any byte of the answer.
  ScriptedServer server({{good, ""}, {good}});
  BlockingClient client(url_of(server.port()));
  EXPECT_TRUE(call(client).has_value());
  EXPECT_TRUE(call(client).has_value());
  EXPECT_EQ(server.connection_count(), 2U);
  // A part of an answer is an error, not a second call.
  ScriptedServer partial({{good, "HTTP/1.1 200 OK\r\nContent-"}});
  BlockingClient other(url_of(partial.port()));
  EXPECT_TRUE(call(other).has_value());
  EXPECT_EQ(call(other).error().code, Errc::kUnavailable);
  EXPECT_EQ(partial.connection_count(), 1U);
}

TEST_F(ClientTest, GoesOnWithAServerThatWasRestartedOnItsPort) {
  start();
  BlockingClient client(url());
  EXPECT_TRUE(call(client).has_value());
  const std::uint16_t port = port_;
  stop();
  EXPECT_EQ(call(client).error().code, Errc::kUnavailable);
  start({}, port);
  EXPECT_TRUE(call(client).has_value());
}

TEST_F(ClientTest, GivesUpAtTheTimeoutOfTheCall) {
  start();
  BlockingClient client(url());
  CallOptions options;
  options.timeout = 100ms;
  const auto begin = SteadyClock::now();
  const auto answer = client.call<v1::WatchJobResponse>(kPark, v1::WatchJobRequest(), options);
  EXPECT_EQ(answer.error().code, Errc::kDeadlineExceeded);
  EXPECT_LT(SteadyClock::now() - begin, 2s);
  // The same from a server that says nothing at all.
  const Listener silent;
  BlockingClient other(url_of(silent.port()));
  EXPECT_EQ(call(other, 1, options).error().code, Errc::kDeadlineExceeded);
}

TEST_F(ClientTest, CloseCancelsTheCallUnderWayAndTheNextOneConnectsAgain) {
  start();
  asio::io_context io;
  HttpClient client(io.get_executor(), url());
  std::vector<Errc> codes;
  const auto take = [&codes](const std::exception_ptr&, Result<v1::WatchJobResponse> answer) {
    codes.push_back(answer.has_value() ? Errc::kUnknown : answer.error().code);
  };
  for (int i = 0; i < 2; ++i)
    asio::co_spawn(io, client.call<v1::WatchJobResponse>(kPark, v1::WatchJobRequest()), take);
  asio::steady_timer timer(io, 100ms);
  timer.async_wait([&client](boost::system::error_code) { client.close(); });
  io.run_for(5s);
  // The one that waited for its turn was told, too.
  EXPECT_EQ(codes, std::vector<Errc>({Errc::kCanceled, Errc::kCanceled}));
  std::string yaml;
  v1::GetJobRequest request;
  request.set_id(5);
  asio::co_spawn(io, client.call<v1::GetJobResponse>(kEcho, request),
                 [&yaml](const std::exception_ptr&, const Result<v1::GetJobResponse>& answer) {
                   if (answer.has_value()) yaml = answer->yaml();
                 });
  io.restart();
  while (yaml.empty() && io.run_one_for(5s) > 0) {
  }
  EXPECT_EQ(yaml, "job 5");
  EXPECT_GT(client.bytes_sent(), 100U);
  EXPECT_GT(client.bytes_received(), 100U);
}

TEST_F(ClientTest, CallsOnOneClientTakeTurns) {
  start();
  asio::io_context io;
  HttpClient client(io.get_executor(), url());
  int count = 0;
  for (int i = 0; i < 50; ++i) {
    v1::GetJobRequest request;
    request.set_id(static_cast<std::uint64_t>(i));
    asio::co_spawn(
        io, client.call<v1::GetJobResponse>(kEcho, request),
        [&count, i](const std::exception_ptr&, const Result<v1::GetJobResponse>& answer) {
          EXPECT_EQ(answer->yaml(), "job " + std::to_string(i));
          ++count;
        });
  }
  while (count < 50 && io.run_one_for(5s) > 0) {
  }
  EXPECT_EQ(count, 50);
  EXPECT_EQ(server_->stats().connections_accepted, 1U);
}

TEST_F(ClientTest, ExchangesPagesUnderTheBasePath) {
  start();
  Url below = url();
  below.base_path = "/pages";
  BlockingClient client(below);
  HttpRequest request;
  request.method = "GET";
  request.target = "/x?y=1";
  const auto response = client.exchange(request, 5s, 1000);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "/pages/x?y=1\n");
}

}  // namespace
}  // namespace mh::net
