// Philox against the vectors of Random123, and what is built on it.
#include "proto/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace mh {
namespace {

using Block = std::array<std::uint32_t, 4>;

// Random123, kat_vectors, lines "philox4x32 10".
TEST(Philox, AgreesWithThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, GivesTheSameWordsInOrderAndByIndex) {
  Philox4x32 stream(7, 3);
  for (std::uint64_t block = 0; block < 5; ++block) {
    const Block expected = Philox4x32(7, 3).block(block);
    for (const std::uint32_t word : expected) EXPECT_EQ(stream.next(), word);
  }
}

TEST(Philox, DrawsBelowABoundReachEveryValueAndNoOther) {
  Philox4x32 stream(1);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(stream.below(7));
  EXPECT_EQ(seen.size(), 7U);
  EXPECT_EQ(*seen.rbegin(), 6U);
}

TEST(Philox, UniformNumbersLieInTheUnitInterval) {
  EXPECT_EQ(uniform_float(0), 0.0F);
  EXPECT_LT(uniform_float(0xffffffff), 1.0F);
  EXPECT_LT(uniform_double(~std::uint64_t{0}), 1.0);
}

TEST(Permutation, ReachesEveryIndexExactlyOnce) {
  for (const std::uint64_t size : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097, 60000}) {
    const Permutation permutation(size, 42);
    std::vector<bool> reached(size, false);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t image = permutation(i);
      ASSERT_LT(image, size);
      ASSERT_FALSE(reached[image]) << "size " << size << " index " << i;
      reached[image] = true;
    }
  }
}

TEST(Permutation, DependsOnItsKeyAndMixes) {
  const Permutation one(1000, 1);
  const Permutation two(1000, 2);
  int equal = 0;
  int in_place = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    equal += one(i) == two(i);
    in_place += one(i) == i;
  }
  EXPECT_LT(equal, 20);
  EXPECT_LT(in_place, 20);
}

TEST(Permutation, WorksForSizesThatNoTableCouldHold) {
  const std::uint64_t size = (std::uint64_t{1} << 40) + 12345;
  const Permutation permutation(size, 9);
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_LT(permutation(size - 1 - i), size);
}

TEST(RandomToken, IsLongAndNeverTheSame) {
  EXPECT_EQ(random_token().size(), 43U);
  EXPECT_NE(random_token(), random_token());
}

}  // namespace
}  // namespace mh
