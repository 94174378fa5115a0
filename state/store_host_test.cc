// What the store does on a host that misbehaves: damaged, newer and read-only files, full disks, sudden death.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state/database.h"
#include "state/schema.h"
#include "state/store.h"
#include "state/test_folder.h"

namespace umld::state {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

constexpr uid_t kNobody = 65534;
constexpr mode_t kPermissionBits = 07777;

EventRow Event(const std::string& message) {
  EventRow event;
  event.message = message;
  return event;
}

GuestRow Guest(const std::string& name) {
  GuestRow guest;
  guest.name = name;
  return guest;
}

absl::Status AppendEvent(Store& store, const std::string& message) {
  return store.Commit([&](Transaction& transaction) { return transaction.AppendEvent(Event(message)).status(); });
}

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & kPermissionBits;
}

class StoreHostTest : public testing::Test {
 protected:
  // A store with `events` events, closed cleanly.
  void Make(int events) {
    auto store = Store::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    for (int i = 0; i < events; ++i) ASSERT_TRUE(AppendEvent(**store, std::string(2000, 'x')).ok());
  }

  // Open fails so, and leaves the folder as it was.
  void ExpectRefused(absl::StatusCode code, const std::string& reason) {
    const std::string before = ReadAll(path_);
    const auto names = folder_.Names();
    const absl::Status status = Store::Open(path_).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(GetErrorDetail(status).reason, reason);
    EXPECT_EQ(GetErrorDetail(status).subject, path_);
    EXPECT_NE(GetErrorDetail(status).hint, "");
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(path_));
    EXPECT_TRUE(ReadAll(path_) == before) << "the file was touched";
    EXPECT_EQ(folder_.Names(), names) << "something was left beside it";
  }

  TestFolder folder_;
  const std::string path_ = folder_.File("umld.db");
};

TEST_F(StoreHostTest, FilesAreTheOwnersAlone) {
  const mode_t old_mask = ::umask(0);
  {
    auto store = Store::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(AppendEvent(**store, "").ok());
    for (const std::string& name : folder_.Names()) EXPECT_EQ(ModeOf(folder_.File(name)), 0600u) << name;
  }
  ::umask(old_mask);
  ASSERT_EQ(::chmod(path_.c_str(), 0644), 0);
  ASSERT_TRUE(Store::Open(path_).ok());
  EXPECT_EQ(ModeOf(path_), 0600u);
  EXPECT_THAT(folder_.Names(), ElementsAre("umld.db")) << "a clean close leaves one file";
}

TEST_F(StoreHostTest, UpgradesVersion1) {
  WriteAll(path_, "");
  {
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(MigrateTo(**database, 1).ok());
    ASSERT_TRUE((*database)->Execute("INSERT INTO images VALUES ('debian', '/i', 5, 6)").ok());
  }
  auto store = Store::Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->LoadImages()->front().digest, "debian");
  EXPECT_TRUE(AppendEvent(**store, "").ok());
}

TEST_F(StoreHostTest, NewerIsRefusedUntouched) {
  Make(3);
  {
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE((*database)->Execute("PRAGMA user_version = 99").ok());
  }
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "NEWER_DATABASE");
}

TEST_F(StoreHostTest, NewerInTheWalIsRefusedUntouched) {
  Make(3);
  // Dies before its WAL is put into the file.
  ASSERT_EQ(RunInChild([&] {
              auto database = Database::Open(path_, Database::Mode::kReadWrite);
              ::_exit((*database)->Execute("PRAGMA user_version = 99").ok() ? 0 : 1);
              return 2;
            }),
            0);
  ASSERT_TRUE(std::filesystem::exists(path_ + "-wal"));
  const std::string wal = ReadAll(path_ + "-wal");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "NEWER_DATABASE");
  EXPECT_TRUE(ReadAll(path_ + "-wal") == wal);

  // The WAL is beside the file, not beside a symbolic link to it.
  const TestFolder elsewhere;
  ASSERT_EQ(::symlink(path_.c_str(), elsewhere.File("link.db").c_str()), 0);
  EXPECT_EQ(GetErrorDetail(Store::Open(elsewhere.File("link.db")).status()).reason, "NEWER_DATABASE");
  EXPECT_TRUE(ReadAll(path_ + "-wal") == wal);
}

