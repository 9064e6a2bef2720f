// A trainer's words reach log and terminal as text, and not without measure.
#include "client/daemon/trainer_talk.h"

#include <gtest/gtest.h>

#include "proto/base/utf8.h"

namespace mh::client {
namespace {

using std::chrono::seconds;
const Allowance::Time kStart = Allowance::Time() + seconds(1000);

TEST(TrainerTalk, ControlCharactersBecomeSpaces) {
  EXPECT_EQ(plain_text("\x1b]0;owned\x07 a\tb\x7f", 100), " ]0;owned  a b ");
  EXPECT_EQ(plain_text("\xC2\x9B"
                       "31m",
                       100),
            " 31m")
      << "the C1 form of ESC [";
}

TEST(TrainerTalk, TextStaysText) {
  EXPECT_EQ(plain_text("Größe 4 µm, 量", 100), "Größe 4 µm, 量");
  EXPECT_EQ(plain_text("Größe", 3), "Gr") << "cut between characters";
  EXPECT_EQ(plain_text("a\xFF\xC3z", 100), "a  z");
}

TEST(TrainerTalk, LinesAreCutFromTheStream) {
  TrainerText text;
  EXPECT_TRUE(text.add("half a li", kStart).empty());
  EXPECT_EQ(text.last_line(), "half a li");
  const auto lines = text.add("ne\n\nanother\n", kStart);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "half a line");
  EXPECT_EQ(lines[1], "another");
  EXPECT_EQ(text.last_line(), "another");
}

TEST(TrainerTalk, AFloodIsCutOffOnceAndTheLastWordsAreKnown) {
  TrainerText text;
  std::size_t bytes = 0;
  std::size_t count = 0;
  for (int i = 0; i < 10'000; ++i) {
    for (const std::string& line : text.add(std::string(400, 'x') + "\n", kStart)) {
      bytes += line.size();
      ++count;
    }
  }
  EXPECT_LE(bytes, 70'000u);
  EXPECT_EQ(count, 65536u / 400 + 1);
  EXPECT_TRUE(text.add(std::string(400, 'y') + "\n", kStart).empty());
  EXPECT_EQ(text.last_line(), std::string(400, 'y'));
  EXPECT_EQ(text.add("later\n", kStart + seconds(10)).size(), 1u);
}

TEST(TrainerTalk, AnEndlessLineTakesNoMemory) {
  TrainerText text;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(text.add(std::string(10'000, 'x'), kStart).empty());
  EXPECT_EQ(text.last_line().size(), 500u);
}

TEST(TrainerTalk, AnAllowanceFillsUpWithTime) {
  Allowance allowance(10, 2);
  EXPECT_TRUE(allowance.take(10, kStart));
  EXPECT_FALSE(allowance.take(1, kStart));
  EXPECT_TRUE(allowance.take(4, kStart + seconds(2)));
  EXPECT_FALSE(allowance.take(1, kStart + seconds(2)));
  allowance.add(1);
  EXPECT_TRUE(allowance.take(1, kStart + seconds(2)));
  EXPECT_TRUE(allowance.take(10, kStart + seconds(1000)));
  EXPECT_FALSE(allowance.take(1, kStart + seconds(1000))) << "never more than the most";
}

}  // namespace
}  // namespace mh::client
