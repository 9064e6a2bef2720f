// See sqlite_rows.h.
#include "server/sqlite_rows.h"

#include <tuple>
#include <utility>
#include <vector>

#include "server/sqlite_codec.h"

namespace mh::server {
namespace {

template <class Row>
struct Upsert {
  Statement statement;

  Result<void> prepare(Database& database) {
    MH_TRY(statement, database.prepare(upsert_sql<Row>()));
    return {};
  }
  Result<void> write(const Row& row) {
    FieldBinder binder(statement);
    each_field(row, binder);
    return statement.run();
  }
  Result<void> write(const std::vector<Row>& rows) {
    for (const Row& row : rows) MH_TRY_VOID(write(row));
    return {};
  }
};

}  // namespace

struct RowWriter::Statements {
  std::tuple<Upsert<scheduler::JobRow>, Upsert<scheduler::HostRow>, Upsert<scheduler::WorkunitRow>,
             Upsert<scheduler::ResultRow>, Upsert<scheduler::StepRow>,
             Upsert<scheduler::StepRecordRow>, Upsert<scheduler::EvaluationRow>,
             Upsert<scheduler::CheckpointRow>, Upsert<scheduler::ContributionRow>,
             Upsert<scheduler::JobLogRow>, Upsert<AccountRow>, Upsert<TokenRow>,
             Upsert<InvitationRow>, Upsert<HostSecretRow>, Upsert<DatasetRow>, Upsert<JobSourceRow>,
             Upsert<scheduler::HostLogRow>, Upsert<scheduler::CreditRow>,
             Upsert<scheduler::AgreementRow>, Upsert<AuditRow>>
      upserts;
  Statement remove_checkpoint;
  Statement remove_dataset;

  template <class Row>
  Result<void> write(const std::vector<Row>& rows) {
    return std::get<Upsert<Row>>(upserts).write(rows);
  }

  Result<void> prepare(Database& database) {
    Result<void> done;
    const auto prepare_one = [&](auto& upsert) {
      if (done) done = upsert.prepare(database);
    };
    std::apply([&](auto&... upsert) { (prepare_one(upsert), ...); }, upserts);
    MH_TRY_VOID(done);
    MH_TRY(remove_checkpoint, database.prepare("DELETE FROM checkpoints WHERE job=?1 AND step=?2"));
    MH_TRY(remove_dataset, database.prepare("DELETE FROM datasets WHERE name=?1"));
    return {};
  }

  Result<void> write_checkpoints(const std::vector<scheduler::CheckpointRow>& rows) {
    for (const scheduler::CheckpointRow& row : rows) {
      if (row.is_kept) {
        MH_TRY_VOID(std::get<Upsert<scheduler::CheckpointRow>>(upserts).write(row));
      } else {
        remove_checkpoint.bind(1, row.job.value()).bind(2, row.step);
        MH_TRY_VOID(remove_checkpoint.run());
      }
    }
    return {};
  }

  Result<void> write_changes(const scheduler::Changes& changes) {
    MH_TRY_VOID(write(changes.jobs));
    MH_TRY_VOID(write(changes.hosts));
    MH_TRY_VOID(write(changes.workunits));
    MH_TRY_VOID(write(changes.results));
    MH_TRY_VOID(write(changes.steps));
    MH_TRY_VOID(write(changes.records));
    MH_TRY_VOID(write(changes.evaluations));
    MH_TRY_VOID(write_checkpoints(changes.checkpoints));
    MH_TRY_VOID(write(changes.contributions));
    MH_TRY_VOID(write(changes.host_log));
    MH_TRY_VOID(write(changes.credit));
    MH_TRY_VOID(write(changes.agreements));
    return write(changes.log);
  }
};

Result<std::unique_ptr<RowWriter>> RowWriter::prepare(Database& database) {
  auto statements = std::make_unique<Statements>();
  MH_TRY_VOID(statements->prepare(database));
  return std::unique_ptr<RowWriter>(new RowWriter(std::move(statements)));
}

RowWriter::RowWriter(std::unique_ptr<Statements> statements) : statements_(std::move(statements)) {}
RowWriter::~RowWriter() = default;

Result<void> RowWriter::write(const Transaction& transaction) {
  MH_TRY_VOID(statements_->write_changes(transaction.changes));
  MH_TRY_VOID(statements_->write(transaction.accounts));
  MH_TRY_VOID(statements_->write(transaction.tokens));
  MH_TRY_VOID(statements_->write(transaction.invitations));
  MH_TRY_VOID(statements_->write(transaction.host_secrets));
  for (const std::string& name : transaction.removed_datasets) {
    MH_TRY_VOID(statements_->remove_dataset.bind(1, name).run());
  }
  MH_TRY_VOID(statements_->write(transaction.datasets));
  MH_TRY_VOID(statements_->write(transaction.audit));
  return statements_->write(transaction.job_sources);
}

}  // namespace mh::server