TEST_F(StoreHostTest, GarbageIsRefusedUntouched) {
  for (const std::string& bytes : {std::string("short"), std::string(100, 'x'), std::string(100'000, '\xff')}) {
    WriteAll(path_, bytes);
    ExpectRefused(absl::StatusCode::kDataLoss, "CORRUPT_DATABASE");
  }
}

TEST_F(StoreHostTest, ADamagedPageIsRefusedUntouched) {
  Make(100);
  const std::string good = ReadAll(path_);
  constexpr size_t kPage = 4096;
  ASSERT_GT(good.size(), 20 * kPage);
  for (const size_t page : {size_t{1}, size_t{2}, good.size() / kPage / 2, good.size() / kPage - 1}) {
    std::string bad = good;
    bad.replace(page * kPage, kPage, std::string(kPage, '\xa5'));
    WriteAll(path_, bad);
    ExpectRefused(absl::StatusCode::kDataLoss, "CORRUPT_DATABASE");
  }
  WriteAll(path_, good.substr(0, good.size() / 2));
  ExpectRefused(absl::StatusCode::kDataLoss, "CORRUPT_DATABASE");
  WriteAll(path_, good);
  EXPECT_TRUE(Store::Open(path_).ok());
}

TEST_F(StoreHostTest, ForeignIsRefusedUntouched) {
  WriteAll(path_, "");
  {
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE((*database)->Execute("CREATE TABLE bookmarks (a)").ok());
  }
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "FOREIGN_DATABASE");
}

TEST_F(StoreHostTest, MissingFolderAndFolderForFile) {
  EXPECT_EQ(Store::Open(folder_.File("none/umld.db")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Store::Open(folder_.path()).ok());
}

TEST_F(StoreHostTest, ASymbolicLinkIsFollowedToTheWal) {
  const std::string link = folder_.File("link.db");
  ASSERT_EQ(RunInChild([&] {
              auto store = Store::Open(path_);
              ::_exit(AppendEvent(**store, "in the WAL").ok() ? 0 : 1);
              return 2;
            }),
            0);
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  auto store = Store::Open(link);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT(*(*store)->ListEvents(0, 10), SizeIs(1));
}

TEST_F(StoreHostTest, AFileThatMayOnlyBeReadIsDenied) {
  // As root, in a place that the other user can reach; otherwise as whoever runs the test.
  const TestFolder shared("/tmp");
  const std::string path = shared.File("umld.db");
  ASSERT_TRUE(Store::Open(path).ok());
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(path.c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::chown(shared.path().c_str(), kNobody, kNobody), 0);
  }
  const auto open_as_user = [&] {
    return RunInChild([&] {
      if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) return 100;
      return static_cast<int>(Store::Open(path).status().code());
    });
  };
  EXPECT_EQ(open_as_user(), static_cast<int>(absl::StatusCode::kOk));
  ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
  EXPECT_EQ(open_as_user(), static_cast<int>(absl::StatusCode::kPermissionDenied));
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(::chmod(shared.path().c_str(), 0500), 0);
  EXPECT_EQ(open_as_user(), static_cast<int>(absl::StatusCode::kPermissionDenied)) << "no WAL can be made";
  ASSERT_EQ(::chmod(shared.path().c_str(), 0700), 0);
}

