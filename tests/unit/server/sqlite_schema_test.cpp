// A database of every earlier version becomes one of the present version, with all its rows.
#include "server/sqlite_schema.h"

#include <map>

#include "server/sqlite_whole.h"
#include "tests/unit/server/store_fixture.h"

namespace mh::server {
namespace {

// SHA-256 of each released migration: it may never change, because databases have run it.
constexpr const char* kReleased[] = {
    "2f16f2dae0080df58f34e616ee4dcc56cf18ec1e55ba56746f3ea49fc538e9c9",
    "30474822de24e3dd6bce692d0cc9e068762d96150f04806fa72d048c92427557",
};

// Rows in the columns of version 1, with a different value in every field.
constexpr const char* kRowsOfVersion1 = R"sql(
INSERT INTO settings VALUES('server_id', '0123456789abcdef');
INSERT INTO accounts VALUES(1, 'admin', 3, 11), (2, 'volunteers', 1, 12);
INSERT INTO tokens VALUES(1, 1, zeroblob(32), 13, 14, 0);
INSERT INTO invitations VALUES(1, 2, zeroblob(32), 15, 16, 17);
INSERT INTO datasets VALUES('digits', zeroblob(32), 18, 19);
INSERT INTO jobs VALUES(1, 'job', 'digits', 'request', zeroblob(32), zeroblob(32), 20, 8, 4,
  0.5, 0.25, 1, 0, '', 0, 0, 0, 0, 21, 1, '', 50, 1, zeroblob(32), zeroblob(32), 1.5, NULL,
  22, 23, 24, 25, 26);
INSERT INTO job_sources VALUES(1, 'request', 'name: job', 'digits');
INSERT INTO hosts VALUES(1, 'attic', 'linux', '0.1.0', 'cpu', 'model', 27, 1, 0, 28, 29, 30, 31, 32,
  33, 1.25, 0.125, 0.0625, 4);
INSERT INTO host_secrets VALUES(zeroblob(32), 1, 2, 0);
INSERT INTO workunits VALUES(1, 1, 1, 0, 0, 0, 4, 3, 1), (2, 1, 1, 1, 0, 8, 12, 1, 0),
  (3, 1, 1, 1, 1, 12, 16, 2, 0);
INSERT INTO results VALUES(1, 1, 1, 1, 2, 0, 34, 35, 36, zeroblob(32), 37, 2.5, 38, 39, 0.75, ''),
  (2, 3, 1, 1, 1, 1, 40, 41, 0, zeroblob(32), 0, 0.0, 0, 0, 0.0, 'why');
INSERT INTO steps VALUES(1, 0, 0.5, NULL, 8, 0.1, 0.01, 42, zeroblob(32));
INSERT INTO evaluations VALUES(1, 1, 2, 'test', 43, 0.3, 0.9, 44);
INSERT INTO checkpoints VALUES(1, 1, zeroblob(32), 1);
INSERT INTO contributions VALUES(1, 1, 45, 46, 47, 48, 49, 50, 51, 52, 53, 0.7);
INSERT INTO job_log VALUES(1, 1, 54, 0, 'submitted');
)sql";

// What the columns of each later version hold besides.
constexpr const char* kRows[] = {
    kRowsOfVersion1,
    "UPDATE jobs SET threads = 55, wasted_gflop = 0.05",
    "UPDATE jobs SET validation_mode = 2, quorum = 3, checked_gflop = 0.25;"
    "UPDATE hosts SET account = 57, credit_held = 0.5, standing = 3, standing_reason = 'so';"
    "UPDATE contributions SET agreed_count = 58, credit_booked = 0.125;"
    "INSERT INTO host_log SELECT id, 1, 59, 3, 1, 1, 'why' FROM hosts LIMIT 1;"
    "INSERT INTO agreements VALUES(1, 'cpu/A', 'cuda/B', 60, 61, '-20:1', 0.1, 0.2)",
    "UPDATE jobs SET record_count = 1, record_digest = randomblob(32), retained_from = 0;"
    "INSERT INTO step_records VALUES(1, 0, 0, randomblob(32), 56, '{}')",
    "UPDATE jobs SET hosts_min = 56, is_pinned = 1; UPDATE hosts SET cpu_level = 'x86-64-v3'",
    "UPDATE jobs SET removed_sample_count = 62; UPDATE contributions SET undone_count = 63",
    "UPDATE tokens SET last_used = 64; UPDATE invitations SET is_revoked = 1;"
    "INSERT INTO audit VALUES(1, 65, 1, 1, 'job 1 was paused')",
};

class SchemaTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "manyhands.db"; }
  std::filesystem::path copy(int version) const {
    return folder_.path() / ("manyhands.db.version-" + std::to_string(version));
  }

  Database open() { return Database::open(file(), Database::Mode::kReadWrite).value(); }
  // A database as the program of that version made it.
  Database make(std::size_t version, std::span<const char* const> list = migrations()) {
    Database database = Database::open(file(), Database::Mode::kCreate).value();
    for (std::size_t i = 1; i <= version; ++i) {
      EXPECT_TRUE(migrate(database, file(), list.first(i)));
      if (i > std::size(kRows)) continue;
      const auto filled = database.execute(kRows[i - 1]);
      EXPECT_TRUE(filled) << filled.error().message;
    }
    return database;
  }
  // Every row of these columns, as text, by table.
  static std::map<std::string, std::string> contents(
      Database& database, const std::map<std::string, std::string>& columns) {
    std::map<std::string, std::string> texts;
    for (const auto& [table, names] : columns) {
      Statement rows = database.prepare("SELECT " + names + " FROM " + table).value();
      while (rows.step().value()) texts[table] += rows.text(0) + "\n";
    }
    return texts;
  }
  // The columns of each table, as one expression that keeps every bit.
  static std::map<std::string, std::string> columns_of(Database& database) {
    std::map<std::string, std::string> columns;
    Statement names =
        database
            .prepare(
                "SELECT m.name, group_concat('quote(' || p.name || ')', ' || '','' || ') "
                "FROM sqlite_schema m, pragma_table_info(m.name) p "
                "WHERE m.type = 'table' GROUP BY m.name")
            .value();
    while (names.step().value()) columns[names.text(0)] = names.text(1);
    return columns;
  }

  TemporaryFolder folder_;
};

