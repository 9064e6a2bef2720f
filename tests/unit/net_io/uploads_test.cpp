// tus over a real connection: create, append, ask, go on after a cut, remove; and every refusal.
#include "tests/unit/net_io/uploads_fixture.h"

namespace mh::net {
namespace {

TEST_F(UploadsTest, SayWhatTheyCan) {
  start();
  const std::string reply = ask("OPTIONS /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status_of_reply(reply), 204);
  EXPECT_EQ(field(reply, "Tus-Version"), "1.0.0");
  EXPECT_EQ(field(reply, "Tus-Extension"),
            "creation,creation-with-upload,expiration,termination,checksum");
  EXPECT_EQ(field(reply, "Tus-Checksum-Algorithm"), "sha1,sha256");
  EXPECT_EQ(field(reply, "Tus-Max-Size"), "4294967296");
  EXPECT_EQ(reply.find("Content-Length"), std::string::npos);
}

TEST_F(UploadsTest, OneRequestCreatesAndSends) {
  start();
  const std::string content(600'000, 'u');
  const std::string reply = ask(create_text(content, true));
  EXPECT_EQ(status_of_reply(reply), 201) << reply;
  EXPECT_EQ(field(reply, "Upload-Offset"), "600000");
  EXPECT_EQ(field(reply, "Location"), "/upload/upload-1");
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadsTest, AreCreatedThenSentInPiecesOnOneConnection) {
  start();
  RawSocket socket(port_);
  const std::string content = "0123456789";
  socket.send(create_text(content, false));
  std::string reply = socket.read_reply();
  EXPECT_EQ(status_of_reply(reply), 201);
  EXPECT_EQ(field(reply, "Upload-Offset"), "0");
  EXPECT_EQ(field(reply, "Upload-Expires"), "Fri, 15 Jan 2027 08:00:00 GMT");
  const std::string path = field(reply, "Location");
  socket.send(patch_text(path, 0, "0123"));
  reply = socket.read_reply();
  EXPECT_EQ(status_of_reply(reply), 204);
  EXPECT_EQ(field(reply, "Upload-Offset"), "4");
  socket.send(request("HEAD", path, ""));
  reply = socket.read_reply(200ms);
  EXPECT_EQ(status_of_reply(reply), 200);
  EXPECT_EQ(field(reply, "Upload-Offset"), "4");
  EXPECT_EQ(field(reply, "Upload-Length"), "10");
  EXPECT_EQ(field(reply, "Cache-Control"), "no-store");
  socket.send(patch_text(path, 4, "456789"));
  EXPECT_EQ(field(socket.read_reply(), "Upload-Offset"), "10");
  EXPECT_TRUE(blobs_->contains(sha256(content)));
  EXPECT_EQ(server_->stats().connections_accepted, 1U);
}

TEST_F(UploadsTest, ABlobThatIsHereIsCompleteAtOnce) {
  start();
  const std::string content(5000, 'b');
  blobs_->add(content);
  RawSocket socket(port_);
  for (const bool with_body : {false, true}) {
    socket.send(create_text(content, with_body));
    const std::string reply = socket.read_reply();
    EXPECT_EQ(status_of_reply(reply), 201);
    EXPECT_EQ(field(reply, "Upload-Offset"), "5000");
  }
  // The body that was not needed is skipped, the connection goes on.
  socket.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of_reply(socket.read_reply()), 200);
}

TEST_F(UploadsTest, TheEmptyBlobCanBeUploaded) {
  start();
  const std::string reply = ask(create_text("", false));
  EXPECT_EQ(status_of_reply(reply), 201);
  EXPECT_TRUE(blobs_->contains(sha256("")));
}

TEST_F(UploadsTest, ACutKeepsWhatArrivedAndTheNextConnectionGoesOn) {
  start();
  const std::string content(400'000, 'c');
  const std::string path = create(content);
  {
    RawSocket socket(port_);
    const std::string whole = patch_text(path, 0, content);
    socket.send(whole.substr(0, whole.size() - 100'000));
    socket.close();
  }
  EXPECT_TRUE(wait_until([this] { return sink_->offset_of("upload-1") == 300'000; }));
  EXPECT_EQ(field(ask(request("HEAD", path, "Connection: close\r\n")), "Upload-Offset"), "300000");
  EXPECT_EQ(status_of_reply(ask(patch_text(path, 300'000, content.substr(300'000)))), 204);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadsTest, ANewConnectionTakesAnUploadOverFromOneThatHangs) {
  start();
  const std::string content(400'000, 'h');
  const std::string path = create(content);
  RawSocket hanging(port_);
  const std::string whole = patch_text(path, 0, content);
  hanging.send(whole.substr(0, whole.size() - 100'000));
  ASSERT_TRUE(wait_until([this] { return sink_->offset_of("upload-1") > 0; }));
  const auto begin = SteadyClock::now();
  const std::string reply = ask(request("HEAD", path, "Connection: close\r\n"));
  EXPECT_LT(SteadyClock::now() - begin, 1s);
  const std::string offset = field(reply, "Upload-Offset");
  EXPECT_EQ(offset, "300000");
  EXPECT_EQ(status_of_reply(ask(patch_text(path, 300'000, content.substr(300'000)))), 204);
  EXPECT_TRUE(blobs_->contains(sha256(content)));
}

TEST_F(UploadsTest, AStrangerNeitherSeesNorDisturbsThem) {
  start();
  const std::string path = create("0123456789");
  for (const std::string method : {"HEAD", "DELETE"}) {
    EXPECT_EQ(status_of_reply(talk(request(method, path, "Connection: close\r\n", "", "eve"))),
              404);
  }
  EXPECT_EQ(status_of_reply(ask(patch_text(path, 0, "0123", "eve"))), 404);
  EXPECT_EQ(field(ask(request("HEAD", path, "Connection: close\r\n")), "Upload-Offset"), "0");
}

TEST_F(UploadsTest, AWrongOffsetIsAConflictThatNamesTheRightOne) {
  start();
  const std::string path = create("0123456789");
  ask(patch_text(path, 0, "012"));
  for (const std::uint64_t offset : {0, 2, 4, 10}) {
    const std::string reply = ask(patch_text(path, offset, "3"));
    EXPECT_EQ(status_of_reply(reply), 409);
    EXPECT_EQ(field(reply, "Upload-Offset"), "3");
  }
}

TEST_F(UploadsTest, AWrongDigestEndsTheUpload) {
  start();
  const std::string path = create("0123456789");
  EXPECT_EQ(status_of_reply(ask(patch_text(path, 0, "9876543210"))), 460);
  EXPECT_EQ(status_of_reply(ask(request("HEAD", path, "Connection: close\r\n"))), 404);
  EXPECT_FALSE(blobs_->contains(sha256("0123456789")));
}

TEST_F(UploadsTest, CanBeRemoved) {
  start();
  const std::string path = create("0123456789");
  EXPECT_EQ(status_of_reply(ask(request("DELETE", path, ""))), 204);
  EXPECT_EQ(status_of_reply(ask(request("DELETE", path, ""))), 404);
}

TEST_F(UploadsTest, RefusalsSayWhatIsNeeded) {
  start();
  const Digest digest = sha256("x");
  const std::string path = create("0123456789");
  struct Case {
    int status;
    std::string text;
    std::string says;
  };
  const std::string one = "Upload-Length: 1\r\n" + metadata_of(digest);
  const Case cases[] = {
      {412, "POST /upload HTTP/1.1\r\nHost: x\r\n\r\n", "1.0.0"},
      {412, "POST /upload HTTP/1.1\r\nHost: x\r\nTus-Resumable: 0.2.2\r\n\r\n", "1.0.0"},
      {401, "POST /upload HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n",
       "WWW-Authenticate: Bearer"},
      {400, request("POST", "/upload", "Upload-Length: 1\r\nUpload-Metadata: sha256\r\n"),
       "sha256"},
      {400, request("POST", "/upload", "Upload-Length: 1\r\nUpload-Metadata: sha256 eA==\r\n"),
       "hex"},
      {400, request("POST", "/upload", metadata_of(digest)), "Upload-Length"},
      {400, request("POST", "/upload", "Upload-Length: -1\r\n" + metadata_of(digest)),
       "Upload-Length"},
      {413, request("POST", "/upload", "Upload-Length: 4294967297\r\n" + metadata_of(digest)),
       "4294967296"},
      {429, request("POST", "/upload", "Upload-Length: 666\r\n" + metadata_of(digest)), "full"},
      {413, request("POST", "/upload", one + kType, "xyz"), "longer"},
      {415, request("POST", "/upload", one, "x"), "offset+octet-stream"},
      {411,
       request("POST", "/upload", one + kType + "Transfer-Encoding: chunked\r\n") +
           "1\r\nx\r\n0\r\n\r\n",
       "Content-Length"},
      {415, request("PATCH", path, "Upload-Offset: 0\r\n", "x"), "offset+octet-stream"},
      {400, request("PATCH", path, kType, "x"), "Upload-Offset"},
      {413, patch_text(path, 0, "0123456789a"), "longer"},
      {404, patch_text("/upload/other", 0, "x"), "other"},
      {404, request("HEAD", "/upload/..%2f", ""), ""},
      {405, request("GET", path, ""), "Allow: HEAD, PATCH, DELETE, OPTIONS"},
      {405, request("GET", "/upload", ""), "Allow: POST, OPTIONS"},
  };
  for (const Case& probe : cases) {
    // The reply to HEAD has a length and no body.
    const std::string reply =
        probe.text.starts_with("HEAD") ? talk(probe.text, 100ms) : ask(probe.text);
    EXPECT_EQ(status_of_reply(reply), probe.status) << probe.text << reply;
    EXPECT_NE(reply.find(probe.says), std::string::npos) << probe.text << reply;
  }
  EXPECT_EQ(sink_->count(), 1U);
}

TEST_F(UploadsTest, ASlowSenderIsCutAndKeepsWhatArrived) {
  HttpServerOptions options;
  options.body_timeout = 100ms;
  options.body_bytes_per_second_min = 1'000'000;
  start(options);
  const std::string content(1000, 's');
  const std::string path = create(content);
  const std::string text = patch_text(path, 0, content);
  EXPECT_EQ(talk(text.substr(0, text.size() - 500)), "");
  EXPECT_EQ(sink_->offset_of("upload-1"), 500U);
}

TEST_F(UploadsTest, WaitsForTheGoAheadBeforeALongBody) {
  start();
  const std::string content(100'000, 'e');
  const std::string path = create(content);
  RawSocket socket(port_);
  std::string text = patch_text(path, 0, content);
  const std::size_t head = text.find("\r\n\r\n") + 4;
  text.insert(head - 2, "Expect: 100-continue\r\n");
  socket.send(text.substr(0, head + 22));
  EXPECT_EQ(socket.read_reply(), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send(content);
  EXPECT_EQ(status_of_reply(socket.read_reply()), 204);
  // Refused without it: the body need not be sent.
  RawSocket other(port_);
  other.send(text.substr(0, head + 22));
  EXPECT_EQ(status_of_reply(other.read_reply()), 409);
}

}  // namespace
}  // namespace mh::net
