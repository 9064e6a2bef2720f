// The tensor pack: golden bytes of version 1, and hostile ones.
#include "trainer/update/tensor_pack.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <limits>

#include "proto/base/bytes.h"
#include "proto/base/file.h"
#include "proto/base/random.h"

namespace mh::update {
namespace {

using testing::Test;

const std::string kGolden = std::string(MH_SOURCE_DIR) + "/tests/golden/";

PackHeader gradient_header() {
  PackHeader header;
  header.kind = PackKind::kGradientSum;
  header.element_count = 3;
  header.step = 7;
  header.sample_count = 32;
  header.layout_digest = sha256("manyhands-layout/1\n0.weight f32 2x1\n");
  return header;
}

const std::vector<float> kGradient = {1.5F, -2.0F, 0.25F};

UpdateExpectation gradient_expectation() { return {gradient_header().layout_digest, 3, 7, 32}; }

std::vector<std::byte> gradient_pack() { return make_pack(gradient_header(), kGradient); }

/// Corrects the header's checksum after a change.
void seal(std::vector<std::byte>& pack) {
  store_le<std::uint32_t>(pack.data() + 88, crc32(std::span(pack).first(88)));
}

template <class T>
std::string error_after(std::size_t offset, T value) {
  std::vector<std::byte> pack = gradient_pack();
  store_le<T>(pack.data() + offset, value);
  seal(pack);
  const auto view = view_pack(pack);
  return view ? "" : view.error().message;
}

TEST(TensorPack, WritesTheGoldenBytesOfVersionOne) {
  const std::string golden = read_file(kGolden + "tensor_pack_v1_gradient.bin", 1'000).value();
  EXPECT_EQ(as_text(gradient_pack()), golden);
}

TEST(TensorPack, ReadsTheGoldenBytesOfVersionOne) {
  const std::string golden = read_file(kGolden + "tensor_pack_v1_optimizer.bin", 1'000).value();
  const PackView view = view_pack(as_bytes(golden)).value();
  EXPECT_EQ(view.header.kind, PackKind::kOptimizerState);
  EXPECT_EQ(view.header.slots, 2U);
  EXPECT_EQ(view.header.element_count, 3U);
  EXPECT_EQ(view.header.step, 8U);
  EXPECT_EQ(view.slot(1)[0], 4.0F);
  EXPECT_EQ(golden.size(), pack_size(PackKind::kOptimizerState, 2, 3));
}

TEST(TensorPack, GivesBackWhatWasPacked) {
  const std::vector<std::byte> pack = gradient_pack();
  const PackView view = view_pack(pack).value();
  EXPECT_EQ(view.header, gradient_header());
  EXPECT_EQ(std::vector<float>(view.values().begin(), view.values().end()), kGradient);
  EXPECT_EQ(pack.size(), update_size(3));
}

TEST(TensorPack, HoldsTheStateOfAnOptimizerThatHasNone) {
  PackHeader header = gradient_header();
  header.kind = PackKind::kOptimizerState;
  header.slots = 0;
  const std::vector<std::byte> pack = make_pack(header, {});
  EXPECT_EQ(pack.size(), kPackHeaderBytes);
  EXPECT_EQ(view_pack(pack).value().values().size(), 0U);
}

TEST(TensorPack, RefusesEveryTruncationAndAnyExtraByte) {
  std::vector<std::byte> pack = gradient_pack();
  for (std::size_t length = 0; length < pack.size(); ++length) {
    EXPECT_FALSE(view_pack(std::span(pack).first(length))) << length;
  }
  pack.push_back(std::byte{0});
  EXPECT_EQ(view_pack(pack).error().message, "tensor pack: length is 109, expected 108");
}

TEST(TensorPack, RefusesEveryChangedBitOfItsHeader) {
  for (std::size_t bit = 0; bit < kPackHeaderBytes * 8; ++bit) {
    std::vector<std::byte> pack = gradient_pack();
    pack[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(view_pack(pack)) << "bit " << bit;
  }
}

TEST(TensorPack, TellsADamagedHeaderFromAWrongOne) {
  std::vector<std::byte> pack = gradient_pack();
  pack[24] ^= std::byte{1};
  EXPECT_EQ(view_pack(pack).error().code, Errc::kDataLoss);
  seal(pack);
  EXPECT_EQ(view_pack(pack).error().code, Errc::kInvalidArgument);
}

TEST(TensorPack, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(error_after<std::uint32_t>(8, 2), "tensor pack: version is 2, expected 1");
  EXPECT_EQ(error_after<std::uint32_t>(12, 9), "tensor pack: kind is 9, allowed are 1 to 3");
  EXPECT_EQ(error_after<std::uint32_t>(16, 2), "tensor pack: dtype is 2, only 1 (f32) is known");
  EXPECT_EQ(error_after<std::uint32_t>(20, 2),
            "tensor pack: slots is 2, gradient sum may have only 1");
  EXPECT_EQ(error_after<std::uint64_t>(32, 13), "tensor pack: payload_bytes is 13, expected 12");
}

TEST(TensorPack, RefusesCountsWhoseBytesWouldOverflow) {
  EXPECT_NE(error_after<std::uint64_t>(24, UINT64_MAX / 4 + 4).find("limit is"), std::string::npos);
  EXPECT_NE(error_after<std::uint64_t>(24, UINT64_MAX).find("limit is"), std::string::npos);
  EXPECT_NE(error_after<std::uint64_t>(24, kPackElementsMax).find("payload_bytes"),
            std::string::npos);
}

TEST(TensorPack, IsNotTakenForAnotherKindOrModel) {
  const std::vector<std::byte> pack = gradient_pack();
  const Digest layout = gradient_header().layout_digest;
  EXPECT_TRUE(view_pack(pack, PackKind::kGradientSum, layout, 3));
  EXPECT_FALSE(view_pack(pack, PackKind::kParameters, layout, 3));
  EXPECT_FALSE(view_pack(pack, PackKind::kGradientSum, layout, 4));
  EXPECT_FALSE(view_pack(pack, PackKind::kGradientSum, sha256("other"), 3));
}

TEST(ScreenUpdate, MeasuresAGoodUpdate) {
  const UpdateStats stats = screen_update(gradient_pack(), gradient_expectation()).value();
  EXPECT_DOUBLE_EQ(stats.norm, std::sqrt(1.5 * 1.5 + 4.0 + 0.0625));
}

TEST(ScreenUpdate, RefusesAnotherStepOrSampleCount) {
  UpdateExpectation expected = gradient_expectation();
  expected.step = 8;
  EXPECT_EQ(screen_update(gradient_pack(), expected).error().message,
            "tensor pack: step is 7, expected 8");
  expected = gradient_expectation();
  expected.sample_count = 64;
  EXPECT_EQ(screen_update(gradient_pack(), expected).error().message,
            "tensor pack: sample_count is 32, expected 64");
}

TEST(ScreenUpdate, FindsTheOneValueThatIsNotFinite) {
  const std::size_t count = 1'003;
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{5}, std::size_t{999}, count - 1}) {
      std::vector<float> values(count, 1.0F);
      values[place] = poison;
      PackHeader header = gradient_header();
      header.element_count = count;
      UpdateExpectation expected = gradient_expectation();
      expected.element_count = count;
      const auto screened = screen_update(make_pack(header, values), expected);
      ASSERT_FALSE(screened);
      EXPECT_NE(screened.error().message.find("element " + std::to_string(place)),
                std::string::npos);
    }
  }
}

TEST(ScreenUpdate, TakesTheLargestFiniteValues) {
  const std::vector<float> values(3, std::numeric_limits<float>::max());
  const double norm =
      screen_update(make_pack(gradient_header(), values), gradient_expectation()).value().norm;
  EXPECT_NEAR(norm / (std::sqrt(3.0) * static_cast<double>(values[0])), 1, 1e-12);
}

TEST(SumOfSquares, AddsEightLanesInAFixedOrder) {
  std::vector<float> values(101);
  double lanes[8] = {};
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = uniform_float(static_cast<std::uint32_t>(i) * 2'654'435'761U) - 0.5F;
    lanes[i % 8] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  const double expected = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                          ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  EXPECT_EQ(std::bit_cast<std::uint64_t>(sum_of_squares(values)),
            std::bit_cast<std::uint64_t>(expected));
}

TEST(SumOfSquares, OfNothingIsZero) { EXPECT_EQ(sum_of_squares({}), 0.0); }

}  // namespace
}  // namespace mh::update