TEST_F(SchemaTest, ReleasedMigrationsAreAsTheyWere) {
  ASSERT_GE(migrations().size(), std::size(kReleased));
  for (std::size_t i = 0; i < std::size(kReleased); ++i) {
    EXPECT_EQ(sha256(std::string_view(migrations()[i])).hex(), kReleased[i]) << "version " << i + 1;
  }
}

TEST_F(SchemaTest, EveryEarlierVersionKeepsItsRows) {
  for (std::size_t version = 1; version <= migrations().size(); ++version) {
    std::filesystem::remove(file());
    Database database = make(version);
    const auto columns = columns_of(database);
    const auto before = contents(database, columns);
    const auto done = migrate(database, file());
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(done->from, static_cast<std::int64_t>(version));
    EXPECT_EQ(contents(database, columns), before) << "version " << version;
    EXPECT_TRUE(damage_of(database, false).value().empty());
    database = {};
    const auto store = SqliteStore::open(file());
    ASSERT_TRUE(store) << store.error().message;
    const ServerSnapshot snapshot = store.value()->load().value();
    EXPECT_EQ(snapshot.server_id, "0123456789abcdef");
    EXPECT_EQ(snapshot.scheduler.jobs.at(0).training_loss, 1.5);
    EXPECT_EQ(snapshot.scheduler.workunits.size(), 2U);
    EXPECT_EQ(snapshot.scheduler.contributions.at(0).credit, 0.7);
  }
}

// The machinery, with migrations to come: one that adds, one that makes a table anew.
class LaterSchemaTest : public SchemaTest {
 protected:
  LaterSchemaTest() {
    list_.assign(migrations().begin(), migrations().end());
    known_ = static_cast<int>(list_.size());
    list_.push_back("ALTER TABLE hosts ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'");
    list_.push_back(
        "CREATE TABLE accounts_new(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
        "role INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;"
        "INSERT INTO accounts_new SELECT * FROM accounts;"
        "DROP TABLE accounts; ALTER TABLE accounts_new RENAME TO accounts;");
  }

  std::vector<const char*> list_;
  int known_ = 0;
};

TEST_F(LaterSchemaTest, RunsAllThatLackAndKeepsACopyOfTheOld) {
  Database database = make(static_cast<std::size_t>(known_));
  const auto columns = columns_of(database);
  const auto before = contents(database, columns);
  const auto done = migrate(database, file(), list_);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->from, known_);
  EXPECT_EQ(done->to, known_ + 2);
  EXPECT_EQ(done->copy, copy(known_));
  EXPECT_EQ(schema_version(database).value(), known_ + 2);
  EXPECT_EQ(contents(database, columns), before);
  Database old = Database::open(copy(known_), Database::Mode::kReadOnly).value();
  EXPECT_EQ(schema_version(old).value(), known_);
  EXPECT_EQ(contents(old, columns), before);
  // Foreign keys hold again.
  EXPECT_FALSE(database.execute("INSERT INTO tokens VALUES(9, 999, zeroblob(31), 1, 1, 0)"));
}

TEST_F(LaterSchemaTest, IsOfTheOldVersionWhenTheLastMigrationFails) {
  list_.push_back("INSERT INTO nowhere VALUES(1)");
  Database database = make(static_cast<std::size_t>(known_));
  const auto columns = columns_of(database);
  const auto before = contents(database, columns);
  const auto failed = migrate(database, file(), list_);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("it is as it was"), std::string::npos);
  EXPECT_NE(failed.error().message.find("nowhere"), std::string::npos);
  EXPECT_EQ(schema_version(database).value(), known_);
  EXPECT_EQ(columns_of(database), columns);
  EXPECT_EQ(contents(database, columns), before);
}

TEST_F(LaterSchemaTest, RefusesAMigrationThatLeavesRowsWithoutTheirOwners) {
  list_.push_back("DELETE FROM hosts");
  Database database = make(static_cast<std::size_t>(known_));
  EXPECT_FALSE(migrate(database, file(), list_));
  EXPECT_EQ(schema_version(database).value(), known_);
}

TEST_F(LaterSchemaTest, ANewerDatabaseIsRefusedByAllAndNotTouched) {
  make(static_cast<std::size_t>(known_));
  {
    Database database = open();
    ASSERT_TRUE(migrate(database, file(), list_));
  }
  std::filesystem::remove(copy(known_));
  const auto refused = SqliteStore::open(file());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("newer version"), std::string::npos);
  Database database = open();
  EXPECT_EQ(require_schema(database).error().code, Errc::kFailedPrecondition);
  EXPECT_EQ(schema_version(database).value(), known_ + 2);
  EXPECT_FALSE(std::filesystem::exists(copy(known_)));
}

TEST_F(LaterSchemaTest, AnOlderDatabaseIsNotReadBeforeItIsMigrated) {
  Database database = Database::open(file(), Database::Mode::kCreate).value();
  const auto refused = require_schema(database);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("manyhands-server migrate"), std::string::npos);
}

}  // namespace
}  // namespace mh::server
