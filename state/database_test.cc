#include "state/database.h"

#include <limits>
#include <string>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state/test_folder.h"

namespace umld::state {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteAll(path_, "");
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
  }

  // The error of one statement.
  absl::Status Fails(const std::string& sql) {
    absl::Status status = database_->Execute(sql);
    EXPECT_FALSE(status.ok()) << sql;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(path_));
    return status;
  }

  TestFolder folder_;
  const std::string path_ = folder_.File("a b?c#d%20.db");
  std::unique_ptr<Database> database_;
};

TEST_F(DatabaseTest, BindsAndReadsEveryType) {
  const std::string odd("a\0b\xff'", 5);
  ASSERT_TRUE(database_->Execute("CREATE TABLE t (a INTEGER, b TEXT, c BLOB, d INTEGER, e TEXT) STRICT").ok());
  auto insert = database_->Prepare("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5)");
  ASSERT_TRUE(insert.ok()) << insert.status();
  ASSERT_TRUE(insert->Run(std::numeric_limits<uint64_t>::max(), odd, Blob{odd}, true, absl::string_view()).ok());
  EXPECT_EQ(database_->Changes(), 1);
  EXPECT_EQ(database_->LastInsertId(), 1u);

  auto select = database_->Prepare("SELECT a, b, c, d, e, NULL, e IS NULL FROM t");
  ASSERT_TRUE(select.ok()) << select.status();
  ASSERT_EQ(select->Step().value(), true);
  EXPECT_EQ(select->Uint(0), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(select->Text(1), odd);
  EXPECT_EQ(select->Text(2), odd);
  EXPECT_TRUE(select->Bool(3));
  EXPECT_EQ(select->Text(4), "");
  EXPECT_EQ(select->Text(5), "");
  EXPECT_FALSE(select->Bool(6)) << "empty text must not become NULL";
  EXPECT_EQ(select->Step().value(), false);
}

TEST_F(DatabaseTest, AStatementIsLentToOneAtATime) {
  constexpr char kSql[] = "SELECT 1";
  {
    auto first = database_->Prepare(kSql);
    ASSERT_TRUE(first->Step().value());
    EXPECT_EQ(database_->Prepare(kSql).status().code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(database_->QueryInt(kSql).value(), 1);
  EXPECT_EQ(database_->QueryInt(kSql).value(), 1);
}

TEST_F(DatabaseTest, TooManyParametersIsAnError) {
  auto statement = database_->Prepare("SELECT ?1");
  EXPECT_EQ(statement->Bind(1, 2).Step().status().code(), absl::StatusCode::kInternal);
}

TEST_F(DatabaseTest, AFullDatabaseIsAFullDisk) {
  ASSERT_TRUE(database_->Execute("PRAGMA max_page_count = 4; CREATE TABLE t (a)").ok());
  const absl::Status status = Fails("INSERT INTO t VALUES (randomblob(100000))");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(status).reason, "DISK_FULL");
  EXPECT_EQ(GetErrorDetail(status).subject, path_);
  EXPECT_NE(GetErrorDetail(status).hint, "");
}

TEST_F(DatabaseTest, ConstraintsHaveTheirCodes) {
  ASSERT_TRUE(database_
                  ->Execute("PRAGMA foreign_keys = ON; CREATE TABLE p (a INTEGER PRIMARY KEY CHECK (a < 9)); "
                            "CREATE TABLE c (a REFERENCES p (a)); INSERT INTO p VALUES (1)")
                  .ok());
  EXPECT_EQ(Fails("INSERT INTO p VALUES (1)").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Fails("INSERT INTO p VALUES (10)").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Fails("INSERT INTO c VALUES (2)").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DatabaseTest, AnotherWriterIsBusy) {
  auto other = Database::Open(path_, Database::Mode::kReadWrite);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE((*other)->Execute("BEGIN EXCLUSIVE").ok());
  ASSERT_TRUE(database_->Execute("PRAGMA busy_timeout = 1").ok());
  const absl::Status status = Fails("BEGIN IMMEDIATE");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetail(status).reason, "DATABASE_BUSY");
}

TEST_F(DatabaseTest, ReadOnlyModesRefuseToWrite) {
  ASSERT_TRUE(database_->Execute("CREATE TABLE t (a); INSERT INTO t VALUES (7)").ok());
  for (const Database::Mode mode : {Database::Mode::kReadOnly, Database::Mode::kImmutable}) {
    auto reader = Database::Open(path_, mode);
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ((*reader)->QueryInt("SELECT a FROM t").value(), 7);
    EXPECT_EQ(GetErrorDetail((*reader)->Execute("DELETE FROM t")).reason, "READ_ONLY_FILESYSTEM");
    EXPECT_FALSE((*reader)->CheckWritable().ok());
  }
}

TEST_F(DatabaseTest, PathsThatAreNone) {
  for (const char* path : {"", ":memory:"}) {
    EXPECT_EQ(Database::Open(path, Database::Mode::kReadWrite).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Database::Open(folder_.File("missing/db"), Database::Mode::kReadWrite).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(Database::Open(folder_.path(), Database::Mode::kReadWrite).ok());
}

TEST_F(DatabaseTest, ATransactionEndsWithItsScope) {
  ASSERT_TRUE(database_->Execute("CREATE TABLE t (a)").ok());
  {
    auto scope = ScopedTransaction::Begin(*database_, ScopedTransaction::Kind::kWrite);
    ASSERT_TRUE(scope.ok()) << scope.status();
    ASSERT_TRUE(database_->Execute("INSERT INTO t VALUES (1)").ok());
    EXPECT_TRUE(database_->InTransaction());
  }
  EXPECT_FALSE(database_->InTransaction());
  EXPECT_EQ(database_->QueryInt("SELECT COUNT(*) FROM t").value(), 0);
}

TEST_F(DatabaseTest, CommitAfterSqlitesOwnRollbackIsAnError) {
  auto scope = ScopedTransaction::Begin(*database_, ScopedTransaction::Kind::kWrite);
  ASSERT_TRUE(scope.ok()) << scope.status();
  ASSERT_TRUE(database_->Execute("ROLLBACK").ok());
  EXPECT_EQ(scope->Commit().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace umld::state
