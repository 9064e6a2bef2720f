// Manual pages and completions made of a parser's own table.
#include "proto/base/program_manual.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>

namespace mh {
namespace {

class ProgramManual : public ::testing::Test {
 protected:
  ProgramManual() {
    app_.set_version_flag("--version", "1");
    CLI::App* run = app_.add_subcommand("run", "Work.");
    run->add_option("--threads", threads_, "How many")
        ->capture_default_str()
        ->check(CLI::Range(0, 8));
    run->add_option("FILE", file_, ".a leading dot, a back\\slash")->required();
    run->footer("Example:\n  program run x\n\nExit codes: 0 done; 1 not.");
    app_.add_subcommand("secret", "Not for people")->group("");
    CLI::App* group = app_.add_subcommand("job", "Jobs");
    group->add_subcommand("show", "Show one")->add_flag("--json", is_json_, "Print JSON");
  }
  bool page_has(const std::string& text) const {
    return manual_page(app_).find(text) != std::string::npos;
  }

  CLI::App app_{"program: does things", "program"};
  int threads_ = 3;
  std::string file_;
  bool is_json_ = false;
};

TEST_F(ProgramManual, NamesEveryVerbWithItsOptionsRangesAndDefaults) {
  EXPECT_TRUE(page_has(".TH PROGRAM 1 "));
  EXPECT_TRUE(page_has("program \\- does things\n"));
  EXPECT_TRUE(page_has(".SS \"program run FILE\"\nWork.\n"));
  EXPECT_TRUE(page_has("\\fB\\-\\-threads\\fR \\fIINT\\fR\nHow many (INT in [0 \\- 8]) [3]\n"));
  EXPECT_TRUE(page_has(".SS \"program job show\"\n"));
}

TEST_F(ProgramManual, LeavesOutWhatTheParserHides) {
  EXPECT_FALSE(page_has("secret"));
  EXPECT_EQ(bash_completion(app_).find("secret"), std::string::npos);
}

TEST_F(ProgramManual, KeepsTextFromBeingTakenForACommandOfRoff) {
  EXPECT_TRUE(page_has("\n\\&.a leading dot, a back\\eslash\n"));
}

TEST_F(ProgramManual, GathersExitCodesInOneSection) {
  EXPECT_TRUE(page_has("Example:\n  program run x\n"));
  EXPECT_TRUE(page_has(".SH EXIT STATUS\n0 done; 1 not.\n"));
  EXPECT_FALSE(page_has("Exit codes:"));
}

TEST_F(ProgramManual, CompletesVerbsOfGroupsAndOptionsOfVerbs) {
  const std::string script = bash_completion(app_);
  EXPECT_NE(script.find("'') words='run job --help --version' ;;"), std::string::npos);
  EXPECT_NE(script.find("'job') words='show --help' ;;"), std::string::npos);
  EXPECT_NE(script.find("'job show') words='--help --json' files=yes ;;"), std::string::npos);
  EXPECT_NE(script.find("complete -o filenames -F _program program"), std::string::npos);
}

}  // namespace
}  // namespace mh
