#include "state/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "state/database.h"
#include "state/schema.h"
#include "state/sqlite_reader.h"
#include "state/sqlite_transaction.h"

namespace umld::state {
namespace {

constexpr off_t kWalReserve = off_t{8} << 20, kGrowthReserve = off_t{4} << 20;

// Two connections: under WAL a reader on its own connection never waits for the writer's fsync.
class SqliteStore final : public Store {
 public:
  SqliteStore(std::unique_ptr<Database> writer, std::unique_ptr<Database> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)) {}

  absl::Status Commit(const std::function<absl::Status(Transaction&)>& body) override;
  absl::Status Prune(uint64_t events, int64_t operations_before_ns) override;

  absl::StatusOr<std::vector<GuestRow>> LoadGuests() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadGuests(*reader_);
  }
  absl::StatusOr<std::vector<ImageRow>> LoadImages() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadImages(*reader_);
  }
  absl::StatusOr<std::vector<KernelRow>> LoadKernels() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadKernels(*reader_);
  }
  absl::StatusOr<std::vector<VolumeRow>> LoadVolumes() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadVolumes(*reader_);
  }
  absl::StatusOr<std::vector<PoolRow>> LoadPools() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadPools(*reader_);
  }
  absl::StatusOr<std::vector<SnapshotRow>> LoadSnapshots() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadSnapshots(*reader_, 0);
  }
  absl::StatusOr<std::vector<SnapshotRow>> LoadSnapshotsOf(uint64_t guest_id) override {
    absl::MutexLock lock(&read_mutex_);
    return ReadSnapshots(*reader_, guest_id);
  }
  absl::StatusOr<std::vector<OperationRow>> LoadUnfinishedOperations() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadUnfinishedOperations(*reader_);
  }
  absl::StatusOr<std::optional<OperationRow>> FindOperation(uint64_t id) override {
    absl::MutexLock lock(&read_mutex_);
    return ReadOperation(*reader_, id);
  }
  absl::StatusOr<std::optional<OperationRow>> FindOperationByRequestId(absl::string_view request_id) override {
    absl::MutexLock lock(&read_mutex_);
    return ReadOperationByRequestId(*reader_, request_id);
  }
  absl::StatusOr<std::vector<OperationRow>> ListOperations(uint64_t before_id, int limit,
                                                           bool unfinished_only) override {
    absl::MutexLock lock(&read_mutex_);
    return ReadOperations(*reader_, before_id, limit, unfinished_only);
  }
  absl::StatusOr<std::vector<EventRow>> ListEvents(uint64_t after, int limit) override {
    absl::MutexLock lock(&read_mutex_);
    return ReadEvents(*reader_, after, limit);
  }
  absl::StatusOr<std::pair<uint64_t, uint64_t>> EventRange() override {
    absl::MutexLock lock(&read_mutex_);
    return ReadEventRange(*reader_);
  }
  absl::Status Ping() override {
    absl::MutexLock lock(&read_mutex_);
    return reader_->QueryInt("SELECT COUNT(*) FROM sqlite_schema").status();
  }

 private:
  absl::Mutex write_mutex_;
  absl::Mutex read_mutex_;
  // In this order: the reader goes first, so that the writer is the last to close and puts the WAL into the file.
  const std::unique_ptr<Database> writer_ ABSL_PT_GUARDED_BY(write_mutex_);
  const std::unique_ptr<Database> reader_ ABSL_PT_GUARDED_BY(read_mutex_);
};

absl::Status SqliteStore::Commit(const std::function<absl::Status(Transaction&)>& body) {
  absl::MutexLock lock(&write_mutex_);
  ASSIGN_OR_RETURN(ScopedTransaction scope, ScopedTransaction::Begin(*writer_, ScopedTransaction::Kind::kWrite));
  SqliteTransaction transaction(*writer_);
  RETURN_IF_ERROR(body(transaction));
  RETURN_IF_ERROR(transaction.failure());
  return scope.Commit();
}

