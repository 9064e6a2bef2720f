// The command line of `manyhands` as far as no server is needed: exit codes, help, completion.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "client/cli/app.h"
#include "client/cli/verb.h"

namespace mh::cli {
namespace {

namespace fs = std::filesystem;

class CliTest : public ::testing::Test {
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

  int run(std::vector<const char*> words) {
    words.insert(words.begin(), "manyhands");
    out_.str("");
    err_.str("");
    return run_cli(static_cast<int>(words.size()), words.data(), out_, err_);
  }

  fs::path folder_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CliTest, MistakesAreExitCode2) {
  EXPECT_EQ(run({"job", "shwo"}), 2);
  EXPECT_EQ(run({"job"}), 2);
  EXPECT_EQ(run({"job", "show"}), 2);
  EXPECT_EQ(run({"job", "set", "1", "--priority", "101"}), 2);
  EXPECT_EQ(run({"job", "check", "no-such-file.yaml"}), 2);
  EXPECT_NE(err_.str().find("no-such-file.yaml"), std::string::npos);
  EXPECT_EQ(run({"dataset", "import", "x", "--train-inputs", "a.npy"}), 2);
  EXPECT_EQ(run({"dataset", "import", "x", "--train-inputs", "a.npy", "--train-targets", "b.npy",
                 "--to-dir", (folder_ / "data").c_str()}),
            2);
  EXPECT_NE(err_.str().find("a.npy"), std::string::npos);
  EXPECT_EQ(run({"completion", "fish"}), 2);
}

TEST_F(CliTest, AMistakeIsNamed) {
  EXPECT_EQ(run({"dataset", "import", "x", "--train-inputs", "a.npy", "--to-dir", ""}), 2);
  EXPECT_EQ(run({"dataset", "import", "x", "--train-inputs", "a.npy", "--train-targets", "b.npy",
                 "--seed", "99999999999999999999999"}),
            2);
  const fs::path file = folder_ / "latin.yaml";
  std::ofstream(file) << "name: a\nmodel: na\xEFve\n";
  EXPECT_EQ(run({"job", "check", file.c_str()}), 2);
  EXPECT_NE(err_.str().find("latin.yaml:2"), std::string::npos) << err_.str();
}

TEST_F(CliTest, AHugeJobFileIsRefusedAtOnce) {
  const fs::path file = folder_ / "huge.yaml";
  std::ofstream(file) << "# " << std::string(2'000'000, 'x');
  EXPECT_EQ(run({"job", "check", file.c_str()}), 2);
  EXPECT_NE(err_.str().find("1 MiB"), std::string::npos);
}

TEST_F(CliTest, WithoutLoginItIsExitCode3AndSaysWhatToDo) {
  EXPECT_EQ(run({"job", "list"}), 3);
  EXPECT_NE(err_.str().find("manyhands login URL"), std::string::npos);
}

TEST_F(CliTest, AServerThatIsNotThereIsExitCode3AndNamed) {
  EXPECT_EQ(run({"job", "list", "--server", "http://127.0.0.1:9"}), 3);
  EXPECT_NE(err_.str().find("127.0.0.1:9"), std::string::npos);
  EXPECT_EQ(run({"job", "wait", "1", "--patience", "0", "--server", "http://127.0.0.1:9"}), 3);
}

TEST_F(CliTest, AModelIsNotWrittenOverAFileUnasked) {
  const fs::path file = folder_ / "model.safetensors";
  std::ofstream(file) << "precious";
  EXPECT_EQ(run({"model", "download", "1", "--output", file.c_str()}), 2);
  EXPECT_NE(err_.str().find("--force"), std::string::npos);
  EXPECT_EQ(run({"model", "download", "1", "--output", "/no/such/folder/m"}), 2);
}

TEST_F(CliTest, EveryVerbHasHelpWithAnExample) {
  for (const Verb& verb : all_verbs()) {
    const std::string name = std::string(verb.group) + " " + verb.name;
    EXPECT_EQ(std::string(verb.example).find("source <(") == 0 ||
                  std::string(verb.example)
                          .find("manyhands " +
                                (*verb.group == '\0' ? std::string(verb.name) : name)) == 0,
              true)
        << name << ": " << verb.example;
    std::vector<const char*> words;
    if (*verb.group != '\0') words.push_back(verb.group);
    words.push_back(verb.name);
    words.push_back("--help");
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(run(words), 0) << name;
    const std::string help = ::testing::internal::GetCapturedStdout();
    EXPECT_NE(help.find("Example:"), std::string::npos) << name;
    EXPECT_NE(help.find("Exit codes:"), std::string::npos) << name;
  }
}

TEST_F(CliTest, NoVerbIsThereTwice) {
  std::set<std::string> names;
  for (const Verb& verb : all_verbs())
    EXPECT_TRUE(names.insert(std::string(verb.group) + " " + verb.name).second) << verb.name;
}

TEST_F(CliTest, TheCompletionScriptIsGoodBash) {
  EXPECT_EQ(run({"completion", "bash"}), 0);
  const fs::path file = folder_ / "completion.bash";
  std::ofstream(file) << out_.str()
                      << "COMP_WORDS=(manyhands job sh); COMP_CWORD=2; _manyhands\n"
                         "[[ \"${COMPREPLY[*]}\" == show ]] || exit 7\n"
                         "COMP_WORDS=(manyhands job set 1 --pri); COMP_CWORD=4; _manyhands\n"
                         "[[ \"${COMPREPLY[*]}\" == --priority ]] || exit 8\n"
                         "COMP_WORDS=(manyhands da); COMP_CWORD=1; _manyhands\n"
                         "[[ \"${COMPREPLY[*]}\" == dataset ]] || exit 9\n";
  // lint: allow banned-call, because the script under test is a shell's.
  EXPECT_EQ(std::system(("bash " + file.string()).c_str()), 0);
}

}  // namespace
}  // namespace mh::cli
