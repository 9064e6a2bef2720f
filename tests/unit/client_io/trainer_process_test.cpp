// The trainer as a process, played by small shell scripts; and the control socket.
#include "client/daemon/trainer_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "client/daemon/control_socket.h"

namespace mh::client {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "manyhands-process-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ::signal(SIGPIPE, SIG_IGN);
  }
  void TearDown() override {
    trainer_.reset();
    fs::remove_all(folder_);
  }

  // Starts a script that has the shell function `say JSON`, which sends a frame.
  void start(const std::string& body, int nice_increment = 0) {
    const fs::path script = folder_ / "trainer";
    std::ofstream(script)
        << "#!/bin/bash\nsay() { printf \"\\\\x$(printf %02x ${#1})\\\\0\\\\0\\\\0%s\" "
           "\"$1\"; }\n"
        << body << "\n";
    ::chmod(script.c_str(), 0755);
    TrainerHandlers handlers;
    handlers.on_message = [this](TrainerMessage message) {
      messages_.push_back(std::move(message));
    };
    handlers.on_text = [this](const std::string& line) { lines_.push_back(line); };
    handlers.on_ended = [this](std::string how) { ended_ = std::move(how); };
    auto started = TrainerProcess::start(io_.get_executor(),
                                         {.program = script,
                                          .arguments = {},
                                          .nice_increment = nice_increment,
                                          .is_idle_class = false},
                                         std::move(handlers));
    ASSERT_TRUE(started.has_value()) << started.error().message;
    trainer_.emplace(*std::move(started));
  }
  void run_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(10);
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      io_.restart();
      io_.run_for(std::chrono::milliseconds(20));
    }
    EXPECT_TRUE(condition()) << "did not happen within 10 s";
  }

  fs::path folder_;
  boost::asio::io_context io_;
  std::optional<TrainerProcess> trainer_;
  std::vector<TrainerMessage> messages_;
  std::vector<std::string> lines_;
  std::optional<std::string> ended_;
};

constexpr const char* kReady =
    R"(say '{"type":"ready","device":"cpu","device_model":"shell","threads":1,"note":""}')";

TEST_F(ProcessTest, MessagesComeThroughThenTheEndIsTold) {
  start(std::string(kReady) + "\nexit 3");
  run_until([this] { return ended_.has_value(); });
  ASSERT_EQ(messages_.size(), 1u);
  EXPECT_EQ(std::get<TrainerReady>(messages_[0]).device_model, "shell");
  EXPECT_EQ(*ended_, "exit code 3");
}

TEST_F(ProcessTest, FramesReachItsStandardInput) {
  start("head -c 30 | tail -c 25 > '" + (folder_ / "input").string() + "'; " + kReady +
        "; sleep 20");
  trainer_->send(cancel_frame(ResultId(5)));
  run_until([this] { return messages_.size() == 1; });
  std::string input;
  std::ifstream file(folder_ / "input");
  std::getline(file, input);
  EXPECT_EQ(input, cancel_frame(ResultId(5)).substr(5, 25)) << "the length, then JSON";
}

TEST_F(ProcessTest, ATrainerThatIsKilledIsNoticed) {
  start(std::string(kReady) + "\nsleep 60");
  run_until([this] { return messages_.size() == 1; });
  ::kill(trainer_->pid(), SIGKILL);
  run_until([this] { return ended_.has_value(); });
  EXPECT_EQ(*ended_, "signal 9 (Killed)");
}

TEST_F(ProcessTest, ATrainerThatTalksNonsenseIsEnded) {
  start("printf 'what is a frame?'; sleep 60");
  run_until([this] { return ended_.has_value(); });
  EXPECT_NE(ended_->find("the trainer sent a frame of"), std::string::npos) << *ended_;
}

TEST_F(ProcessTest, ATrainerThatTalksWithoutEndIsEnded) {
  start(std::string("while true; do ") + kReady + "; done");
  run_until([this] { return ended_.has_value(); });
  EXPECT_EQ(*ended_, "the trainer sent more messages than it was asked for");
  EXPECT_LT(messages_.size(), 1200u);
}

TEST_F(ProcessTest, DeeplyNestedNonsenseIsAnErrorLikeAnyOther) {
  // A frame of 900,000 opening brackets.
  start("printf '\\xa0\\xbb\\x0d\\x00'; head -c 900000 /dev/zero | tr '\\0' '['; sleep 60");
  run_until([this] { return ended_.has_value(); });
  EXPECT_NE(ended_->find("no JSON object"), std::string::npos) << *ended_;
}

