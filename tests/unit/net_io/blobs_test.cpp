// GET and HEAD of blobs: ranges, conditions, callers that stop reading.
#include "proto/net/http_range.h"
#include "tests/unit/net_io/server_fixture.h"

namespace mh::net {
namespace {

class BlobsTest : public ServerFixture {
 protected:
  std::string ask(const Digest& digest, const std::string& fields = "",
                  const std::string& method = "GET") {
    return talk(method + " /blob/sha256/" + digest.hex() +
                " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + "\r\n");
  }
  static std::string body_of(const std::string& reply) {
    return reply.substr(reply.find("\r\n\r\n") + 4);
  }
};

TEST_F(BlobsTest, AreServedWholeWithHeadersForCaches) {
  start();
  const Digest digest = blobs_->add("0123456789");
  const std::string reply = ask(digest);
  EXPECT_EQ(status_of_reply(reply), 200);
  EXPECT_EQ(body_of(reply), "0123456789");
  EXPECT_NE(reply.find("ETag: \"" + digest.hex() + "\"\r\n"), std::string::npos);
  EXPECT_NE(reply.find("immutable"), std::string::npos);
  EXPECT_NE(reply.find("Accept-Ranges: bytes\r\n"), std::string::npos);
  const std::string head = ask(digest, "", "HEAD");
  EXPECT_NE(head.find("Content-Length: 10\r\n"), std::string::npos);
  EXPECT_EQ(body_of(head), "");
  EXPECT_EQ(body_of(ask(blobs_->add(""))), "");
}

TEST_F(BlobsTest, AreServedInOneRange) {
  start();
  const Digest digest = blobs_->add("0123456789");
  const std::pair<const char*, const char*> ranges[] = {
      {"bytes=2-4", "234"},        {"bytes=7-", "789"}, {"bytes=-2", "89"},  {"bytes=0-0", "0"},
      {"bytes=-99", "0123456789"}, {"bytes=9-99", "9"}, {"Bytes=2-4", "234"}};
  for (const auto& [range, expected] : ranges) {
    const std::string reply = ask(digest, std::string("Range: ") + range + "\r\n");
    EXPECT_EQ(status_of_reply(reply), 206) << range;
    EXPECT_EQ(body_of(reply), expected) << range;
  }
  EXPECT_NE(ask(digest, "Range: bytes=2-4\r\n").find("Content-Range: bytes 2-4/10\r\n"),
            std::string::npos);
}

TEST_F(BlobsTest, AreServedWholeWhereTheRangeIsSeveralOrOdd) {
  start();
  const Digest digest = blobs_->add("0123456789");
  for (const char* range : {"bytes=0-1,3-4", "bytes=4-2", "lines=1-2", "bytes=", "bytes=-",
                            "bytes=a-b", "bytes=1-2-3", "bytes=99999999999999999999-"}) {
    const std::string reply = ask(digest, std::string("Range: ") + range + "\r\n");
    EXPECT_EQ(status_of_reply(reply), 200) << range;
    EXPECT_EQ(body_of(reply), "0123456789") << range;
  }
}

TEST_F(BlobsTest, SayHowLongTheyAreWhereTheRangeIsOutside) {
  start();
  const Digest digest = blobs_->add("0123456789");
  for (const char* range : {"bytes=10-", "bytes=10-12", "bytes=-0"}) {
    const std::string reply = ask(digest, std::string("Range: ") + range + "\r\n");
    EXPECT_EQ(status_of_reply(reply), 416) << range;
    EXPECT_NE(reply.find("Content-Range: bytes */10\r\n"), std::string::npos) << range;
  }
}

TEST_F(BlobsTest, HeedConditions) {
  start();
  const Digest digest = blobs_->add("0123456789");
  const std::string tag = "\"" + digest.hex() + "\"";
  EXPECT_EQ(status_of_reply(ask(digest, "If-None-Match: \"a\", W/" + tag + "\r\n")), 304);
  EXPECT_EQ(status_of_reply(ask(digest, "If-None-Match: *\r\n")), 304);
  EXPECT_EQ(status_of_reply(ask(digest, "If-None-Match: \"a\"\r\n")), 200);
  EXPECT_EQ(status_of_reply(ask(digest, "Range: bytes=1-\r\nIf-Range: " + tag + "\r\n")), 206);
  EXPECT_EQ(status_of_reply(ask(digest, "Range: bytes=1-\r\nIf-Range: \"a\"\r\n")), 200);
  EXPECT_EQ(status_of_reply(ask(digest, "Range: bytes=1-\r\nIf-Range: W/" + tag + "\r\n")), 200);
}

TEST_F(BlobsTest, HaveNamesOf64LowerCaseHexDigitsOnly) {
  start();
  const auto get = [this](const std::string& path) {
    return status_of_reply(
        talk("GET /blob/sha256/" + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  };
  EXPECT_EQ(get(sha256("unknown").hex()), 404);
  EXPECT_EQ(get("../../etc/passwd"), 404);
  EXPECT_EQ(get("%2e%2e%2fetc"), 404);
  EXPECT_EQ(get(std::string(64, 'A')), 404);
  EXPECT_EQ(get(""), 404);
  EXPECT_EQ(status_of_reply(ask(sha256("unknown"), "", "DELETE")), 405);
}

TEST_F(BlobsTest, LargeOnesArriveWholeAndTheConnectionGoesOn) {
  start();
  std::string content(9'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 251);
  const Digest digest = blobs_->add(content);
  RawSocket socket(port_);
  const std::string request =
      "GET /blob/sha256/" + digest.hex() + " HTTP/1.1\r\nHost: x\r\nRange: bytes=1-\r\n\r\n";
  for (int i = 0; i < 2; ++i) {
    socket.send(request);
    EXPECT_TRUE(body_of(socket.read_reply()) == content.substr(1));
  }
}

TEST_F(BlobsTest, ACallerThatTakesNothingIsCut) {
  HttpServerOptions options;
  options.write_timeout = 100ms;
  start(options);
  const Digest digest = blobs_->add(std::string(30'000'000, 'x'));
  RawSocket socket(port_);
  socket.send("GET /blob/sha256/" + digest.hex() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections_open == 1; }));
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections_open == 0; }));
}

TEST_F(BlobsTest, StopCutsATransferThatDoesNotEnd) {
  HttpServerOptions options;
  options.stop_timeout = 100ms;
  start(options);
  const Digest digest = blobs_->add(std::string(30'000'000, 'x'));
  RawSocket socket(port_);
  socket.send("GET /blob/sha256/" + digest.hex() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 1; }));
  const auto begin = SteadyClock::now();
  stop();
  EXPECT_LT(SteadyClock::now() - begin, 2s);
}

TEST(BlobReply, CoversWhatARangeCanBe) {
  const BlobReply reply = plan_blob_reply({{"Range", "bytes=0-99"}}, 10, "\"t\"");
  EXPECT_EQ(reply.head.status, 206);
  EXPECT_EQ(reply.end, 10U);
  EXPECT_EQ(plan_blob_reply({{"Range", "bytes=0-"}}, 0, "\"t\"").head.status, 416);
  EXPECT_EQ(plan_blob_reply({{"Range", "bytes=0-"}, {"Range", "bytes=1-"}}, 9, "\"t\"").head.status,
            200);
}

}  // namespace
}  // namespace mh::net
