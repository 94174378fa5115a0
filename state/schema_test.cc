#include "state/schema.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state/sqlite_reader.h"
#include "state/test_folder.h"

namespace umld::state {
namespace {

using testing::HasSubstr;

class SchemaTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteAll(path_, "");
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    ASSERT_TRUE(database_->Execute("PRAGMA foreign_keys = ON").ok());
  }
  int64_t Version() { return database_->QueryInt("PRAGMA user_version").value(); }

  TestFolder folder_;
  const std::string path_ = folder_.File("umld.db");
  std::unique_ptr<Database> database_;
};

TEST_F(SchemaTest, EveryVersionIsReachedFromEmpty) {
  for (int version = 0; version <= SchemaVersion(); ++version) {
    ASSERT_TRUE(MigrateTo(*database_, version).ok());
    EXPECT_EQ(Version(), version);
    EXPECT_TRUE(CheckDatabase(*database_).ok());
  }
  ASSERT_TRUE(MigrateTo(*database_, SchemaVersion()).ok()) << "a second time changes nothing";
  EXPECT_EQ(Version(), SchemaVersion());
}

TEST_F(SchemaTest, UpgradeFromVersion1KeepsRows) {
  ASSERT_TRUE(MigrateTo(*database_, 1).ok());
  ASSERT_TRUE(
      database_
          ->Execute("INSERT INTO images VALUES ('debian', '/i', 5, 6);"
                    "INSERT INTO guests VALUES (7, 'web1', '/k', 64, 'debian', '[\"quiet\"]', 3, 9, 1);"
                    "INSERT INTO disks VALUES (7, 0, '/c', '/b', 'c', 's', 1);"
                    "INSERT INTO operations VALUES (4, 'start', 7, 'guests/web1', x'00', 0, 0, '', '', '', '', 1, 0);"
                    "INSERT INTO operations VALUES (5, 'stop', 7, 'guests/web1', x'00', 0, 0, '', '', '', '', 1, 0);"
                    "INSERT INTO events VALUES (11, 1, 'CREATED', 'guests/web1', 'm');")
          .ok());
  ASSERT_TRUE(MigrateTo(*database_, SchemaVersion()).ok());

  const auto guests = ReadGuests(*database_);
  ASSERT_TRUE(guests.ok()) << guests.status();
  GuestRow expected;
  expected.id = 7;
  expected.name = "web1";
  expected.kernel = "/k";
  expected.memory_bytes = 64;
  expected.image = "debian";
  expected.image_digest = "debian";
  expected.kernel_args = {"quiet"};
  expected.version = 3;
  expected.created_ns = 9;
  expected.wanted_running = true;
  expected.disks = {{.unit = 0, .path = "/c", .backing = "/b", .flags = "c", .serial = "s", .managed = true}};
  ASSERT_EQ(guests->size(), 1u);
  EXPECT_TRUE(guests->front() == expected);
  const ImageRow image = ReadImages(*database_)->at(0);
  EXPECT_EQ(image.path, "/i");
  EXPECT_EQ(image.digest, "debian") << "its file has not been read yet";
  EXPECT_EQ(image.names, std::vector<std::string>{"debian"});
  EXPECT_EQ(ReadUnfinishedOperations(*database_)->size(), 2u);
  EXPECT_EQ(ReadEvents(*database_, 0, 10)->at(0).sequence, 11u);
  EXPECT_EQ(ReadEvents(*database_, 0, 10)->at(0).guest_state, 0);
}

TEST_F(SchemaTest, GuestsThatWereRelaxedBeforeThereWasTrustAreTrusted) {
  ASSERT_TRUE(MigrateTo(*database_, 4).ok());
  ASSERT_TRUE(database_
                  ->Execute("INSERT INTO guests (name, kernel, memory_bytes, kernel_args, version, created_ns, "
                            "wanted_running, relaxed) VALUES ('loose', '/k', 64, '[]', 1, 1, 0, 1), "
                            "('strict', '/k', 64, '[]', 1, 1, 0, 0)")
                  .ok());
  ASSERT_TRUE(MigrateTo(*database_, SchemaVersion()).ok());
  const auto guests = ReadGuests(*database_);
  ASSERT_TRUE(guests.ok() && guests->size() == 2u) << guests.status();
  EXPECT_TRUE(guests->at(0).relaxed && guests->at(0).trusted);
  EXPECT_FALSE(guests->at(1).relaxed || guests->at(1).trusted);
  EXPECT_EQ(guests->at(0).kernel, "/k");
}

TEST_F(SchemaTest, AMigrationThatFailsLeavesTheOldVersionWhole) {
  ASSERT_TRUE(MigrateTo(*database_, 1).ok());
  // In the way of the last statement but one of the second migration.
  ASSERT_TRUE(database_->Execute("CREATE TABLE operations_by_request_id (a)").ok());
  const absl::Status status = MigrateTo(*database_, 2);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("migration to version 2"));
  EXPECT_EQ(Version(), 1);
  EXPECT_FALSE(database_->Execute("SELECT description FROM guests").ok()) << "a part of the migration stayed";
}

TEST_F(SchemaTest, NewerIsRefused) {
  ASSERT_TRUE(MigrateTo(*database_, SchemaVersion()).ok());
  ASSERT_TRUE(database_->Execute("PRAGMA user_version = 99").ok());
  for (const absl::Status& status : {CheckDatabase(*database_), MigrateTo(*database_, SchemaVersion())}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(GetErrorDetail(status).reason, "NEWER_DATABASE");
    EXPECT_THAT(std::string(status.message()), HasSubstr("version 99"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("up to ", SchemaVersion())));
  }
}

TEST_F(SchemaTest, AnotherProgramsDatabaseIsRefused) {
  ASSERT_TRUE(database_->Execute("CREATE TABLE bookmarks (a)").ok());
  EXPECT_EQ(GetErrorDetail(CheckDatabase(*database_)).reason, "FOREIGN_DATABASE");
  ASSERT_TRUE(database_->Execute("PRAGMA user_version = 1").ok());
  EXPECT_EQ(GetErrorDetail(MigrateTo(*database_, SchemaVersion())).reason, "FOREIGN_DATABASE");
}

}  // namespace
}  // namespace umld::state
