// Requests that are made to cost the server much more than they cost the sender: each is answered
// or cut in bounded time, and the memory of the process does not follow what is sent.
#include <google/protobuf/descriptor.h>
#include <manyhands/v1/work.pb.h>

#include <fstream>
#include <functional>
#include <set>

#include "proto/net/gzip.h"
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;  // sanitizers keep what is freed
#else
constexpr bool kMemoryIsOurs = true;
#endif

std::uint64_t status_kilobytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(field + ":"))
      return std::strtoull(line.c_str() + field.size() + 1, nullptr, 10);
  }
  return 0;
}

// By how much the process's memory grew at its largest while `work` ran.
std::uint64_t peak_growth(const std::function<void()>& work) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts again from here
  const std::uint64_t before = status_kilobytes("VmRSS");
  work();
  const std::uint64_t peak = status_kilobytes("VmHWM");
  return peak > before ? (peak - before) * 1024 : 0;
}

constexpr std::uint64_t kMegabyte = 1024 * 1024;

class HostileTest : public ServerFixture {
 protected:
  static std::string head(const std::string& fields, const std::string& path = kEcho) {
    return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + fields +
           "\r\n";
  }
  static std::string call_text(const std::string& type, const std::string& body,
                               const std::string& more = "") {
    return std::string("POST ") + kEcho + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + type +
           "\r\nConnection: close\r\n" + more + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }
  // Sends a piece again and again until the server has had enough, 64 MiB at most.
  void flood(const std::string& start, const std::string& piece, int status) {
    std::string reply;
    std::uint64_t sent = 0;
    const auto begin = SteadyClock::now();
    const std::uint64_t growth = peak_growth([&] {
      RawSocket socket(port_);
      socket.send(start);
      while (sent < 64 * kMegabyte && socket.send(piece)) sent += piece.size();
      reply = socket.read_to_end();
    });
    EXPECT_LT(SteadyClock::now() - begin, 5s);
    // What the kernel's buffers take counts as sent, and so does what is drained.
    EXPECT_LT(sent, 16 * kMegabyte);
    // A reset may overtake the answer: whoever sends on after it has lost it.
    if (!reply.empty()) {
      EXPECT_EQ(status_of_reply(reply), status);
      EXPECT_EQ(count_replies(reply), 1U);
    }
    if (kMemoryIsOurs) {
      EXPECT_LT(growth, 2 * kMegabyte);
    }
    EXPECT_TRUE(wait_until([this] { return server_->stats().calls_open == 0; }));
  }
};