void SetFileSizeLimit(rlim_t bytes) {
  struct rlimit limit = {};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

// Fills up to the limit, then goes on without one. Returns the number of commits that were acknowledged; -1 and below
// name the step that went wrong.
int FillAndRecover(const std::string& path) {
  ::signal(SIGXFSZ, SIG_IGN);
  auto store = Store::Open(path);
  if (!store.ok()) return 201;
  SetFileSizeLimit(1 << 20);
  int acknowledged = 0;
  absl::Status status;
  while (acknowledged < 100) {
    status = AppendEvent(**store, std::string(50'000, 'x'));
    if (!status.ok()) break;
    ++acknowledged;
  }
  if (status.code() != absl::StatusCode::kResourceExhausted) return 202;
  if (GetErrorDetail(status).reason != "DISK_FULL") return 203;
  if ((*store)->ListEvents(0, 1000)->size() != static_cast<size_t>(acknowledged)) return 204;
  SetFileSizeLimit(RLIM_INFINITY);
  if (!AppendEvent(**store, "after").ok()) return 205;
  return acknowledged + 1;
}

TEST_F(StoreHostTest, AFullDiskLosesNothingAndHeals) {
  const int acknowledged = RunInChild([&] { return FillAndRecover(path_); });
  ASSERT_GT(acknowledged, 1);
  ASSERT_LT(acknowledged, 200) << "the step that went wrong";
  auto store = Store::Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT(*(*store)->ListEvents(0, 1000), SizeIs(acknowledged));
}

TEST_F(StoreHostTest, NoSpaceForANewDatabase) {
  EXPECT_EQ(RunInChild([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              SetFileSizeLimit(1000);
              return static_cast<int>(Store::Open(path_).status().code());
            }),
            static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(Store::Open(path_).ok()) << "what the failed attempt left is in the way";
}

// Commits for ever, and tells the pipe each sequence once it is acknowledged.
[[noreturn]] void CommitForEver(const std::string& path, int pipe) {
  auto store = Store::Open(path);
  while (store.ok()) {
    uint64_t sequence = 0;
    const absl::Status status = (*store)->Commit([&](Transaction& transaction) -> absl::Status {
      ASSIGN_OR_RETURN(sequence, transaction.AppendEvent(Event(std::string(3000, 'x'))));
      return transaction.InsertGuest(Guest(absl::StrCat("guest", sequence))).status();
    });
    if (!status.ok() || ::write(pipe, &sequence, sizeof sequence) != sizeof sequence) break;
  }
  ::_exit(1);
}

TEST_F(StoreHostTest, WhatWasAcknowledgedSurvivesKill) {
  uint64_t last = 0;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) CommitForEver(path_, write_end.get());
    write_end.reset();
    // Another number of commits each round; past 1,000 pages the WAL is put into the file on the way.
    const uint64_t enough = last + 50 + 150 * static_cast<uint64_t>(round);
    while (last < enough && ::read(read_end.get(), &last, sizeof last) == sizeof last) {
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    while (::read(read_end.get(), &last, sizeof last) == sizeof last) {
    }
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_GE(last, enough) << "the child failed";

    auto store = Store::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto range = (*store)->EventRange();
    EXPECT_GE(range->second, last) << "an acknowledged commit is gone";
    EXPECT_LE(range->second, last + 1);
    EXPECT_THAT(*(*store)->LoadGuests(), SizeIs(range->second)) << "half a commit is there";
  }
}

TEST_F(StoreHostTest, ACrashBeforeTheWalIsOnHeals) {
  WriteAll(path_, "");
  {
    auto database = Database::Open(path_, Database::Mode::kReadWrite);
    ASSERT_TRUE(MigrateTo(**database, SchemaVersion()).ok());
    ASSERT_TRUE((*database)->Execute("INSERT INTO images VALUES ('debian', '/i', 5, 6, '', 0)").ok());
  }
  // The cache is too small for the change, so half of it reaches the file before the process dies.
  ASSERT_EQ(RunInChild([&] {
              auto database = Database::Open(path_, Database::Mode::kReadWrite);
              const absl::Status status = (*database)->Execute(
                  "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; DELETE FROM images; "
                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
                  "INSERT INTO images SELECT 'i' || i, hex(randomblob(2000)), 1, 1, '', 0 FROM n");
              ::_exit(status.ok() ? 0 : 1);
              return 2;
            }),
            0);
  ASSERT_FALSE(ReadAll(path_ + "-journal").empty());
  auto store = Store::Open(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_THAT(*(*store)->LoadImages(), SizeIs(1));
  EXPECT_EQ((*store)->LoadImages()->front().digest, "debian");
}

}  // namespace
}  // namespace umld::state