// "guests/web1" of "guests/web1/disks/ubda".
std::string OwnerOf(std::string subject) {
  const size_t slash = subject.find('/');
  if (slash != std::string::npos) subject.resize(std::min(subject.size(), subject.find('/', slash + 1)));
  return subject;
}

using Counts = std::unordered_map<std::string, uint64_t>;

absl::StatusOr<Counts> CountEvents(Database& database) {
  Counts counts;
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT subject FROM events"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, statement.Step());
    if (!more) return counts;
    ++counts[OwnerOf(statement.Text(0))];
  }
}

// How many each may have so that all have `most` together; those that have fewer leave the rest to the others.
uint64_t FairShare(const Counts& counts, uint64_t most) {
  std::vector<uint64_t> sorted;
  for (const auto& [owner, count] : counts) sorted.push_back(count);
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) {
    const uint64_t share = most / (sorted.size() - i);
    if (sorted[i] > share) return share;
    most -= sorted[i];
  }
  return std::numeric_limits<uint64_t>::max();
}

// The oldest events of those that have more than their share.
absl::StatusOr<std::vector<uint64_t>> EventsBeyondShares(Database& database, uint64_t most) {
  std::vector<uint64_t> beyond;
  ASSIGN_OR_RETURN(Counts too_many, CountEvents(database));
  // At least a hundredth: guests that are long gone, each with a few events, must not keep those of the others out.
  const uint64_t share = std::max({FairShare(too_many, most), most / 100, uint64_t{1}});
  uint64_t left = 0;
  for (auto& [owner, count] : too_many) {
    count -= std::min(count, share);
    left += count;
  }
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT sequence, subject FROM events ORDER BY sequence"));
  while (left > 0) {
    ASSIGN_OR_RETURN(const bool more, statement.Step());
    if (!more) break;
    uint64_t& count = too_many[OwnerOf(statement.Text(1))];
    if (count == 0) continue;
    --count;
    --left;
    beyond.push_back(statement.Uint(0));
  }
  return beyond;
}

absl::Status PruneEvents(Database& database, uint64_t most) {
  // There are no more than numbers, and that is known without reading them all.
  ASSIGN_OR_RETURN(const auto range, ReadEventRange(database));
  if (range.second - range.first < most) return absl::OkStatus();
  // Of very many, which an earlier umld may have left, only the newest are worth being shared out.
  constexpr uint64_t kWorth = 10;
  if ((range.second - range.first) / kWorth > most) {
    ASSIGN_OR_RETURN(Statement oldest, database.Prepare("DELETE FROM events WHERE sequence <= ?1"));
    RETURN_IF_ERROR(oldest.Run(range.second - kWorth * most));
  }
  ASSIGN_OR_RETURN(const std::vector<uint64_t> beyond, EventsBeyondShares(database, most));
  {
    ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM events WHERE sequence = ?1"));
    for (const uint64_t sequence : beyond) RETURN_IF_ERROR(statement.Run(sequence));
  }
  // The newest event that goes is the one after `most` newer ones; there may be none.
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("DELETE FROM events WHERE sequence <= "
                                    "(SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET ?1)"));
  return statement.Run(std::min<uint64_t>(most, std::numeric_limits<int64_t>::max()));
}

absl::Status SqliteStore::Prune(uint64_t events, int64_t operations_before_ns) {
  absl::MutexLock lock(&write_mutex_);
  ASSIGN_OR_RETURN(ScopedTransaction scope, ScopedTransaction::Begin(*writer_, ScopedTransaction::Kind::kWrite));
  RETURN_IF_ERROR(PruneEvents(*writer_, events));
  {
    ASSIGN_OR_RETURN(Statement statement, writer_->Prepare("DELETE FROM operations WHERE done <> 0 AND ended_ns < ?1"));
    RETURN_IF_ERROR(statement.Run(operations_before_ns));
  }
  return scope.Commit();
}

