// Whatever stands in the place of an update, the daemon takes a plain file of the right size or
// nothing.
#include "client/daemon/outbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>

namespace mh::client {
namespace {

namespace fs = std::filesystem;

class OutboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "manyhands-outbox-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directory(root_ / "out");
    outbox_.emplace(root_ / "out");
    ASSERT_TRUE(outbox_->prepare(kResult, 100).has_value());
    path_ = outbox_->path(kResult);
    target_ = root_ / "taken";
  }
  void TearDown() override { fs::remove_all(root_); }

  // What take() finds wrong; empty: nothing.
  std::string take(std::uint64_t bytes) {
    const Status taken = outbox_->take(kResult, bytes, target_);
    EXPECT_EQ(taken.has_value(), fs::exists(fs::symlink_status(target_)));
    EXPECT_FALSE(outbox_->is_prepared(kResult));
    return taken.has_value() ? "" : taken.error().message;
  }
  void fill(std::size_t bytes) { std::ofstream(path_) << std::string(bytes, 'x'); }

  static constexpr ResultId kResult{7};
  fs::path root_;
  fs::path path_;
  fs::path target_;
  std::optional<Outbox> outbox_;
};

TEST_F(OutboxTest, APlainFileOfTheSizeThatWasToldIsMoved) {
  fill(40);
  EXPECT_EQ(take(40), "");
  EXPECT_EQ(fs::file_size(target_), 40u);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(OutboxTest, AnotherSizeThanToldIsRefused) {
  fill(40);
  EXPECT_NE(take(41).find("40 bytes, the trainer says 41"), std::string::npos);
}

TEST_F(OutboxTest, MoreThanTheParametersAllowIsRefusedUnseen) {
  fill(40);
  EXPECT_NE(take(101).find("the most for these parameters is 100"), std::string::npos);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(OutboxTest, NothingAndNoFileAreRefused) {
  EXPECT_NE(take(0), "");
  ASSERT_TRUE(outbox_->prepare(kResult, 100).has_value());
  fs::remove(path_);
  EXPECT_NE(take(10), "");
}

TEST_F(OutboxTest, ALinkIsNotFollowed) {
  std::ofstream(root_ / "secret") << "0123456789";
  fs::remove(path_);
  fs::create_symlink(root_ / "secret", path_);
  EXPECT_NE(take(10).find("no plain file"), std::string::npos);
  EXPECT_TRUE(fs::exists(root_ / "secret"));
}

TEST_F(OutboxTest, ASecondNameIsRefused) {
  fs::remove(path_);
  std::ofstream(root_ / "secret") << "0123456789";
  ::chmod((root_ / "secret").c_str(), 0600);
  fs::create_hard_link(root_ / "secret", path_);
  EXPECT_NE(take(10).find("has other names"), std::string::npos);
  EXPECT_TRUE(fs::exists(root_ / "secret"));
}

TEST_F(OutboxTest, AFifoDoesNotBlockAndIsRefused) {
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_NE(take(10).find("no plain file"), std::string::npos);
}

TEST_F(OutboxTest, AFolderIsRefusedWithWhatIsInIt) {
  fs::remove(path_);
  fs::create_directories(path_ / "deep");
  EXPECT_NE(take(10).find("no plain file"), std::string::npos);
}

TEST_F(OutboxTest, ASetuidFileIsRefused) {
  fill(10);
  ::chmod(path_.c_str(), 04755);
  EXPECT_NE(take(10).find("other rights"), std::string::npos);
}

TEST_F(OutboxTest, WhatWasNotAskedForIsNotTaken) {
  std::ofstream(outbox_->path(ResultId(8))) << "0123456789";
  EXPECT_FALSE(outbox_->take(ResultId(8), 10, target_).has_value());
  EXPECT_FALSE(fs::exists(target_));
}

TEST_F(OutboxTest, IsEmptyAfterClear) {
  fs::create_symlink(root_, root_ / "out" / "link");
  outbox_->clear();
  EXPECT_TRUE(fs::is_empty(root_ / "out"));
  EXPECT_TRUE(fs::exists(root_));
  EXPECT_FALSE(outbox_->is_prepared(kResult));
}

}  // namespace
}  // namespace mh::client
