// The serving loop over pipes: workunits as the daemon asks for them, and everything that may go
// wrong with it.
#include "trainer/engine/serve.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <thread>

#include "proto/base/file.h"
#include "tests/unit/engine/engine_fixture.h"
#include "tests/unit/engine/job_fixture.h"
#include "trainer/engine/frames.h"
#include "trainer/engine/loaded_job.h"
#include "trainer/update/tensor_pack.h"

namespace mh::engine {
namespace {

using Json = nlohmann::json;

class Serve : public JobFolder {
 protected:
  Serve() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    requests_read_ = UniqueFd(ends[0]);
    requests_ = UniqueFd(ends[1]);
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    replies_ = UniqueFd(ends[0]);
    replies_write_ = UniqueFd(ends[1]);
    spec_text_ = job_text();
    write_parameters(0);
  }
  ~Serve() override {
    requests_.reset();
    if (thread_.joinable()) thread_.join();
  }

  void start() {
    thread_ = std::thread([this] {
      exit_code_ = serve(requests_read_.get(), replies_write_.get(), cpu());
      replies_write_.reset();
    });
    EXPECT_EQ(reply()["type"], "ready");
  }
  int finish() {
    requests_.reset();
    thread_.join();
    return exit_code_;
  }

  /// A parameters pack of this step in the folder.
  void write_parameters(std::uint64_t step, float factor = 1) {
    const Result<JobFiles> job = files();
    ASSERT_TRUE(job) << job.error().message;
    parameters_ = model::initial_parameters(job->plan, 3);
    for (float& value : parameters_) value *= factor;
    update::PackHeader header;
    header.element_count = parameters_.size();
    header.step = step;
    header.layout_digest = job->plan.layout_digest;
    const std::vector<std::byte> pack = update::make_pack(header, parameters_);
    pack_digest_ = sha256(pack);
    write("parameters", std::string(reinterpret_cast<const char*>(pack.data()), pack.size()));
  }

  Json compute(std::uint64_t result_id, std::uint64_t begin = 0, std::uint64_t end = 8) const {
    const std::string manifest = *read_file(path("data/manifest.json"), 1 << 20);
    return {{"type", "compute"},
            {"result_id", result_id},
            {"kind", "gradient"},
            {"job_path", path("job.yaml").string()},
            {"job_digest", sha256(spec_text_).hex()},
            {"parameters_path", path("parameters").string()},
            {"parameters_digest", pack_digest_.hex()},
            {"manifest_path", path("data/manifest.json").string()},
            {"manifest_digest", sha256(manifest).hex()},
            {"chunk_dir", path("data").string()},
            {"step", 0},
            {"begin", begin},
            {"end", end},
            {"split", "train"},
            {"update_path", path(std::to_string(result_id) + ".update").string()}};
  }