// Makes an empty file of mode 0600, which SQLite takes for an empty database and whose mode its WAL inherits.
// False: there was a file.
absl::StatusOr<bool> CreateFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd.ok()) return true;
  if (errno == EEXIST) return false;
  return ErrnoError(errno, absl::StrCat("create ", path));
}

bool Exists(const std::string& path) {
  struct stat info = {};
  return ::lstat(path.c_str(), &info) == 0;
}

// Everything that can be refused is found here, before anything is opened for writing.
absl::Status InspectFile(const std::string& path) {
  // With no WAL and no journal the file is all there is, and need not be locked or given an index beside it.
  const bool alone = !Exists(path + "-wal") && !Exists(path + "-journal");
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   Database::Open(path, alone ? Database::Mode::kImmutable : Database::Mode::kReadOnly));
  absl::Status status = CheckDatabase(*database);
  // A crash in the very first write, before the WAL is on, leaves a rollback journal, which only a writer can apply.
  if (database->last_code() == SQLITE_READONLY_ROLLBACK) return absl::OkStatus();
  return status;
}

// A restored backup may be readable by all; it holds paths and kernel arguments of every guest.
absl::Status RestrictMode(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoError(errno, absl::StrCat("stat ", path));
  if ((info.st_mode & 0077) == 0) return absl::OkStatus();
  if (::chmod(path.c_str(), 0600) != 0) return ErrnoError(errno, absl::StrCat("chmod 0600 ", path));
  return absl::OkStatus();
}

absl::Status Configure(Database& writer) {
  RETURN_IF_ERROR(writer.Execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"));
  ASSIGN_OR_RETURN(const std::string mode, writer.QueryText("PRAGMA journal_mode = WAL"));
  if (mode == "wal") return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(writer.path(), ": no write-ahead log on this filesystem"),
                   {"WAL_UNSUPPORTED", writer.path(), "use a state directory on a local filesystem"});
}

// Has the filesystem set aside `bytes` beyond what `path` has, for the commits of a full disk: guests are still ended
// and deleted. Not every filesystem can; then there is none. Never for a database that is open: closing any descriptor
// of a file drops the process's locks on it, which are SQLite's.
void Reserve(const std::string& path, off_t bytes) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat info = {};
  if (!file.ok() || ::fstat(file.get(), &info) != 0) return;
  (void)::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, info.st_size + bytes);
}

absl::StatusOr<std::unique_ptr<Database>> OpenWriter(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> writer, Database::Open(path, Database::Mode::kReadWrite));
  RETURN_IF_ERROR(writer->CheckWritable());
  RETURN_IF_ERROR(MigrateTo(*writer, 0));  // Refuses what InspectFile could not read, before WAL is switched on.
  RETURN_IF_ERROR(Configure(*writer));
  RETURN_IF_ERROR(MigrateTo(*writer, SchemaVersion()));
  return writer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& given_path) {
  ASSIGN_OR_RETURN(const bool created, CreateFile(given_path));
  // SQLite keeps the WAL beside the file itself, not beside a symbolic link to it.
  std::error_code error;
  const std::string path = std::filesystem::canonical(given_path, error);
  if (error) return ErrnoError(error.value(), absl::StrCat("open ", given_path));
  if (!created) {
    RETURN_IF_ERROR(InspectFile(path));
    RETURN_IF_ERROR(RestrictMode(path));
  }
  Reserve(path, kGrowthReserve);
  ASSIGN_OR_RETURN(std::unique_ptr<Database> writer, OpenWriter(path));
  ASSIGN_OR_RETURN(std::unique_ptr<Database> reader, Database::Open(path, Database::Mode::kReadOnly));
  auto store = std::make_unique<SqliteStore>(std::move(writer), std::move(reader));
  RETURN_IF_ERROR(store->Ping());
  // SQLite writes it over and over again, begins anew at 4 MiB, and has no locks on it.
  Reserve(path + "-wal", kWalReserve);
  return store;
}

}  // namespace umld::state