TEST_F(HostileTest, FramingWithoutContentFillsNeitherMemoryNorTime) {
  HttpServerOptions options;
  options.drain_timeout = 50ms;
  start(options);
  const std::string chunked = head("Transfer-Encoding: chunked\r\n");
  const std::string filler(64 * 1024, 'x');
  flood(chunked + "2;", filler, 400);                                  // an extension without end
  flood(chunked, "1;" + std::string(60'000, 'x') + "\r\n \r\n", 400);  // many long ones
  flood(chunked, std::string(64 * 1024, '0'), 400);                    // digits of a size
  flood(chunked + "2\r\n{}\r\n0\r\nX: ", filler, 400);                 // a trailer without end
  flood(chunked + "2\r\n{}\r\n0\r\n", "X: " + filler + "\r\n", 400);   // many trailer fields
  flood("GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", filler, 431);       // a head without end
  // Chunks of one byte are small, but they are content.
  std::string tiny;
  for (const char c : std::string(R"({"id":5})")) tiny += std::string("1\r\n") + c + "\r\n";
  RawSocket socket(port_);
  socket.send(chunked + tiny + "0\r\n\r\n");
  EXPECT_NE(socket.read_reply().find("job 5"), std::string::npos);
}

TEST_F(HostileTest, SlowHeadsAndBodiesEndAtTheirDeadlineHoweverManyThereAre) {
  HttpServerOptions options;
  options.header_timeout = 300ms;
  options.body_timeout = 300ms;
  options.drain_timeout = 50ms;
  start(options);
  const std::string starts[] = {"POST /x HTTP/1.1\r\nX: ", head("Content-Length: 50\r\n"),
                                head("Transfer-Encoding: chunked\r\n") + "40\r\n",
                                head("Transfer-Encoding: chunked\r\n") + "4;"};
  const auto begin = SteadyClock::now();
  std::vector<std::unique_ptr<RawSocket>> sockets;
  for (int i = 0; i < 100; ++i) {
    sockets.push_back(std::make_unique<RawSocket>(port_));
    sockets.back()->send(starts[i % 4]);
  }
  // Honest callers are served meanwhile, and bytes that trickle in buy no time.
  BlockingClient client(url());
  while (SteadyClock::now() - begin < 250ms) {
    for (const auto& socket : sockets) socket->send("1");
    EXPECT_TRUE(client.call<v1::GetJobResponse>(kEcho, v1::GetJobRequest()).has_value());
    std::this_thread::sleep_for(20ms);
  }
  for (const auto& socket : sockets) EXPECT_EQ(status_of_reply(socket->read_to_end()), 408);
  EXPECT_LT(SteadyClock::now() - begin, 5s);
  EXPECT_TRUE(wait_until([this] { return server_->stats().calls_open == 0; }));
}

TEST_F(HostileTest, AGzipBombStopsAtTheLimitOfTheMessage) {
  start();
  std::string bomb;
  {
    // 50 MB of zeros, in a body that is allowed.
    bomb = gzip_compress(std::string(50 * 1000 * 1000, '\0'));
    ASSERT_LT(bomb.size(), kRpcBytesMax);
  }
  for (const char* type : {"application/json", "application/proto"}) {
    const std::string text = call_text(type, bomb, "Content-Encoding: gzip\r\n");
    std::string reply;
    const auto begin = SteadyClock::now();
    const std::uint64_t growth = peak_growth([&] { reply = talk(text); });
    EXPECT_LT(SteadyClock::now() - begin, 1s);
    EXPECT_EQ(status_of_reply(reply), 429) << reply;
    if (kMemoryIsOurs) {
      EXPECT_LT(growth, 4 * kMegabyte);
    }
  }
}

TEST_F(HostileTest, DeepAndBroadJsonTakesNoLongerThanItsLengthAllows) {
  start();
  const auto repeat = [](const std::string& piece, std::size_t bytes) {
    std::string text;
    while (text.size() + piece.size() <= bytes) text += piece;
    return text;
  };
  constexpr std::size_t kMost = 64'000;
  const std::string nest = std::string(30, '[') + std::string(30, ']') + ",";
  const std::pair<std::string, int> cases[] = {
      {R"({"a":)" + std::string(kMost, '['), 400},
      {repeat(R"({"a":)", kMost), 400},
      {R"({"id":)" + std::string(kMost, '-'), 400},
      // Fields that are not known are skipped, however broad.
      {R"({"a":[)" + repeat(nest, kMost) + "0]}", 200},
      {R"({"a":[)" + repeat(R"({"b":0},)", kMost) + "0]}", 200},
      {R"({"a":")" + repeat(R"(\u0041)", kMost) + "\"}", 200},
      {"{" + repeat(R"("id":1,)", kMost) + R"("id":2})", 200},
      {R"({"id":1)" + std::string(kMost, ' ') + "}", 200},
  };
  for (const auto& [body, status] : cases) {
    const auto begin = SteadyClock::now();
    std::string reply;
    const std::uint64_t growth =
        peak_growth([&] { reply = talk(call_text("application/json", body)); });
    EXPECT_LT(SteadyClock::now() - begin, 1s) << body.substr(0, 30);
    EXPECT_EQ(status_of_reply(reply), status) << body.substr(0, 30) << reply;
    if (kMemoryIsOurs) {
      EXPECT_LT(growth, 16 * kMegabyte) << body.substr(0, 30);
    }
  }
}

// protobuf's JSON parser is quadratic in these types, and an Any names a type of the sender's
// choice: no message that a caller may send holds one.
TEST(Contract, RequestsHoldNoTypesOfFreeForm) {
  const std::set<std::string> banned = {"google.protobuf.Any", "google.protobuf.Struct",
                                        "google.protobuf.Value", "google.protobuf.ListValue"};
  std::set<std::string> seen;
  const std::function<void(const google::protobuf::Descriptor*)> look = [&](const auto* message) {
    if (!seen.insert(message->full_name()).second) return;
    EXPECT_FALSE(banned.contains(message->full_name())) << message->full_name();
    for (int i = 0; i < message->field_count(); ++i) {
      if (const auto* inner = message->field(i)->message_type()) look(inner);
    }
  };
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  int method_count = 0;
  for (const char* name : {"admin", "dataset", "job", "work"}) {
    const auto* file = pool->FindFileByName("manyhands/v1/" + std::string(name) + ".proto");
    ASSERT_NE(file, nullptr) << name;
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m, ++method_count)
        look(file->service(s)->method(m)->input_type());
    }
  }
  EXPECT_GT(method_count, 20);
}

