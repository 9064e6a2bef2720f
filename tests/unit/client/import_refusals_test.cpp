// Every refusal of the import that a user can run into, word by word.
#include <gtest/gtest.h>

#include <limits>

#include "client/cli/import/array_file.h"
#include "proto/base/random.h"
#include "tests/unit/client/import_fixture.h"

namespace mh::cli {
namespace {

TEST_F(Import, RefusesALabelOutOfRangeNamingTheSample) {
  ImportOptions options = files(kTwoImages, idx(8, {2}, {1, 2}));
  options.class_names = {"cat", "dog"};
  EXPECT_EQ(refusal(options),
            "x, y: sample 1: target is 2, classes are numbered 0 to 1 (2 class names are given)");
}

TEST_F(Import, RefusesMismatchedCounts) {
  EXPECT_EQ(refusal(kTwoImages, idx(8, {3}, {1, 0, 1})),
            "x holds 2 samples, y holds 3 targets; every sample needs exactly one target");
}

TEST_F(Import, RefusesNumbersThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(input_refusal(npy("<f4", "(2, 2)", raw<float>({1, 2, 3, nan}))),
            "x, y: sample 1: input number 1 is NaN or infinite; remove or repair the sample");
  EXPECT_EQ(refusal(kTwoImages, npy("<f4", "(2,)", raw<float>({nan, 1}))),
            "x, y: sample 0: target number 0 is NaN or infinite; remove or repair the sample");
}

TEST_F(Import, RefusesWhatIsNoDataFile) {
  EXPECT_EQ(input_refusal("PK\3\4 zip"),
            "x: it is neither IDX nor NumPy .npy (plain or gzip): it begins with 80, 75");
  EXPECT_EQ(input_refusal(""), "x: it ends within its header; it is no data file");
  EXPECT_EQ(
      input_refusal(idx(11, {2}, "abcd")),
      "x: its IDX type is 11, allowed are 8 (bytes), 12 (32-bit integers) and 13 (32-bit floats); "
      "save the array as .npy of a type that fits");
  EXPECT_EQ(input_refusal(std::string("\0\0\10\0", 4)),
            "x: its IDX header has 0 dimensions, allowed are 1 to 9");
  EXPECT_EQ(input_refusal(idx(8, {0}, "")), "x: it holds no samples");
  EXPECT_EQ(input_refusal(idx(8, {2, 0}, "")), "x: one of its dimensions is 0");
}

TEST_F(Import, RefusesSizesThatDoNotMatchTheHeader) {
  EXPECT_EQ(
      input_refusal(idx(8, {2, 2}, "abc")),
      "x: its header announces 2 samples of 2 bytes, but 3 bytes follow; copy or write the file "
      "again");
  EXPECT_NE(input_refusal(idx(8, {2, 2}, "abcde")).find("but 5 bytes follow"), std::string::npos);
  // Their product is 4, modulo 2^64.
  EXPECT_NE(input_refusal(npy("<f4", "(4611686018427387905, 1)", raw<float>({1}))), "");
  EXPECT_EQ(
      input_refusal(gzip(idx(8, {2, 2}, "abc"))),
      "x: it is cut short: it ends within sample 1 of the 2 that its header announces; copy or "
      "write the file again");
  EXPECT_EQ(
      input_refusal(gzip(idx(8, {2, 2}, "abcde"))),
      "x: bytes follow the 2 samples that its header announces; copy or write the file again");
  EXPECT_NE(input_refusal(idx(8, {2, 4'000'000'000, 4'000'000'000, 4'000'000'000}, ""))
                .find("which is the limit"),
            std::string::npos);
}

TEST_F(Import, RefusesDamagedGzip) {
  const std::string good = gzip(kTwoImages);
  EXPECT_NE(
      input_refusal(good.substr(0, good.size() - 3)).find("x: the gzip data is cut short after"),
      std::string::npos);
  std::string damaged = good;
  damaged[damaged.size() - 6] ^= 1;
  EXPECT_NE(input_refusal(damaged).find("x: the gzip data is damaged near byte"),
            std::string::npos);
  EXPECT_NE(input_refusal(good + "tail").find("x: the gzip data is damaged"), std::string::npos);
}

TEST_F(Import, RefusesNumpyArraysWithTheRemedy) {
  EXPECT_EQ(input_refusal(npy("<f8", "(2,)", std::string(16, '\0'))),
            "x: its type is '<f8', allowed are u1, i4, i8 and f4; save it with .astype('float32')");
  EXPECT_NE(input_refusal(npy("|b1", "(2,)", "ab")).find(".astype('uint8')"), std::string::npos);
  EXPECT_NE(input_refusal(npy("<i2", "(2,)", "abcd")).find(".astype('int32')"), std::string::npos);
  EXPECT_NE(input_refusal(npy("|O", "(2,)", "ab")).find("Python objects"), std::string::npos);
  EXPECT_NE(input_refusal(npy("<U7", "(2,)", "ab")).find("save an array of uint8"),
            std::string::npos);
  EXPECT_EQ(input_refusal(
                npy_with("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }\n", "abcd")),
            "x: it is in Fortran order; save it with np.ascontiguousarray(array)");
  EXPECT_NE(
      input_refusal(
          npy_with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n", ""))
          .find("a record"),
      std::string::npos);
  EXPECT_NE(input_refusal(npy("|u1", "()", "a")).find("its shape is ()"), std::string::npos);
}

TEST_F(Import, ReadsNumpyHeadersStrictly) {
  const auto error = [](const std::string& header) {
    const auto parsed = parse_npy_header(header);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_EQ(error("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"), "");
  EXPECT_EQ(error("{\"shape\": (2,), \"fortran_order\": False, \"descr\": \"|u1\"}"), "");
  for (const char* bad :
       {"", "{", "{}", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, -1)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1)}",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os')}",
        "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}", "{'descr: 1}"}) {
    EXPECT_NE(error(bad), "") << bad;
  }
  EXPECT_NE(
      input_refusal(std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12)).find("limit is 65536"),
      std::string::npos);
  EXPECT_NE(input_refusal(std::string("\x93NUMPY\x09\0\x10\0", 10)).find("version is 9"),
            std::string::npos);
}

TEST_F(Import, RefusesSplitsThatDoNotFitTogether) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.files["test"] = {write("tx", idx(8, {2, 2, 2}, "abcdefgh")), write("ty", kTwoLabels)};
  EXPECT_EQ(refusal(options),
            "tx: its samples are u8 2×2, those of train are u8 1×2; all splits must agree");
  options.files["test"] = {write("tx", kTwoImages), {}};
  EXPECT_NE(refusal(options).find("inputs and targets are both needed"), std::string::npos);
  options.files.erase("test");
  options.cuts = {{"val", 0.01}};
  EXPECT_NE(refusal(options).find("each split must get at least one sample"), std::string::npos);
  options.cuts = {{"val", 0.5}, {"test", 0.5}};
  EXPECT_NE(refusal(options).find("each split must get at least one sample"), std::string::npos);
  options.cuts = {{"val", 0.5}, {"val", 0.1}};
  EXPECT_EQ(refusal(options), "--split val: that split is given already");
  EXPECT_NE(refusal(ImportOptions()).find("no train files are given"), std::string::npos);
}

TEST_F(Import, NamesAFileThatIsNotThere) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.files["train"].inputs = folder_ / "nowhere.npy";
  const auto plan = plan_import(options);
  EXPECT_EQ(plan.error().code, Errc::kNotFound);
  EXPECT_NE(plan.error().message.find("nowhere.npy"), std::string::npos);
  options.files["train"].inputs = folder_;
  EXPECT_NE(plan_import(options).error().message.find("is a folder"), std::string::npos);
}

TEST_F(Import, RefusesClassNamesThatAreNoUtf8) {
  ImportOptions options = files(kTwoImages, kTwoLabels);
  options.class_names = {"cat", "\xff\xfe"};
  EXPECT_EQ(refusal(options), "class names must be UTF-8");
  options.class_names = {"cat", "cat"};
  EXPECT_NE(refusal(options).find("stands there twice"), std::string::npos);
}

TEST_F(Import, SurvivesMutatedFiles) {
  const std::string npy_file = npy("<f4", "(6, 2)", raw(std::vector<float>(12, 1.0F)));
  const std::vector<std::string> seeds = {kTwoImages, gzip(kTwoImages), npy_file, gzip(npy_file)};
  Philox4x32 random(7);
  int taken = 0;
  for (int round = 0; round < 1'500; ++round) {
    std::string mutant = seeds[random.below(seeds.size())];
    for (std::uint64_t i = random.below(3) + 1; i > 0; --i) {
      mutant[random.below(mutant.size())] = static_cast<char>(random.below(256));
    }
    if (random.below(4) == 0) mutant.resize(random.below(mutant.size()));
    const auto plan =
        plan_import(files(mutant, round % 2 == 0 ? kTwoLabels : idx(8, {6}, std::string(6, '\1'))));
    taken += plan ? 1 : 0;
  }
  EXPECT_GT(taken, 0) << "some mutations change only values";
}

}  // namespace
}  // namespace mh::cli
