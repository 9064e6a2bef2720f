// The Connect core: requests to calls, results to responses, and what is refused.
#include "proto/net/connect_core.h"

#include <google/protobuf/struct.pb.h>
#include <gtest/gtest.h>
#include <manyhands/v1/job.pb.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "proto/base/bytes.h"
#include "proto/net/connect_client.h"
#include "proto/net/connect_json.h"
#include "proto/net/gzip.h"

namespace mh::net {
namespace {

namespace v1 = manyhands::v1;

constexpr const char* kGetJob = "/manyhands.v1.JobService/GetJob";
constexpr const char* kSubmitJob = "/manyhands.v1.JobService/SubmitJob";
constexpr const char* kStruct = "/test.Service/Anything";

TEST(RetryAfter, IsReadInSecondsAndBounded) {
  const auto read = [](const char* value) {
    return retry_after_of(Headers{{"retry-after", value}}).count();
  };
  EXPECT_EQ(read("5"), 5);
  EXPECT_EQ(read(" 30 "), 30);
  EXPECT_EQ(read("999999999"), 86'400);
  EXPECT_EQ(read("-1"), 0);
  EXPECT_EQ(read("Wed, 21 Oct 2026 07:28:00 GMT"), 0);
  EXPECT_EQ(retry_after_of({}).count(), 0);
}

class ConnectCoreTest : public ::testing::Test {
 protected:
  ConnectCoreTest() {
    core_.add(kGetJob, v1::GetJobRequest::default_instance());
    core_.add(kSubmitJob, v1::SubmitJobRequest::default_instance());
    core_.add(kStruct, google::protobuf::Struct::default_instance());
  }

  static HttpRequest post(const char* path, std::string type, std::string body) {
    HttpRequest request;
    request.method = "POST";
    request.target = path;
    request.headers.add("Content-Type", std::move(type));
    request.body = std::move(body);
    return request;
  }
  static HttpRequest get(const std::string& query) {
    HttpRequest request;
    request.method = "GET";
    request.target = std::string(kGetJob) + "?" + query;
    return request;
  }

  std::variant<DecodedCall, HttpResponse> decode(HttpRequest request) {
    const MethodInfo* method = core_.find(request.path());
    EXPECT_NE(method, nullptr);
    return core_.decode(*method, std::move(request));
  }
  DecodedCall accept(HttpRequest request) {
    auto outcome = decode(std::move(request));
    if (auto* refusal = std::get_if<HttpResponse>(&outcome)) {
      ADD_FAILURE() << refusal->status << " " << refusal->body;
      return {};
    }
    return std::get<DecodedCall>(std::move(outcome));
  }
  HttpResponse refuse(HttpRequest request) {
    auto outcome = decode(std::move(request));
    if (std::holds_alternative<DecodedCall>(outcome)) {
      ADD_FAILURE() << "the request was accepted";
      return {};
    }
    return std::get<HttpResponse>(std::move(outcome));
  }
  static std::string code_of(const HttpResponse& response) {
    const auto json = nlohmann::json::parse(response.body, nullptr, false);
    return json.is_object() && json.contains("code") ? json["code"].get<std::string>() : "";
  }
  static std::uint64_t id_of(const DecodedCall& call) {
    return static_cast<const v1::GetJobRequest&>(*call.request).id();
  }

  ConnectCore core_;
};

TEST_F(ConnectCoreTest, TakesBothCodecsAndParametersOfTheContentType) {
  EXPECT_EQ(id_of(accept(post(kGetJob, "application/json", R"({"id":"7"})"))), 7U);
  EXPECT_EQ(id_of(accept(post(kGetJob, "Application/JSON; charset=utf-8", R"({"id":7})"))), 7U);
  EXPECT_EQ(id_of(accept(post(kGetJob, "application/proto", "\x08\x07"))), 7U);
}

TEST_F(ConnectCoreTest, TakesAnEmptyBodyAsAnEmptyMessageEvenIfItClaimsToBeCompressed) {
  HttpRequest request = post(kGetJob, "application/proto", "");
  request.headers.add("Content-Encoding", "gzip");
  EXPECT_EQ(id_of(accept(std::move(request))), 0U);
}

TEST_F(ConnectCoreTest, RefusesOtherContentTypes) {
  for (const char* type : {"image/jpeg", "application/connect+proto", "application/x-proto", "",
                           "text/plain", "application/grpc"}) {
    EXPECT_EQ(refuse(post(kGetJob, type, "{}")).status, 415) << type;
  }
}

TEST_F(ConnectCoreTest, AnswersOtherVerbsWithTheAllowedOnes) {
  HttpRequest request = post(kSubmitJob, "application/json", "{}");
  request.method = "DELETE";
  HttpResponse response = refuse(std::move(request));
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.headers.find("Allow"), "POST");
  request = get("encoding=json&message={}");
  request.target = std::string(kSubmitJob) + "?encoding=json&message={}";
  EXPECT_EQ(refuse(std::move(request)).status, 405);
}

TEST_F(ConnectCoreTest, TakesGetOfMethodsWithoutSideEffects) {
  EXPECT_EQ(id_of(accept(get("message=%7B%22id%22%3A9%7D&encoding=json&unknown=1"))), 9U);
  const DecodedCall call = accept(get("connect=v1&encoding=proto&base64=1&message=CAk"));
  EXPECT_EQ(id_of(call), 9U);
  EXPECT_TRUE(call.context.is_get);
  EXPECT_EQ(call.context.query.size(), 4U);
  EXPECT_EQ(id_of(accept(get("encoding=proto&base64=1&message=CAk%3D"))), 9U);
  const std::string packed = to_base64url(as_bytes(gzip_compress("\x08\x09")));
  EXPECT_EQ(id_of(accept(get("encoding=proto&compression=gzip&base64=1&message=" + packed))), 9U);
}

TEST_F(ConnectCoreTest, RefusesGetsThatAreNotWhole) {
  EXPECT_EQ(refuse(get("message={}")).status, 415);
  EXPECT_EQ(refuse(get("encoding=xml&message={}")).status, 415);
  EXPECT_EQ(code_of(refuse(get("encoding=json"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(get("connect=v2&encoding=json&message={}"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(get("encoding=proto&base64=1&message=!!"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(get("encoding=json&message=%7"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(get("encoding=json&compression=br&message={}"))), "unimplemented");
}

TEST_F(ConnectCoreTest, ReadsTimeoutTokenAndMetadata) {
  HttpRequest request = post(kGetJob, "application/json", "{}");
  request.headers.add("Connect-Timeout-Ms", "1500");
  request.headers.add("Connect-Protocol-Version", "1");
  request.headers.add("Authorization", "bearer  mht_secret ");
  request.headers.add("X-Trace", "a");
  request.headers.add("X-Trace", "b");
  request.peer_address = "203.0.113.7";
  const DecodedCall call = accept(std::move(request));
  EXPECT_EQ(call.context.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(call.context.bearer_token, "mht_secret");
  EXPECT_EQ(call.context.headers.count("x-trace"), 2U);
  EXPECT_EQ(call.context.peer_address, "203.0.113.7");
  EXPECT_EQ(call.context.method, kGetJob);
}

TEST_F(ConnectCoreTest, RefusesHeadersThatAreWrongOrDouble) {
  const std::pair<const char*, const char*> wrong[] = {
      {"Connect-Timeout-Ms", "12345678901"}, {"Connect-Timeout-Ms", "-1"},
      {"Connect-Timeout-Ms", "1s"},          {"Connect-Timeout-Ms", ""},
      {"Connect-Protocol-Version", "2"},     {"Content-Type", "application/proto"}};
  for (const auto& [name, value] : wrong) {
    HttpRequest request = post(kGetJob, "application/json", "{}");
    request.headers.add(name, value);
    EXPECT_EQ(code_of(refuse(std::move(request))), "invalid_argument") << name << ": " << value;
  }
}

TEST_F(ConnectCoreTest, InflatesGzipAndNamesWhatItTakesInstead) {
  HttpRequest request = post(kGetJob, "application/json", gzip_compress(R"({"id":3})"));
  request.headers.add("Content-Encoding", "gzip");
  EXPECT_EQ(id_of(accept(std::move(request))), 3U);
  request = post(kGetJob, "application/json", "{}");
  request.headers.add("Content-Encoding", "br");
  const HttpResponse response = refuse(std::move(request));
  EXPECT_EQ(response.status, 501);
  EXPECT_NE(response.body.find("gzip"), std::string::npos);
}

TEST_F(ConnectCoreTest, HoldsTheLimitOnTheUncompressedMessage) {
  std::string text(kRpcBytesMax - 5, 'a');
  v1::SubmitJobRequest message;
  message.set_yaml(text);
  std::string body = message.SerializeAsString();
  body.resize(kRpcBytesMax + 1, '\0');
  EXPECT_EQ(code_of(refuse(post(kSubmitJob, "application/proto", body))), "resource_exhausted");
  message.set_yaml(std::string(kRpcBytesMax - 4, 'a'));
  EXPECT_EQ(message.ByteSizeLong(), kRpcBytesMax);
  accept(post(kSubmitJob, "application/proto", message.SerializeAsString()));
  EXPECT_EQ(code_of(refuse(post(kSubmitJob, "application/json",
                                R"({"yaml":")" + std::string(kJsonBytesMax, 'a') + "\"}"))),
            "resource_exhausted");
}

TEST_F(ConnectCoreTest, StopsInflatingABombAtTheLimit) {
  HttpRequest request =
      post(kSubmitJob, "application/proto", gzip_compress(std::string(50'000'000, '\0')));
  EXPECT_LT(request.body.size(), 500'000U);
  request.headers.add("Content-Encoding", "gzip");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(refuse(std::move(request))), "resource_exhausted");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
}

TEST_F(ConnectCoreTest, RefusesNestedJsonBeforeTheParserSeesIt) {
  const std::string deep = R"({"a":)" + std::string(20'000, '[') + std::string(20'000, ']') + "}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(refuse(post(kStruct, "application/json", deep))), "invalid_argument");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
  accept(post(kStruct, "application/json", R"({"a":[[["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]]]})"));
}

TEST_F(ConnectCoreTest, RefusesNestedProtobuf) {
  std::string bytes;
  google::protobuf::Value value;
  value.set_number_value(1);
  for (int i = 0; i < 50; ++i) {
    google::protobuf::Value outer;
    outer.mutable_list_value()->add_values()->Swap(&value);
    value.Swap(&outer);
  }
  google::protobuf::Struct message;
  (*message.mutable_fields())["a"].Swap(&value);
  message.SerializeToString(&bytes);
  EXPECT_EQ(code_of(refuse(post(kStruct, "application/proto", bytes))), "invalid_argument");
}

TEST_F(ConnectCoreTest, RefusesWhatIsNoMessage) {
  EXPECT_EQ(code_of(refuse(post(kGetJob, "application/proto", "\xFF\xFF"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(post(kGetJob, "application/json", "{"))), "invalid_argument");
  EXPECT_EQ(code_of(refuse(post(kGetJob, "application/json", R"({"id":"x"})"))),
            "invalid_argument");
  HttpRequest request = post(kGetJob, "application/json", gzip_compress("{}") + "rest");
  request.headers.add("Content-Encoding", "gzip");
  EXPECT_EQ(code_of(refuse(std::move(request))), "invalid_argument");
}

class ConnectReplyTest : public ConnectCoreTest {
 protected:
  static std::unique_ptr<Message> job_of(const std::string& yaml) {
    auto message = std::make_unique<v1::GetJobResponse>();
    message->set_yaml(yaml);
    return message;
  }
  DecodedCall call_with(const char* name, const char* value) {
    HttpRequest request = post(kGetJob, "application/json", "{}");
    request.headers.add(name, value);
    return accept(std::move(request));
  }
};

TEST_F(ConnectReplyTest, AnswersInTheCodecOfTheRequest) {
  HttpResponse response =
      ConnectCore::encode(accept(post(kGetJob, "application/json", "{}")), job_of("x"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.find("Content-Type"), "application/json");
  EXPECT_EQ(response.body, R"({"yaml":"x"})");
  response = ConnectCore::encode(accept(post(kGetJob, "application/proto", "")), job_of("x"));
  EXPECT_EQ(response.headers.find("Content-Type"), "application/proto");
  EXPECT_EQ(response.body, "\x1a\x01x");
}

TEST_F(ConnectReplyTest, CompressesLongAnswersOnlyForCallersThatOfferedIt) {
  const std::string text(5000, 'y');
  const std::pair<const char*, bool> cases[] = {{"gzip", true},      {"br, GZIP;q=0.5", true},
                                                {"gzip;q=0", false}, {"gzip; q=0.0", false},
                                                {"br", false},       {"identity", false}};
  for (const auto& [value, is_packed] : cases) {
    const HttpResponse response =
        ConnectCore::encode(call_with("Accept-Encoding", value), job_of(text));
    EXPECT_EQ(response.headers.contains("Content-Encoding"), is_packed) << value;
    if (is_packed) {
      EXPECT_EQ(*gzip_inflate(response.body, 10'000), R"({"yaml":")" + text + "\"}");
    }
  }
  EXPECT_FALSE(ConnectCore::encode(call_with("Accept-Encoding", "gzip"), job_of("short"))
                   .headers.contains("Content-Encoding"));
}

TEST_F(ConnectReplyTest, SendsEveryCodeWithItsStatusAndTheClientReadsItBack) {
  const std::pair<Errc, int> statuses[] = {
      {Errc::kCanceled, 499},           {Errc::kUnknown, 500},
      {Errc::kInvalidArgument, 400},    {Errc::kDeadlineExceeded, 504},
      {Errc::kNotFound, 404},           {Errc::kAlreadyExists, 409},
      {Errc::kPermissionDenied, 403},   {Errc::kResourceExhausted, 429},
      {Errc::kFailedPrecondition, 400}, {Errc::kAborted, 409},
      {Errc::kOutOfRange, 400},         {Errc::kUnimplemented, 501},
      {Errc::kInternal, 500},           {Errc::kUnavailable, 503},
      {Errc::kDataLoss, 500},           {Errc::kUnauthenticated, 401}};
  for (const auto& [code, status] : statuses) {
    const DecodedCall call = accept(post(kGetJob, "application/proto", ""));
    call.context.response->error_details.push_back({"manyhands.v1.GetJobRequest", "\x08\x01"});
    const HttpResponse response =
        ConnectCore::encode(call, fail(code, "why \xF0\x9F\x98\x80\n\"quoted\""));
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.headers.find("Content-Type"), "application/json");
    v1::GetJobResponse message;
    ReplyMetadata metadata;
    const Status read = decode_reply(response, {}, message, &metadata);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, code);
    EXPECT_EQ(read.error().message, "why \xF0\x9F\x98\x80\n\"quoted\"");
    ASSERT_EQ(metadata.error_details.size(), 1U);
    EXPECT_EQ(metadata.error_details[0].value, "\x08\x01");
  }
}

TEST_F(ConnectReplyTest, SendsMetadataAndRefusesWhatWouldSplitTheResponse) {
  DecodedCall call = accept(post(kGetJob, "application/proto", ""));
  call.context.response->headers.add("X-One", "1");
  call.context.response->trailers.add("x-two", "2");
  HttpResponse response = ConnectCore::encode(call, job_of(""));
  EXPECT_EQ(response.headers.find("x-one"), "1");
  EXPECT_EQ(response.headers.find("trailer-x-two"), "2");
  const std::pair<const char*, const char*> wrong[] = {{"X-Bad", "a\r\nSet-Cookie: b"},
                                                       {"X Bad", "a"},
                                                       {"Content-Length", "5"},
                                                       {"Transfer-Encoding", "chunked"},
                                                       {"Connect-Anything", "a"}};
  for (const auto& [name, value] : wrong) {
    call = accept(post(kGetJob, "application/proto", ""));
    call.context.response->headers.add(name, value);
    response = ConnectCore::encode(call, job_of(""));
    EXPECT_EQ(response.status, 500) << name;
    EXPECT_FALSE(response.headers.contains(name));
  }
}

TEST_F(ConnectReplyTest, ANullMessageIsAnInternalError) {
  const HttpResponse response = ConnectCore::encode(accept(post(kGetJob, "application/proto", "")),
                                                    std::unique_ptr<Message>());
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(code_of(response), "internal");
}

TEST_F(ConnectReplyTest, TheClientTakesTheAnswersOfProxiesByTheirStatus) {
  const std::pair<int, Errc> cases[] = {{400, Errc::kInternal},      {401, Errc::kUnauthenticated},
                                        {404, Errc::kUnimplemented}, {502, Errc::kUnavailable},
                                        {503, Errc::kUnavailable},   {418, Errc::kUnknown}};
  for (const auto& [status, code] : cases) {
    HttpResponse response = plain_text_response(status, "<html>");
    v1::GetJobResponse message;
    EXPECT_EQ(decode_reply(response, {}, message).error().code, code) << status;
  }
  HttpResponse half = plain_text_response(429, "");
  half.headers.set("Content-Type", "Application/JSON; charset=utf-8");
  for (const char* body : {R"({"message":"why"})", R"({"code":null,"message":"why"})",
                           R"({"code":"odd","message":"why"})"}) {
    half.body = body;
    v1::GetJobResponse none;
    const Status read = decode_reply(half, {}, none);
    EXPECT_EQ(read.error().code, Errc::kUnavailable) << body;
    EXPECT_EQ(read.error().message, "why") << body;
  }
  HttpResponse page;
  page.headers.add("Content-Type", "text/html");
  v1::GetJobResponse message;
  EXPECT_NE(decode_reply(page, {}, message).error().message.find("Manyhands server"),
            std::string::npos);
}

TEST_F(ConnectReplyTest, TheClientTellsTheOtherCodecFromWhatIsNoAnswer) {
  const std::pair<const char*, Errc> cases[] = {
      {"application/json", Errc::kInternal}, {"image/jpeg", Errc::kUnknown}, {"", Errc::kUnknown}};
  for (const auto& [type, code] : cases) {
    HttpResponse response;
    response.headers.add("Content-Type", type);
    v1::GetJobResponse message;
    EXPECT_EQ(decode_reply(response, {}, message).error().code, code) << type;
  }
}

TEST_F(ConnectReplyTest, WhatTheClientEncodesTheServerDecodes) {
  v1::GetJobRequest message;
  message.set_id(12);
  for (int i = 0; i < 16; ++i) {
    CallOptions options;
    options.codec = (i & 1) != 0 ? Codec::kProto : Codec::kJson;
    options.use_get = (i & 2) != 0;
    options.compress = (i & 4) != 0;
    options.compress_from_bytes = 0;
    options.sends_timeout = (i & 8) != 0;
    options.timeout = std::chrono::milliseconds(250);
    const DecodedCall call = accept(*encode_call(kGetJob, message, options));
    EXPECT_EQ(id_of(call), 12U);
    EXPECT_EQ(call.context.is_get, options.use_get);
    EXPECT_EQ(call.context.timeout.has_value(), options.sends_timeout);
    if (options.sends_timeout) {
      EXPECT_EQ(call.context.timeout, options.timeout);
    }
  }
}

TEST_F(ConnectReplyTest, TheClientsQueryHasTheOrderThatTheProtocolRecommends) {
  CallOptions options;
  options.use_get = true;
  options.compress = true;
  options.compress_from_bytes = 0;
  const DecodedCall call = accept(*encode_call(kGetJob, v1::GetJobRequest(), options));
  std::string names;
  for (const auto& [name, value] : call.context.query) names += name + " ";
  EXPECT_EQ(names, "connect base64 compression encoding message ");
}

TEST(CallSignal, RunsSubscribedActionsOnceAndThoseThatComeLateAtOnce) {
  CallSignal signal;
  int count = 0;
  signal.subscribe([&count] { ++count; });
  const auto gone = signal.subscribe([&count] { count += 100; });
  signal.unsubscribe(gone);
  EXPECT_FALSE(signal.is_set());
  signal.set();
  signal.set();
  EXPECT_TRUE(signal.is_set());
  EXPECT_EQ(count, 1);
  signal.subscribe([&count] { ++count; });
  EXPECT_EQ(count, 2);
}

TEST(CallSignal, UnsubscribingWaitsForAnActionThatRuns) {
  for (int i = 0; i < 200; ++i) {
    CallSignal signal;
    auto alive = std::make_unique<int>(0);
    const auto subscription = signal.subscribe([&alive] { ++*alive; });
    std::thread setter([&signal] { signal.set(); });
    signal.unsubscribe(subscription);
    alive.reset();
    setter.join();
  }
}

}  // namespace
}  // namespace mh::net
