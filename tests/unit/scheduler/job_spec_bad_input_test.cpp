// Job files that are wrong: what is said of them, and where.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "job_spec_fixture.h"
#include "scheduler/job_spec.h"

namespace mh::scheduler {
namespace {

std::vector<Problem> problems_of(std::string_view text) {
  ParsedJob job = parse_job(text);
  EXPECT_EQ(job.spec.has_value(), job.problems.empty());
  return job.problems;
}

/// The file has exactly this problem: "6:12: optimizer.momentum: is '2'; …".
void expect_problem(std::string_view text, std::string_view expected) {
  EXPECT_EQ(all_text(problems_of(text)), std::string(expected) + "\n") << text;
}

TEST(BadJobFile, UnknownKeysAreNamedWithTheNearestKnownOne) {
  expect_problem(with_more("sed: 7"), "10:1: sed: unknown key 'sed'; did you mean 'seed'?");
  expect_problem(with_line(9, "evaluation: {split: test, every: 20}"),
                 "9:27: evaluation.every: unknown key 'every'; did you mean 'every_steps'?");
  expect_problem(with_line(3, "model: {layers: [{linear: {uot: 3}}]}"),
                 "3:28: model.layers[0].uot: unknown key 'uot'; did you mean 'out'?");
  expect_problem(with_line(3, "model: {layers: [{relu: {p: 3}}, linear]}"),
                 "3:26: model.layers[0].p: unknown key 'p'; nothing can be set here");
  expect_problem(with_line(5, "training: {steps: 4, workers: 9}"),
                 "5:22: training.workers: unknown key 'workers'; allowed: steps, passes, batch, "
                 "shard, micro_batch");
}

TEST(BadJobFile, EveryProblemIsReportedInTheOrderOfTheFile) {
  const auto problems = problems_of(
      "name: two words\n"
      "model: {preset: cnnn}\n"
      "training: {steps: many, batch: 0}\n"
      "optimiser: {kind: sgd}\n"
      "threads: 257\n");
  EXPECT_EQ(
      all_text(problems),
      "dataset: is missing; allowed: the name of a data set of the server (`manyhands dataset "
      "list`)\n"
      "optimizer: is missing; allowed: a group with kind and learning_rate\n"
      "1:7: name: is 'two words'; allowed: 1 to 64 letters, digits, '.', '_' and '-', "
      "beginning with a letter or digit\n"
      "2:17: model.preset: is 'cnnn'; allowed: one of cnn, mlp; did you mean 'cnn'?\n"
      "3:19: training.steps: is 'many'; allowed: an integer from 1 to 100,000,000\n"
      "3:32: training.batch: is '0'; allowed: an integer from 1 to 16,777,216\n"
      "4:1: optimiser: unknown key 'optimiser'; did you mean 'optimizer'?\n"
      "5:10: threads: is '257'; allowed: an integer from 1 to 256\n");
}

TEST(BadJobFile, NumbersMustBeFiniteAndInRange) {
  const auto rate = [](const std::string& value) {
    return with_line(6, "optimizer: {kind: sgd, learning_rate: " + value + "}");
  };
  for (const char* value : {".nan", "nan", ".inf", "-.inf", "inf", "NaN"}) {
    expect_problem(rate(value), "6:39: optimizer.learning_rate: is '" + std::string(value) +
                                    "'; allowed: a number above 0 to 1000 (a finite one)");
  }
  for (const char* value : {"0", "-1", "1001", "1e999", "1e-999", "0.1x", "ten", "0x1"}) {
    expect_problem(rate(value), "6:39: optimizer.learning_rate: is '" + std::string(value) +
                                    "'; allowed: a number above 0 to 1000");
  }
  expect_problem(with_line(8, "clip_norm: -1"),
                 "8:12: clip_norm: is '-1'; allowed: a number from 0 to 1e+09");
  expect_problem(with_more("seed: 9007199254740992"),
                 "10:7: seed: is '9007199254740992'; allowed: an integer from 0 to "
                 "9,007,199,254,740,991");
}

TEST(BadJobFile, WrongTypesAreExplained) {
  expect_problem(with_line(5, "training: {steps: 1.5e3}"),
                 "5:19: training.steps: is '1.5e3'; allowed: an integer from 1 to 100,000,000 "
                 "(write 1500)");
  expect_problem(with_line(5, "training: {steps: 1_000}"),
                 "5:19: training.steps: is '1_000'; allowed: an integer from 1 to 100,000,000 "
                 "(write 1000)");
  expect_problem(with_line(5, "training: {steps: \"40\"}"),
                 "5:19: training.steps: is the text '40'; allowed: an integer from 1 to "
                 "100,000,000 (write it without quotes)");
  expect_problem(with_line(8, "clip_norm: [5]"),
                 "8:12: clip_norm: is a list; allowed: a number from 0 to 1e+09");
  expect_problem(with_line(8, "clip_norm:"),
                 "8:1: clip_norm: is nothing; allowed: a number from 0 to 1e+09");
  expect_problem(with_more("normalize: yes"), "10:12: normalize: is 'yes'; allowed: true or false");
  expect_problem(with_line(5, "training: 40"), "5:11: training: is '40'; allowed: a group of keys");
  expect_problem("- a\n- b\n", "1:1: is a list; allowed: a group of keys");
}

TEST(BadJobFile, SizesThatDoNotDivideAreNamedWithTheNearestThatDo) {
  const auto sizes = [](const std::string& text) {
    return with_line(5, "training: {steps: 4, " + text + "}");
  };
  expect_problem(sizes("batch: 128, shard: 32, micro_batch: 12"),
                 "5:45: training.micro_batch: is 12, which does not divide the shard, 32; nearest "
                 "that does: 8");
  expect_problem(sizes("batch: 128, shard: 48"),
                 "5:34: training.shard: is 48, which does not divide the batch, 128; nearest that "
                 "does: 32");
  expect_problem(sizes("shard: 256"),
                 "5:22: training.shard: is 256, which does not divide the batch, 128; nearest that "
                 "does: 128");
  expect_problem(sizes("batch: 100, micro_batch: 30"),
                 "5:34: training.micro_batch: is 30, which does not divide the batch, 100; nearest "
                 "that does: 25");
  expect_problem(sizes("batch: 131072, shard: 1"),
                 "5:37: training.shard: is 1, which cuts a step into 131,072 workunits; at most "
                 "65,536, so make it larger");
}

TEST(BadJobFile, KeysOfAnotherKindAreNotCalledUnknown) {
  expect_problem(with_line(6, "optimizer: {kind: sgd, learning_rate: 0.1, beta1: 0.9}"),
                 "6:44: optimizer.beta1: belongs to optimizer adam and adamw; here it is sgd");
  expect_problem(with_line(7, "schedule: {kind: cosine, factor: 0.5}"),
                 "7:26: schedule.factor: belongs to schedule step; here it is cosine");
  expect_problem(with_line(7, "schedule: {kind: step}"),
                 "7:1: schedule.every_steps: is missing; allowed: steps between two drops, an "
                 "integer of at least 1");
  expect_problem(with_line(6, "optimizer: {kind: sgd, learning_rate: 0.1, nesterov: true}"),
                 "6:44: optimizer.nesterov: is true, which needs momentum above 0");
  expect_problem(with_line(5, "training: {steps: 4, passes: 1}"),
                 "5:22: training.passes: stands beside steps; give one of them");
  expect_problem(with_more("mode: local_sgd"),
                 "10:7: mode: is 'local_sgd'; allowed: one of gradient");
}

TEST(BadJobFile, LayersAreExplained) {
  const auto layers = [](const std::string& text) { return with_line(3, "model: " + text); };
  expect_problem(layers("{layers: [flatten, linaer]}"),
                 "3:27: model.layers[1]: unknown layer 'linaer'; did you mean 'linear'?");
  expect_problem(layers("{layers: [{conv2d: {out: 4}}, linear]}"),
                 "3:19: model.layers[0].kernel: is missing; conv2d needs it: an integer from 1 to "
                 "1,024");
  expect_problem(layers("{layers: [{dropout: {p: 1}}, linear]}"),
                 "3:32: model.layers[0].p: is '1'; allowed: a number from 0 to below 1");
  expect_problem(layers("{layers: [{linear: 10}]}"),
                 "3:27: model.layers[0]: linear is followed by '10'; allowed: a group of settings, "
                 "as in {linear: {…}}");
  expect_problem(layers("\n  layers:\n    - linear:\n      out: 10"),
                 "6:7: model.layers[0]: the settings of 'linear' must be indented further than its "
                 "name");
  expect_problem(
      layers("\n  layers:\n    - linear: {out: 10}\n      relu:"),
      "6:7: model.layers[0]: one layer a list item; begin 'relu' with a dash of its own");
  expect_problem(layers("{layers: []}"),
                 "3:9: model.layers: is a list of 0; allowed: a list of 1 to 1,000 layers");
  expect_problem(layers("{layers: [linear], preset: mlp}"),
                 "3:27: model.preset: stands beside layers; a model has one or the other");
  expect_problem(layers("{preset: mlp, hidden: [0]}"),
                 "3:31: model.hidden[0]: is '0'; allowed: an integer from 1 to 1,048,576");
}

TEST(BadJobFile, NormalizingRowNumbersIsRefused) {
  const auto text = with_line(3, "model: {layers: [{embedding: {num: 4, dim: 2}}, linear]}");
  expect_problem(text + "normalize: true\n",
                 "10:1: normalize: is true, but the model begins with an embedding, whose inputs "
                 "are row numbers; leave it away or write false");
}

TEST(BadJobFile, OddYamlIsRefusedWithItsPlace) {
  expect_problem("a: &a [1]\nb: *a\n",
                 "1:4: anchors (&name) and aliases (*name) are not allowed in a job file; write "
                 "the value out");
  expect_problem(with_more("seed: !!int 3"),
                 "10:7: tags ('tag:yaml.org,2002:int') are not allowed in a job file");
  expect_problem(with_more("loss: mse"), "10:1: loss: stands here twice; the first is in line 4");
  expect_problem(with_more("---\nname: b"),
                 "11:1: the file holds more than one document (---); a job is one document");
  expect_problem("name: a\n\tdataset: b\n",
                 "2:1: a tab in the indentation; YAML allows only spaces there");
  expect_problem("name: \xff\n", "1:7: the file is not UTF-8 text here; save it as UTF-8");
  expect_problem(std::string("name: a\0b", 9),
                 "1:8: the file has a control character here; is it a text file?");
  expect_problem(
      "[a]: b\n",
      "1:1: a key must be a word, not a list or a group; is a bracket or brace left open?");
  expect_problem("model: {layers: [linear}\n", "1:24: not YAML: illegal flow end");
  expect_problem("", "the file is empty");
  expect_problem("# nothing here\n", "the file is empty");
}

/// How long the whole of parse_job() took; generous, for a busy machine with sanitizers.
void expect_fast_refusal(const std::string& text, std::string_view says) {
  const auto start = std::chrono::steady_clock::now();
  const auto problems = problems_of(text);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 10);
  ASSERT_FALSE(problems.empty());
  EXPECT_LE(problems.size(), kProblemCountMax);
  EXPECT_NE(all_text(problems).find(says), std::string::npos) << all_text(problems);
  for (const Problem& problem : problems) EXPECT_LT(problem.message.size(), 400U);
}

std::string repeated(std::string_view part, std::size_t bytes) {
  std::string text;
  while (text.size() + part.size() <= bytes) text += part;
  return text;
}

TEST(HugeJobFile, OfTenMegabytesIsRefusedBySizeAlone) {
  expect_fast_refusal(std::string(10'000'000, '#'),
                      "is 10,000,000 bytes; a job file has at most 1,048,576");
}

TEST(HugeJobFile, OfOneMegabyteIsRefusedByItsFirstExcess) {
  expect_fast_refusal(repeated("- ", kJobTextBytesMax), "nested more than 16 deep");
  expect_fast_refusal("a: " + repeated("[", kJobTextBytesMax - 3),
                      "is a bracket or brace left open?");
  expect_fast_refusal(repeated("-\n", kJobTextBytesMax), "more than 20,000 keys and values");
  expect_fast_refusal("a: [" + repeated("x,", kJobTextBytesMax - 4), "more than 20,000 keys");
  expect_fast_refusal(repeated("k: 1\n", 30'000), "stands here twice");
  expect_fast_refusal("name: " + repeated("x", kJobTextBytesMax - 6), "name: is 'xxxxx");
  expect_fast_refusal(repeated("x", 600) + ": 1", "unknown key 'xxxxx");
  expect_fast_refusal("a: *" + repeated("n", kJobTextBytesMax - 4), "anchor");
  for (const char* part : {"{", "? ", ": ", "!", "&", "*", "\"", "'", "%", "|", "\n", " "}) {
    expect_fast_refusal(repeated(part, kJobTextBytesMax), "");
  }
}

TEST(HugeJobFile, BombOfAliasesIsRefusedAtItsFirstAnchor) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 9; ++k) bomb += (k > 0 ? ", " : "") + last;
    bomb += "]\n";
  }
  expect_fast_refusal(bomb, "1:5: anchors (&name) and aliases (*name) are not allowed");
}

TEST(BadJobFile, CutAnywhereNeverThrows) {
  for (std::size_t length = 0; length < kGoodJob.size(); ++length) {
    problems_of(kGoodJob.substr(0, length));
  }
}

TEST(BadJobFile, DamagedAnywhereNeverThrows) {
  for (const char letter : {'{', '}', '[', ':', '\n', '"', '&', '\0', '\xc3'}) {
    for (std::size_t at = 0; at < kGoodJob.size(); ++at) {
      std::string text(kGoodJob);
      text[at] = letter;
      problems_of(text);
    }
  }
}

}  // namespace
}  // namespace mh::scheduler