  void send(const Json& message) {
    ASSERT_TRUE(FrameWriter(requests_.get()).write(message.dump()));
  }
  void send_raw(std::string_view bytes) {
    ASSERT_EQ(::write(requests_.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }

  /// The next message that is no progress; null at the end of the stream.
  Json reply() {
    while (true) {
      pollfd waiting{replies_.get(), POLLIN, 0};
      EXPECT_EQ(::poll(&waiting, 1, 20'000), 1) << "no reply within 20 s";
      Result<std::optional<std::string>> frame = FrameReader(replies_.get()).next();
      EXPECT_TRUE(frame) << (frame ? "" : frame.error().message);
      if (!frame || !*frame) return nullptr;
      Json message = Json::parse(**frame);
      if (message["type"] != "progress") return message;
    }
  }
  std::string error_of(const Json& request) {
    send(request);
    const Json answer = reply();
    EXPECT_EQ(answer["type"], "failed") << answer;
    EXPECT_EQ(answer["result_id"], request["result_id"]);
    return answer.value("error", "");
  }

  std::string spec_text_;
  std::vector<float> parameters_;
  Digest pack_digest_;
  UniqueFd requests_read_;
  UniqueFd requests_;
  UniqueFd replies_;
  UniqueFd replies_write_;
  std::thread thread_;
  int exit_code_ = -1;
};

TEST_F(Serve, WritesTheUpdateThatTheReferenceRunWouldCompute) {
  start();
  send(compute(1, 8, 16));
  const Json done = reply();
  ASSERT_EQ(done["type"], "done") << done;
  const std::string update = *read_file(path("1.update"), 1 << 20);
  EXPECT_EQ(done["update_bytes"], update.size());
  EXPECT_EQ(done["update_digest"], sha256(update).hex());
  update::UpdateExpectation expected;
  expected.layout_digest = files()->plan.layout_digest;
  expected.element_count = parameters_.size();
  expected.sample_count = 8;
  const auto bytes = std::as_bytes(std::span(update));
  EXPECT_TRUE(update::screen_update(bytes, expected));

  auto job = LoadedJob::load(*files(), cpu(), 1, update::ChunkCheck::kDigest);
  ASSERT_TRUE((*job)->set_parameters(parameters_));
  std::vector<float> gradient(parameters_.size());
  const Result<Sums> sums = (*job)->gradient({8, 16}, gradient);
  ASSERT_TRUE(sums);
  EXPECT_EQ(done["loss_sum"].get<double>(), sums->loss_sum);
  EXPECT_EQ(done["correct_count"].get<std::uint64_t>(), sums->correct_count);
  EXPECT_EQ(std::memcmp(update.data() + update::kPackHeaderBytes, gradient.data(),
                        gradient.size() * sizeof(float)),
            0);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, AnswersInOrderAndTheSameWorkunitWithTheSameBits) {
  start();
  for (std::uint64_t id = 1; id <= 3; ++id) send(compute(id, id == 2 ? 8 : 0, id == 2 ? 16 : 8));
  std::vector<std::string> digests;
  for (std::uint64_t id = 1; id <= 3; ++id) {
    const Json done = reply();
    ASSERT_EQ(done["type"], "done") << done;
    EXPECT_EQ(done["result_id"], id);
    digests.push_back(done["update_digest"]);
  }
  EXPECT_EQ(digests[0], digests[2]);
  EXPECT_NE(digests[0], digests[1]);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, EvaluatesARangeOfASplit) {
  start();
  Json request = compute(5, 0, 20);
  request["kind"] = "evaluation";
  request["split"] = "test";
  request.erase("update_path");
  send(request);
  const Json done = reply();
  ASSERT_EQ(done["type"], "done") << done;
  EXPECT_EQ(done["update_bytes"], 0);
  EXPECT_GT(done["loss_sum"].get<double>(), 0);
  request["split"] = "val";
  EXPECT_NE(error_of(request).find("val"), std::string::npos);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, SaysWhatIsWrongWithAWorkunitAndGoesOn) {
  start();
  const auto changed = [&](const char* key, const Json& value) {
    Json request = compute(4);
    request[key] = value;
    return error_of(request);
  };
  EXPECT_NE(changed("job_path", path("none").string()).find("none"), std::string::npos);
  EXPECT_NE(changed("job_digest", std::string(64, '0')).find("SHA-256"), std::string::npos);
  EXPECT_NE(changed("parameters_path", path("none").string()).find("none"), std::string::npos);
  EXPECT_NE(changed("manifest_digest", std::string(64, '0')).find("SHA-256"), std::string::npos);
  EXPECT_NE(changed("chunk_dir", path("empty").string()).find("empty"), std::string::npos);
  EXPECT_NE(changed("step", 2).find("step 2"), std::string::npos);
  EXPECT_NE(changed("end", 7).find("micro-batch"), std::string::npos);
  EXPECT_NE(changed("end", std::uint64_t{1} << 60).find("16 samples"), std::string::npos);
  EXPECT_NE(changed("update_path", path("none/x").string()).find("none/x"), std::string::npos);
  EXPECT_NE(changed("kind", "guess").find("guess"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path("4.update")));
  send(compute(9));
  EXPECT_EQ(reply()["type"], "done");
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, RefusesParametersOfAnotherModel) {
  start();
  std::string pack = *read_file(path("parameters"), 1 << 20);
  write("parameters", pack.substr(0, pack.size() - 4));
  pack_digest_ = sha256(pack.substr(0, pack.size() - 4));
  EXPECT_NE(error_of(compute(1)), "");
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, ALossThatIsNoNumberIsAFailureWithAdvice) {
  write_parameters(0, 1e30F);
  start();
  const std::string error = error_of(compute(1));
  EXPECT_NE(error.find("the loss is NaN"), std::string::npos) << error;
  EXPECT_NE(error.find("learning_rate"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(path("1.update")));
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, ACancelledWorkunitThatWaitsIsAnsweredAsCancelled) {
  start();
  // The first keeps the trainer busy for a while: it reads files and builds the model.
  send(compute(1));
  send(compute(2));
  send({{"type", "cancel"}, {"result_id", 2}});
  send({{"type", "cancel"}, {"result_id", 77}});
  std::vector<Json> answers = {reply(), reply()};
  EXPECT_EQ(answers[0]["result_id"], 1);
  EXPECT_EQ(answers[1]["result_id"], 2);
  if (answers[1]["type"] == "failed") {
    EXPECT_EQ(answers[1]["error"], "cancelled");
  }
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, MoreWorkThanMayWaitIsRefused) {
  start();
  std::string burst;
  for (std::uint64_t id = 1; id <= 12; ++id) send(compute(id));
  std::size_t refused = 0;
  for (std::uint64_t id = 1; id <= 12; ++id) {
    const Json answer = reply();
    EXPECT_EQ(answer["result_id"], id);
    if (answer["type"] == "failed") ++refused;
  }
  EXPECT_LE(refused, 12 - kQueueMax);
  EXPECT_EQ(finish(), 0);
}

TEST_F(Serve, EndsWithZeroAtTheEndOfInputAndOnExit) {
  start();
  send(compute(1));
  send({{"type", "exit"}});
  thread_.join();
  EXPECT_EQ(exit_code_, 0);
}

TEST_F(Serve, EndsWithTwoWhenTheInputIsNoSequenceOfFrames) {
  start();
  send_raw(std::string_view("\xff\xff\xff\x7f", 4));
  thread_.join();
  EXPECT_EQ(exit_code_, 2);
}

TEST_F(Serve, EndsWithTwoWhenAFrameIsNoMessage) {
  start();
  ASSERT_TRUE(FrameWriter(requests_.get()).write("nonsense"));
  thread_.join();
  EXPECT_EQ(exit_code_, 2);
}

TEST_F(Serve, EndsWithTwoWhenTheInputEndsInsideAFrame) {
  start();
  send_raw(std::string_view("\x10\0\0\0abc", 7));
  EXPECT_EQ(finish(), 2);
}

}  // namespace
}  // namespace mh::engine