TEST_F(ProcessTest, WhatItWritesToStandardErrorComesAsLinesAndExplainsItsEnd) {
  start("echo 'one; \x1b[31m' >&2; echo -n 'no such library' >&2; exit 127");
  run_until([this] { return ended_.has_value(); });
  EXPECT_EQ(*ended_, "exit code 127: no such library");
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0], "one;  [31m");
}

TEST_F(ProcessTest, ATrainerThatClosesItsOutputIsEnded) {
  start("exec 1>&-; sleep 60");
  run_until([this] { return ended_.has_value(); });
  EXPECT_EQ(*ended_, "signal 9 (Killed)");
}

TEST_F(ProcessTest, LettingGoKillsTheWholeGroupSilently) {
  start("sleep 60 & echo $! > '" + (folder_ / "child").string() + "'; " + kReady + "; wait");
  run_until([this] { return messages_.size() == 1; });
  pid_t child = 0;
  std::ifstream(folder_ / "child") >> child;
  ASSERT_GT(child, 0);
  trainer_.reset();
  run_until([child] {
    // Gone, or a zombie that nobody has collected yet.
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name, state;
    stat >> pid >> name >> state;
    return !stat || state == "Z";
  });
  EXPECT_FALSE(ended_.has_value());
}

TEST_F(ProcessTest, RunsAtLowestPriorityInItsOwnGroup) {
  start(std::string(kReady) + "\nsleep 60", 19);
  run_until([this] { return messages_.size() == 1; });
  // Nineteen beyond this process's own, which is the end unless somebody runs the tests above 0.
  const int lowest = std::min(19, ::getpriority(PRIO_PROCESS, 0) + 19);
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(trainer_->pid())), lowest);
  EXPECT_EQ(::getpgid(trainer_->pid()), trainer_->pid());
}

TEST_F(ProcessTest, AProgramThatIsNotThereIsAnError) {
  auto started = TrainerProcess::start(io_.get_executor(),
                                       {.program = folder_ / "nothing",
                                        .arguments = {},
                                        .nice_increment = 0,
                                        .is_idle_class = false},
                                       {});
  ASSERT_FALSE(started.has_value());
  EXPECT_NE(started.error().message.find("nothing"), std::string::npos);
}

class ControlSocketTest : public ProcessTest {
 protected:
  // Asks from another thread while the server runs here.
  Result<std::string> ask(const fs::path& socket, const std::string& verb) {
    Result<std::string> reply = fail(Errc::kUnknown, "not asked");
    std::thread asker([&] { reply = ask_daemon(socket, verb); });
    io_.restart();
    io_.run_for(std::chrono::milliseconds(300));
    asker.join();
    return reply;
  }
};

TEST_F(ControlSocketTest, AnswersAVerb) {
  const fs::path socket = folder_ / "control.sock";
  auto server = ControlServer::start(io_.get_executor(), socket, [](const std::string& verb) {
    return R"({"ok":true,"verb":")" + verb + "\"}";
  });
  ASSERT_TRUE(server.has_value());
  const auto reply = ask(socket, "status");
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_EQ(*reply, R"({"ok":true,"verb":"status"})");
  struct stat info {};
  ASSERT_EQ(::stat(socket.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ControlSocketTest, APathLongerThanAnAddressWorks) {
  const fs::path deep = folder_ / std::string(100, 'x') / std::string(100, 'y');
  fs::create_directories(deep);
  auto server = ControlServer::start(io_.get_executor(), deep / "control.sock",
                                     [](const std::string&) { return R"({"ok":true})"; });
  ASSERT_TRUE(server.has_value()) << server.error().message;
  EXPECT_TRUE(ask(deep / "control.sock", "status").has_value());
}

TEST_F(ControlSocketTest, ReplacesTheSocketOfAKilledDaemon) {
  const fs::path socket = folder_ / "control.sock";
  std::ofstream(socket) << "left over";
  auto server = ControlServer::start(io_.get_executor(), socket,
                                     [](const std::string&) { return R"({"ok":true})"; });
  EXPECT_TRUE(server.has_value());
}

TEST_F(ControlSocketTest, NoDaemonIsSaidPlainly) {
  const auto reply = ask_daemon(folder_ / "control.sock", "status");
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().code, Errc::kNotFound);
  EXPECT_NE(reply.error().message.find("manyhands-client run"), std::string::npos);
}

}  // namespace
}  // namespace mh::client
