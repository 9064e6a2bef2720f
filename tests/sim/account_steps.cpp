// See account.h. Here: steps, evaluations, effects, blobs.
#include <algorithm>
#include <map>

#include "tests/sim/account.h"
#include "tests/sim/digests.h"

namespace mh::sim {
namespace {

using scheduler::EvaluationState;
using scheduler::JobState;
using scheduler::WorkKind;
using scheduler::WorkunitState;

// Rows as they will be once `changes` are applied: what a decision compares with.
struct Group {
  std::vector<const scheduler::WorkunitRow*> workunits;
  std::vector<const scheduler::ResultRow*> canonical;
  double loss_sum = 0;
  std::uint64_t samples = 0;
};

template <class Row, class Id>
const Row* newest(const std::vector<Row>& changed, const Row* stored, Id id) {
  for (const Row& row : changed) {
    if (row.id == id) return &row;
  }
  return stored;
}

std::string group_text(const GroupKey& key) {
  return std::string(std::get<1>(key) == WorkKind::kGradient ? "step " : "evaluation of step ") +
         std::to_string(std::get<2>(key)) + " of job " + to_string(std::get<0>(key));
}

// Collects a group in the order of its shards; every sample of [begin, end) must be there once.
Group count_once(const Rows& rows, const scheduler::Changes& changes, const GroupKey& key,
                 std::uint64_t begin, std::uint64_t end) {
  Group group;
  std::uint64_t position = begin;
  for (const scheduler::WorkunitRow* stored : rows.group(key)) {
    const scheduler::WorkunitRow* row = newest(changes.workunits, stored, stored->id);
    if (row->state == WorkunitState::kDropped) continue;
    if (row->begin != position) {
      throw Violation("counted-once", "samples from " + std::to_string(position) + " of the " +
                                          group_text(key) + " are counted " +
                                          (row->begin < position ? "twice" : "never"));
    }
    if (row->state != WorkunitState::kDone) {
      throw Violation("step",
                      group_text(key) + " ended without shard " + std::to_string(row->shard));
    }
    position = row->end;
    const scheduler::ResultRow* result =
        newest(changes.results, rows.result(row->canonical), row->canonical);
    if (result == nullptr || result->state != scheduler::ResultState::kValid ||
        result->workunit != row->id) {
      throw Violation("counted-once", "the canonical result of workunit " + to_string(row->id) +
                                          " is not a valid one of it");
    }
    group.workunits.push_back(row);
    group.canonical.push_back(result);
    group.loss_sum += result->loss_sum;
    group.samples += row->end - row->begin;
  }
  if (position != end) {
    throw Violation("counted-once", "samples from " + std::to_string(position) + " to " +
                                        std::to_string(end) + " of the " + group_text(key) +
                                        " are counted never");
  }
  return group;
}

}  // namespace

Digest parameters_after(const Digest& before, const std::vector<Digest>& updates) {
  DigestMixer mixer(before);
  for (const Digest& update : updates) mixer.add(update);
  return mixer.finish();
}

void Account::check_step(const scheduler::StepRow& row, const Digest& before) {
  const scheduler::JobRow& job = *rows_.job(row.job);
  const GroupKey key{row.job, WorkKind::kGradient, row.step};
  const Group group = count_once(rows_, {}, key, row.step * job.batch, (row.step + 1) * job.batch);
  const double loss = group.loss_sum / static_cast<double>(group.samples);
  if (row.step != job.step || row.sample_count != job.batch || row.loss != loss) {
    throw Violation("step", group_text(key) + " has loss " + std::to_string(row.loss) +
                                ", in the order of shards it is " + std::to_string(loss));
  }
  std::vector<Digest> updates;
  for (const scheduler::ResultRow* result : group.canonical) {
    updates.push_back(result->update_digest);
  }
  if (parameters_after(before, updates) != row.parameters_digest) {
    throw Violation("step", "the parameters after " + group_text(key) +
                                " are not those of its updates in the order of shards");
  }
  accepted_.erase(row.job);
}

void Account::check_evaluation(const scheduler::EvaluationRow& row,
                               const scheduler::Changes& changes) const {
  const GroupKey key{row.job, WorkKind::kEvaluation, row.step};
  if (rows_.group(key).empty()) return;  // history is dropped
  const Group group = count_once(rows_, changes, key, 0, row.sample_count);
  const double loss = group.loss_sum / static_cast<double>(group.samples);
  if (row.loss != loss) {
    throw Violation("step", group_text(key) + " has loss " + std::to_string(row.loss) +
                                ", in the order of shards it is " + std::to_string(loss));
  }
}

void Account::check_effects(const scheduler::Changes& changes, const scheduler::Effects& effects) {
  // Every gradient workunit that was done by this decision, once.
  check_accepted(effects);
  const std::size_t announced = effects.updates_accepted.size();
  std::size_t done = 0;
  for (const scheduler::WorkunitRow& row : changes.workunits) {
    if (row.kind == WorkKind::kGradient && row.state == WorkunitState::kDone) ++done;
  }
  if (done != announced) {
    throw Violation("effects", std::to_string(announced) + " updates are announced, " +
                                   std::to_string(done) + " were taken");
  }
  check_steps_ready(effects);
  check_unreferenced(effects.blobs_unreferenced);
}

void Account::check_accepted(const scheduler::Effects& effects) const {
  for (const scheduler::UpdateAccepted& update : effects.updates_accepted) {
    const auto accepted = accepted_.find(update.job);
    if (accepted == accepted_.end() || !accepted->second.contains(update.update_digest)) {
      throw Violation("effects", "an update of job " + to_string(update.job) +
                                     " is announced and was not taken");
    }
  }
}

void Account::check_steps_ready(const scheduler::Effects& effects) {
  for (const scheduler::StepReady& ready : effects.steps_ready) {
    const GroupKey key{ready.job, WorkKind::kGradient, ready.step};
    const scheduler::JobRow& job = *rows_.job(ready.job);
    const Group group =
        count_once(rows_, {}, key, ready.step * job.batch, (ready.step + 1) * job.batch);
    std::vector<Digest> updates;
    std::vector<std::uint32_t> groups;
    std::map<HostId, std::uint32_t> hosts;
    for (const scheduler::ResultRow* result : group.canonical) {
      updates.push_back(result->update_digest);
      const auto next = static_cast<std::uint32_t>(hosts.size());
      groups.push_back(hosts.try_emplace(result->host, next).first->second);
    }
    if (groups != ready.host_groups || hosts.size() < job.hosts_min) {
      throw Violation("effects", "the " + group_text(key) + " is ready with updates of " +
                                     std::to_string(hosts.size()) + " hosts, needs " +
                                     std::to_string(job.hosts_min) + ", or says wrongly whose");
    }
    if (updates != ready.update_digests || ready.sample_count != job.batch) {
      throw Violation("effects",
                      "the updates of the " + group_text(key) + " are not in the order of shards");
    }
    if (ready.parameters_digest != job.parameters_digest ||
        ready.optimizer_digest != job.optimizer_digest) {
      throw Violation("effects", group_text(key) + " starts from other parameters");
    }
    if (!steps_announced_.insert({ready.job, ready.step}).second) {
      throw Violation("effects", group_text(key) + " is announced twice");
    }
  }
}

void Account::check_unreferenced(const std::vector<Digest>& blobs) const {
  if (blobs.empty()) return;
  std::unordered_set<Digest> needed;
  for (const auto& [key, row] : rows_.checkpoints) needed.insert(row.parameters_digest);
  for (const auto& [id, job] : rows_.jobs) {
    needed.insert(job.job_digest);
    if (job.state != JobState::kRunning && job.state != JobState::kPaused) continue;
    needed.insert(job.parameters_digest);
    if (!job.optimizer_digest.is_zero()) needed.insert(job.optimizer_digest);
  }
  for (const Digest& blob : blobs) {
    const bool is_update = std::any_of(accepted_.begin(), accepted_.end(), [&](const auto& entry) {
      return entry.second.contains(blob);
    });
    if (is_update || needed.contains(blob)) {
      throw Violation("blobs", "blob " + blob.hex().substr(0, 12) + " is given up and needed");
    }
  }
}

}  // namespace mh::sim
