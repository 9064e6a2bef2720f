// Frames on pipes: whole ones, cut ones, and lengths that nobody should believe.
#include "trainer/engine/frames.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "proto/base/file.h"

namespace mh::engine {
namespace {

class Frames : public testing::Test {
 protected:
  Frames() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    read_end_ = UniqueFd(ends[0]);
    write_end_ = UniqueFd(ends[1]);
  }
  void put(std::string_view bytes) {
    ASSERT_EQ(::write(write_end_.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  Result<std::optional<std::string>> next() { return FrameReader(read_end_.get()).next(); }

  UniqueFd read_end_;
  UniqueFd write_end_;
};

TEST_F(Frames, ComeBackAsTheyWereWritten) {
  FrameWriter writer(write_end_.get());
  ASSERT_TRUE(writer.write("first"));
  ASSERT_TRUE(writer.write(""));
  ASSERT_TRUE(writer.write(std::string(1'000, 'x')));
  EXPECT_EQ(**next(), "first");
  EXPECT_EQ(**next(), "");
  EXPECT_EQ((*next())->size(), 1'000U);
  write_end_.reset();
  EXPECT_FALSE(next()->has_value());
}

TEST_F(Frames, ALengthOverTheLimitIsRefusedBeforeItIsRead) {
  put(std::string_view("\x01\x00\x10\x00", 4));
  EXPECT_EQ(next().error().code, Errc::kInvalidArgument);
  EXPECT_FALSE(FrameWriter(write_end_.get()).write(std::string(kFrameBytesMax + 1, 'x')));
}

TEST_F(Frames, AnEndInsideAFrameIsAnError) {
  put(std::string_view("\x05\x00", 2));
  write_end_.reset();
  EXPECT_FALSE(next());
}

}  // namespace
}  // namespace mh::engine
