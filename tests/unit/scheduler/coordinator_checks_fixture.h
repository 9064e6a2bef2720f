// A coordinator with jobs whose results are checked (rules 20 to 25), and verbs for tests of it.
#pragma once

#include "tests/unit/scheduler/coordinator_fixture.h"

namespace mh::scheduler {

class Checks : public CoordinatorTest {
 protected:
  // One workunit a step keeps stories short.
  static JobSubmission checked_job(std::uint64_t workunits = 1) {
    JobSubmission job = small_job("checked");
    job.step_count = 10'000;
    job.batch = 8 * workunits;
    job.validation = kUsualValidation;
    return job;
  }

  HostId attach_of(const std::string& name, const HostOrigin& origin,
                   const std::string& model = "") {
    HostDescription description;
    description.name = name;
    description.device = "cpu";
    description.device_model = model;
    return take(coordinator->attach(std::nullopt, description, origin, now)).value();
  }

  static Report other_bits(const Assignment& work, const std::string& bits = "bad") {
    Report report = success(work);
    report.update_digest = digest_of(bits + to_string(work.workunit));
    return report;
  }

  HostRow row(HostId host) const { return coordinator->host(host)->row; }
  Standing standing(HostId host) const { return row(host).standing; }

  // `first` computes the one workunit of the step, `second` again if that is wanted.
  void agree(HostId first, HostId second) {
    if (finish(first, get(first)).verdict == Verdict::kPending) {
      EXPECT_EQ(finish(second, get(second)).verdict, Verdict::kValid);
    }
    complete_step();
  }
  void complete_step() {
    complete(job, view(job).row.step);
    advance(1'000);
  }
  // The digest that honest hosts of one class report.
  void make_records(HostId first, HostId second) {
    while (standing(first) != Standing::kRecord) agree(first, second);
    while (standing(second) != Standing::kRecord) agree(second, first);
  }
  // `liar` reports other bits, `first` and `second` the right ones.
  void differ(HostId liar, HostId first, HostId second) {
    const Assignment lie = get(liar);
    report(liar, other_bits(lie));
    const Assignment truth = get(first);
    report(first, success(truth));
    answer_comparisons({1.5, 1.0});
    finish(second, get(second));
    answer_comparisons({1.5, 1.0});
    complete_step();
  }
  void answer_comparisons(const Distance& distance) {
    const std::vector<Comparison> asked = effects.comparisons;
    for (const Comparison& one : asked) {
      take(coordinator->compared(one.first, one.second, distance, now));
    }
  }

  JobId job;
};

}  // namespace mh::scheduler
