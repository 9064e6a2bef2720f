// See store.h.
#include "server/store.h"

#include <iterator>
#include <utility>

namespace mh::server {
namespace {

template <class Row>
void move_rows(std::vector<Row>& to, std::vector<Row> from) {
  if (to.empty()) {
    to = std::move(from);
    return;
  }
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void append_changes(scheduler::Changes& to, scheduler::Changes from) {
  move_rows(to.jobs, std::move(from.jobs));
  move_rows(to.hosts, std::move(from.hosts));
  move_rows(to.workunits, std::move(from.workunits));
  move_rows(to.results, std::move(from.results));
  move_rows(to.steps, std::move(from.steps));
  move_rows(to.records, std::move(from.records));
  move_rows(to.evaluations, std::move(from.evaluations));
  move_rows(to.checkpoints, std::move(from.checkpoints));
  move_rows(to.contributions, std::move(from.contributions));
  move_rows(to.log, std::move(from.log));
  move_rows(to.host_log, std::move(from.host_log));
  move_rows(to.credit, std::move(from.credit));
  move_rows(to.agreements, std::move(from.agreements));
}

}  // namespace

void append(Transaction& earlier, Transaction later) {
  append_changes(earlier.changes, std::move(later.changes));
  move_rows(earlier.accounts, std::move(later.accounts));
  move_rows(earlier.tokens, std::move(later.tokens));
  move_rows(earlier.invitations, std::move(later.invitations));
  move_rows(earlier.host_secrets, std::move(later.host_secrets));
  move_rows(earlier.datasets, std::move(later.datasets));
  move_rows(earlier.removed_datasets, std::move(later.removed_datasets));
  move_rows(earlier.job_sources, std::move(later.job_sources));
  move_rows(earlier.audit, std::move(later.audit));
}

}  // namespace mh::server