class AmplificationTest : public HostileTest {
 protected:
  // Two bytes an element on the wire, some hundred in memory.
  static std::string many_reports(std::size_t bytes) {
    std::string body;
    while (body.size() + 2 <= bytes) body += std::string("\x0a\x00", 2);
    return body;
  }
  ServiceTable services() override {
    ServiceTable table = HostileTest::services();
    table.add<v1::ExchangeRequest, v1::ExchangeResponse>(
        "/manyhands.v1.WorkService/Exchange",
        [this](CallContext context, v1::ExchangeRequest message) {
          return hold(std::move(context), std::move(message));
        });
    return table;
  }
  // Keeps the message until nobody waits.
  asio::awaitable<Result<v1::ExchangeResponse>> hold(CallContext context, v1::ExchangeRequest) {
    Result<v1::WatchJobResponse> parked = co_await park(std::move(context), v1::WatchJobRequest());
    co_return v1::ExchangeResponse();
  }
  static std::string exchange_text(const std::string& body, const std::string& more = "") {
    return "POST /manyhands.v1.WorkService/Exchange HTTP/1.1\r\nHost: x\r\n" + more +
           "Content-Type: application/proto\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }
};

TEST_F(AmplificationTest, MessagesAreWeighedByTheMemoryTheyTake) {
  HttpServerOptions options;
  options.body_bytes_in_flight_max = 64 * kMegabyte;
  start(options);
  const std::string body = many_reports(kRpcBytesMax);
  v1::ExchangeRequest message;
  ASSERT_TRUE(message.ParseFromString(body));
  ASSERT_GT(message.SpaceUsedLong(), 40 * body.size()) << "the attack has lost its edge";
  const auto room = options.body_bytes_in_flight_max / message.SpaceUsedLong();
  message.Clear();
  // As a bomb in a bomb: a kilobyte becomes 256 KiB becomes 13 MB.
  const std::string packed = gzip_compress(body);
  EXPECT_LT(packed.size(), 2000U);
  std::vector<std::unique_ptr<RawSocket>> sockets;
  const auto begin = SteadyClock::now();
  const std::uint64_t growth = peak_growth([&] {
    for (int i = 0; i < 20; ++i) {
      sockets.push_back(std::make_unique<RawSocket>(port_));
      const bool is_packed = i % 2 == 1;
      sockets.back()->send(
          exchange_text(is_packed ? packed : body, is_packed ? "Content-Encoding: gzip\r\n" : ""));
    }
    ASSERT_TRUE(wait_until([&] { return server_->stats().requests == 20; }));
    std::this_thread::sleep_for(200ms);
  });
  EXPECT_LT(SteadyClock::now() - begin, 5s);
  EXPECT_GE(parked_, 1);
  EXPECT_LE(static_cast<std::uint64_t>(parked_), room);
  if (kMemoryIsOurs) {
    EXPECT_LT(growth, 160 * kMegabyte);
  }
  // Small calls are not kept out, and the room comes back with the end of those that took it.
  BlockingClient client(url());
  EXPECT_TRUE(client.call<v1::GetJobResponse>(kEcho, v1::GetJobRequest()).has_value());
  int refused = 0;
  for (const auto& socket : sockets) {
    const std::string reply = socket->read_reply(10ms);
    if (status_of_reply(reply) == 503 && reply.find("Retry-After") != std::string::npos) ++refused;
  }
  EXPECT_EQ(refused + parked_, 20);
  sockets.clear();
  EXPECT_TRUE(wait_until([this] { return server_->stats().calls_open == 0; }));
  RawSocket again(port_);
  const int before = parked_;
  again.send(exchange_text(body));
  EXPECT_TRUE(wait_until([&] { return parked_ == before + 1; }));
}

}  // namespace
}  // namespace mh::net
