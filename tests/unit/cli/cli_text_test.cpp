// What `manyhands` prints for people, and which login it uses.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "client/cli/job_text.h"
#include "client/cli/login.h"
#include "client/cli/table.h"
#include "proto/base/sha256.h"
#include "proto/net/certificate.h"

namespace mh::cli {
namespace {

namespace v1 = manyhands::v1;
namespace fs = std::filesystem;

TEST(Table, AlignsColumnsByTheirWidestCell) {
  Table table({{"ID", Table::Align::kRight}, {"NAME"}});
  table.add_row({"1", "ada"});
  table.add_row({"1234", "é"});
  EXPECT_EQ(table.text(), "  ID  NAME\n   1  ada\n1234  é\n");
}

TEST(Table, MakesForeignTextSafeForATerminal) {
  Table table({{"NAME"}});
  table.add_row({"a\x1b[2Jb\n"});
  EXPECT_EQ(table.text(), "NAME\na?[2Jb?\n");
}

TEST(Table, NumbersHaveUnits) {
  EXPECT_EQ(with_commas(12345678), "12,345,678");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(duration_text(3725), "62 min 5 s");
  EXPECT_EQ(duration_text(7500), "2 h 5 min");
  EXPECT_EQ(duration_text(3600 * 50), "2 d 2 h");
  EXPECT_EQ(duration_text(-1), "—");
  EXPECT_EQ(time_text(0), "—");
  EXPECT_EQ(shape_text(std::vector<int>{1, 28, 28}), "1×28×28");
}

v1::Job running_job() {
  v1::Job job;
  job.set_id(1);
  job.set_name("study");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_step(700);
  job.set_step_count(1407);
  job.set_samples_per_step(128);
  job.set_training_loss(0.31234);
  job.set_samples_per_second(2345.6);
  job.set_active_host_count(3);
  job.set_eta_seconds(38.4);
  v1::Evaluation& evaluation = *job.mutable_last_evaluation();
  evaluation.set_split("test");
  evaluation.set_accuracy(0.8912);
  return job;
}

TEST(JobText, ProgressIsOneLine) {
  EXPECT_EQ(progress_text(running_job()),
            "step 700 of 1,407  loss 0.3123  test accuracy 0.8912  2,345 samples/s  3 volunteers  "
            "ETA 38 s");
  v1::Job waiting = running_job();
  waiting.set_eta_seconds(-1);
  waiting.set_waiting_reason("no volunteers");
  EXPECT_NE(progress_text(waiting).find("3 volunteers  (no volunteers)"), std::string::npos);
  waiting.set_state(v1::JOB_STATE_PAUSED);
  EXPECT_NE(progress_text(waiting).find("paused"), std::string::npos);
}

TEST(JobText, ProblemsNameFileLineColumnAndPath) {
  v1::CheckJobResponse reply;
  v1::JobProblem& first = *reply.add_problems();
  first.set_line(3);
  first.set_column(7);
  first.set_path("optimizer.kind");
  first.set_message("'sdg' is unknown; did you mean 'sgd'?");
  reply.add_problems()->set_message("the file is empty");
  EXPECT_EQ(problems_text("a.yaml", reply),
            "a.yaml:3:7: optimizer.kind: 'sdg' is unknown; did you mean 'sgd'?\n"
            "a.yaml: the file is empty\n");
}

TEST(JobText, TheSummarySaysWhetherEachSampleWasCountedOnce) {
  v1::GetJobSummaryResponse summary;
  *summary.mutable_job() = running_job();
  summary.set_samples_counted(89600);
  summary.set_samples_expected(89600);
  EXPECT_NE(summary_text(summary).find("89,600 counted, 89,600 expected (700 steps × 128); counted "
                                       "twice: 0, missing: 0. Each was counted exactly once."),
            std::string::npos);
  summary.set_samples_doubled(1);
  EXPECT_NE(summary_text(summary).find("THIS IS NOT EXACT"), std::string::npos);
}

class LoginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "manyhands-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    ::setenv("XDG_CONFIG_HOME", name.c_str(), 1);
    ::unsetenv("MANYHANDS_SERVER");
    ::unsetenv("MANYHANDS_TOKEN");
  }
  void TearDown() override {
    ::unsetenv("MANYHANDS_SERVER");
    ::unsetenv("MANYHANDS_TOKEN");
    fs::remove_all(folder_);
  }

  fs::path folder_;
};

Login login_of(const std::string& server, const std::string& token) {
  Login login;
  login.server = server;
  login.token = token;
  return login;
}

TEST_F(LoginTest, FlagsWinOverTheEnvironmentAndThatOverTheLogin) {
  ASSERT_TRUE(save_login(login_of("https://kept:1", "kept-token")).has_value());
  EXPECT_EQ(find_login({})->server, "https://kept:1");
  EXPECT_EQ(find_login({})->token, "kept-token");
  ::setenv("MANYHANDS_SERVER", "https://environment:2", 1);
  EXPECT_EQ(find_login({})->server, "https://environment:2");
  EXPECT_EQ(find_login({})->token, "") << "a token is for its own server only";
  ::setenv("MANYHANDS_TOKEN", "environment-token", 1);
  EXPECT_EQ(find_login({})->token, "environment-token");
  const fs::path file = folder_ / "token";
  std::ofstream(file) << "file-token\n";
  LoginFlags flags;
  flags.server = "https://flag:3";
  flags.token_file = file.string();
  EXPECT_EQ(find_login(flags)->server, "https://flag:3");
  EXPECT_EQ(find_login(flags)->token, "file-token");
}

TEST_F(LoginTest, TheLoginIsReadableByItsOwnerOnly) {
  ASSERT_TRUE(save_login(login_of("https://kept:1", "secret")).has_value());
  EXPECT_EQ(fs::status(login_path()).permissions() & fs::perms::all,
            fs::perms::owner_read | fs::perms::owner_write);
  ASSERT_TRUE(forget_login().has_value());
  EXPECT_FALSE(find_login({}).has_value());
}

TEST_F(LoginTest, ATokenGoesOnlyToTheKeyThatItWasGivenFor) {
  const std::string mark = net::fingerprint_text(sha256("key"));
  const std::string other = net::fingerprint_text(sha256("other key"));
  Login login = parse_server("https://kept:1/#@" + mark, {}).value();
  EXPECT_EQ(login.server, "https://kept:1");
  EXPECT_EQ(login.fingerprint, mark);
  login.token = "kept-token";
  ASSERT_TRUE(save_login(login).has_value());
  for (const std::string& same : {std::string("https://kept:1"), "https://kept:1/#@" + mark}) {
    ::setenv("MANYHANDS_SERVER", same.c_str(), 1);
    EXPECT_EQ(find_login({})->token, "kept-token");
    EXPECT_EQ(find_login({})->fingerprint, mark);
  }
  ::setenv("MANYHANDS_SERVER", ("https://kept:1/#@" + other).c_str(), 1);
  EXPECT_EQ(find_login({})->token, "");
  EXPECT_EQ(find_login({})->fingerprint, other);
}

TEST_F(LoginTest, PlainHttpBeyondThisMachineMustBeAskedFor) {
  LoginFlags flags;
  flags.server = "http://example.org";
  EXPECT_EQ(find_login(flags).error().code, Errc::kInvalidArgument);
  flags.is_insecure_http = true;
  EXPECT_TRUE(find_login(flags)->is_insecure_http);
  ASSERT_TRUE(save_login(*find_login(flags)).has_value());
  EXPECT_TRUE(find_login({})->is_insecure_http);
}

}  // namespace
}  // namespace mh::cli
