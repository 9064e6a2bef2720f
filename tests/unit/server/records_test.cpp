// Step records and the blobs that they keep, in a server's folder.
#include <sys/stat.h>

#include "proto/base/step_record.h"
#include "server/blob_needs.h"
#include "server/folder_backup.h"
#include "server/folder_check.h"
#include "tests/unit/server/folder_fixture.h"

namespace mh::server {
namespace {

class RecordsTest : public FolderTest {
 protected:
  RecordsTest() {
    stop();
    rules_.steps_retained = 2;
    start();
    do_steps(4);
  }
  CheckReport check(const std::filesystem::path& where) {
    return check_folder(where, {}, now_).value();
  }
  std::string findings(const CheckReport& report) {
    std::string text;
    for (const Finding& finding : report.damage) text += finding.kind + ": " + finding.what + "\n";
    return text;
  }
  void change(const std::string& sql) {
    stop();
    Database database = Database::open(folder().database(), Database::Mode::kReadWrite).value();
    const auto done = database.execute(sql);
    ASSERT_TRUE(done) << done.error().message;
  }
};

TEST_F(RecordsTest, ComeInOrderAndInPages) {
  const auto all = store_->records(job_, 0, 100, UINT64_MAX).value();
  ASSERT_EQ(all.size(), 4U);
  RecordChain chain;
  for (const auto& row : all) EXPECT_TRUE(chain.add(row.record));
  EXPECT_EQ(chain.head(), job_row().record_digest);
  EXPECT_EQ(store_->records(job_, 1, 2, UINT64_MAX).value().size(), 2U);
  EXPECT_EQ(store_->records(job_, 1, 2, UINT64_MAX).value().front().sequence, 1U);
  // One in any case.
  EXPECT_EQ(store_->records(job_, 2, 100, 1).value().size(), 1U);
  EXPECT_TRUE(store_->records(job_, 4, 100, UINT64_MAX).value().empty());
  EXPECT_TRUE(store_->records(JobId(9), 0, 100, UINT64_MAX).value().empty());
}

TEST_F(RecordsTest, ARestartKeepsTheirBlobs) {
  const auto before = coordinator_->referenced_blobs();
  stop();
  start();
  EXPECT_EQ(coordinator_->referenced_blobs(), before);
  const BlobNeeds needs = blob_needs(store_->load().value(), folder().blobs());
  for (const Digest& blob : before) EXPECT_TRUE(needs.blobs.contains(blob)) << blob.hex();
  const auto record = parse_step_record(store_->records(job_, 2, 1, UINT64_MAX).value()[0].record);
  for (const RecordedUpdate& update : record->updates) {
    EXPECT_TRUE(blobs_->contains(update.digest));
    EXPECT_EQ(describe(needs.blobs.at(update.digest)[0]), "blob kept of step 2 of job 1");
  }
}

TEST_F(RecordsTest, ABackupHasThemTheirBlobsAndTheKey) {
  const SigningKey key = open_signing_key(folder()).value();
  BackupOptions options;
  const auto report = backup_folder(folder().root, beside("copy"), options, now_);
  ASSERT_TRUE(report) << report.error().message;
  const ServerFolder copy{beside("copy")};
  EXPECT_EQ(open_signing_key(copy)->public_key(), key.public_key());
  struct stat status {};
  ASSERT_EQ(::stat(copy.signing_key().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_TRUE(check(copy.root).is_whole()) << findings(check(copy.root));
  stop();
  start_in(copy);
  EXPECT_EQ(coordinator_->retained_steps(job_).size(), 2U);
}

TEST_F(RecordsTest, CheckFindsAChangedRecord) {
  EXPECT_TRUE(check(folder().root).is_whole()) << findings(check(folder().root));
  change(
      "UPDATE step_records SET record = replace(record, '\"samples\":4', '\"samples\":4 ') "
      "WHERE sequence = 1");
  const std::string found = findings(check(folder().root));
  EXPECT_NE(found.find("record 1 (step 1) of job 1: its text is not what was signed"),
            std::string::npos)
      << found;
}

TEST_F(RecordsTest, CheckFindsAMissingRecord) {
  change("DELETE FROM step_records WHERE sequence = 0");
  const std::string found = findings(check(folder().root));
  EXPECT_NE(found.find("sequence number is 1, expected 0"), std::string::npos) << found;
}

TEST_F(RecordsTest, AFolderWithoutKeyGetsOne) {
  const PublicKey before = open_signing_key(folder())->public_key();
  EXPECT_EQ(open_signing_key(folder())->public_key(), before);
  std::filesystem::remove(folder().signing_key());
  const PublicKey after = open_signing_key(folder())->public_key();
  EXPECT_NE(after, before);
  EXPECT_EQ(open_signing_key(folder())->public_key(), after);
  std::ofstream(folder().signing_key()) << "no key";
  const auto refused = open_signing_key(folder());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kDataLoss);
}

}  // namespace
}  // namespace mh::server
