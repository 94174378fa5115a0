#include "state/sqlite_reader.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace umld::state {
namespace {

#define UMLD_OPERATION_COLUMNS                                                                                  \
  "id, verb, guest_id, target, payload, COALESCE(request_id, ''), done, code, message, reason, subject, hint, " \
  "created_ns, ended_ns"

#define UMLD_SELECT_SNAPSHOTS                                                                            \
  "SELECT id, guest_id, name, description, created_ns, paused_ns, synced, unit, path, backing, "         \
  "size_bytes, allocated_bytes, parent_id, rotates, left_out, operation_id, together_ns FROM snapshots " \
  "JOIN snapshot_disks ON snapshot_id = id"

// SQLite's integers are signed: a bound above theirs is no bound.
int64_t Clamp(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

absl::Status ForEachRow(Statement& statement, const std::function<absl::Status()>& row) {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, statement.Step());
    if (!more) return absl::OkStatus();
    RETURN_IF_ERROR(row());
  }
}

bool IsString(const nlohmann::json& item) { return item.is_string(); }

absl::Status Damaged(const std::string& path, const std::string& what) {
  return MakeError(absl::StatusCode::kDataLoss, absl::StrCat(path, ": ", what, " are damaged"),
                   {"CORRUPT_DATABASE", path, "keep a copy of the file, then restore it from a backup"});
}

// `what`: "guest web1: its kernel arguments"
absl::StatusOr<std::vector<std::string>> ListFromJson(const std::string& path, const std::string& what,
                                                      const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array() || !std::all_of(json.begin(), json.end(), IsString)) return Damaged(path, what);
  std::vector<std::string> list;
  list.reserve(json.size());
  for (const nlohmann::json& item : json) list.push_back(*item.get_ptr<const nlohmann::json::string_t*>());
  return list;
}

absl::StatusOr<std::map<std::string, std::string>> LabelsFromJson(const std::string& path, const std::string& guest,
                                                                  const std::string& text) {
  std::map<std::string, std::string> labels;
  if (text == "{}") return labels;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !std::all_of(json.begin(), json.end(), IsString)) {
    return Damaged(path, absl::StrCat("guest ", guest, ": its labels"));
  }
  for (const auto& [key, value] : json.items()) labels[key] = *value.get_ptr<const nlohmann::json::string_t*>();
  return labels;
}

// One that cannot be read is somebody who may open nothing.
std::optional<Credentials> OpenerFrom(const std::string& text) {
  if (text.empty()) return std::nullopt;
  absl::StatusOr<Credentials> read = Credentials::Parse(text);
  return read.ok() ? *std::move(read) : Credentials{65534, 65534, {}};
}

absl::StatusOr<GuestRow> GuestFrom(const std::string& path, const Statement& statement) {
  GuestRow guest;
  guest.id = statement.Uint(0);
  guest.name = statement.Text(1);
  guest.kernel = statement.Text(2);
  guest.memory_bytes = statement.Uint(3);
  guest.image = statement.Text(4);
  ASSIGN_OR_RETURN(guest.kernel_args,
                   ListFromJson(path, absl::StrCat("guest ", guest.name, ": its kernel arguments"), statement.Text(5)));
  guest.description = statement.Text(6);
  guest.version = statement.Uint(7);
  guest.created_ns = statement.Int(8);
  guest.wanted_running = statement.Bool(9);
  guest.relaxed = statement.Bool(10);
  guest.cpu_percent = static_cast<uint32_t>(statement.Uint(11));
  guest.memory_max = statement.Uint(12);
  guest.pids_max = static_cast<uint32_t>(statement.Uint(13));
  guest.trusted = statement.Bool(14);
  guest.disk_bps = statement.Uint(15);
  guest.disk_iops = static_cast<uint32_t>(statement.Uint(16));
  guest.image_digest = statement.Text(17);
  ASSIGN_OR_RETURN(guest.labels, LabelsFromJson(path, guest.name, statement.Text(18)));
  guest.snapshot_id = statement.Uint(19);
  guest.keeps_memory = statement.Bool(20);
  guest.kernel_opener = OpenerFrom(statement.Text(21));
  return guest;
}

// The guests of one LoadGuests, found by id while their parts are read.
class GuestIndex {
 public:
  explicit GuestIndex(std::vector<GuestRow>& guests) : guests_(guests) {
    for (size_t i = 0; i < guests.size(); ++i) position_[guests[i].id] = i;
  }
  // Runs `add` for every row; the first column is the guest's id, which a foreign key guarantees.
  absl::Status Attach(Database& database, const char* sql,
                      const std::function<void(GuestRow&, const Statement&)>& add) const {
    ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql));
    return ForEachRow(statement, [&] {
      const auto found = position_.find(statement.Uint(0));
      if (found != position_.end()) add(guests_[found->second], statement);
      return absl::OkStatus();
    });
  }

 private:
  std::vector<GuestRow>& guests_;
  std::unordered_map<uint64_t, size_t> position_;
};

void AddDisk(GuestRow& guest, const Statement& row) {
  guest.disks.push_back({.unit = static_cast<uint32_t>(row.Uint(1)),
                         .path = row.Text(2),
                         .backing = row.Text(3),
                         .flags = row.Text(4),
                         .serial = row.Text(5),
                         .managed = row.Bool(6),
                         .opener = OpenerFrom(row.Text(7))});
}

void AddConsole(GuestRow& guest, const Statement& row) {
  guest.consoles.push_back({.device = row.Text(1), .channel = row.Text(2)});
}

void AddNic(GuestRow& guest, const Statement& row) {
  guest.nics.push_back({.device = row.Text(1), .spec = row.Text(2), .mac = row.Text(3)});
}

void SetExit(GuestRow& guest, const Statement& row) {
  guest.last_exit = ExitRow{.kind = static_cast<int>(row.Int(1)),
                            .reason = row.Text(2),
                            .exit_code = static_cast<int>(row.Int(3)),
                            .signal = static_cast<int>(row.Int(4)),
                            .last_lines = row.Text(5),
                            .stop_stage = row.Text(6),
                            .time_ns = row.Int(7)};
}

absl::StatusCode CodeFrom(int64_t number) {
  if (number < 0 || number > static_cast<int64_t>(absl::StatusCode::kUnauthenticated)) {
    return absl::StatusCode::kUnknown;
  }
  return static_cast<absl::StatusCode>(number);
}

OperationRow OperationFrom(const Statement& statement) {
  OperationRow operation;
  operation.id = statement.Uint(0);
  operation.verb = statement.Text(1);
  operation.guest_id = statement.Uint(2);
  operation.target = statement.Text(3);
  operation.payload = statement.Text(4);
  operation.request_id = statement.Text(5);
  operation.done = statement.Bool(6);
  operation.code = CodeFrom(statement.Int(7));
  operation.message = statement.Text(8);
  operation.reason = statement.Text(9);
  operation.subject = statement.Text(10);
  operation.hint = statement.Text(11);
  operation.created_ns = statement.Int(12);
  operation.ended_ns = statement.Int(13);
  return operation;
}

absl::StatusOr<std::vector<OperationRow>> AllOperations(Statement& statement) {
  std::vector<OperationRow> operations;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    operations.push_back(OperationFrom(statement));
    return absl::OkStatus();
  }));
  return operations;
}

absl::StatusOr<std::optional<OperationRow>> OneOperation(Statement& statement) {
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return std::optional<OperationRow>();
  return std::optional<OperationRow>(OperationFrom(statement));
}

}  // namespace

absl::StatusOr<std::vector<GuestRow>> ReadGuests(Database& database) {
  // Five tables: without a transaction a commit between two of them would be seen by half.
  ASSIGN_OR_RETURN(ScopedTransaction transaction, ScopedTransaction::Begin(database, ScopedTransaction::Kind::kRead));
  std::vector<GuestRow> guests;
  {
    ASSIGN_OR_RETURN(
        Statement statement,
        database.Prepare("SELECT id, name, kernel, memory_bytes, image, kernel_args, description, "
                         "version, created_ns, wanted_running, relaxed, cpu_percent, memory_max, pids_max, trusted, "
                         "disk_bps, disk_iops, image_digest, labels, snapshot_id, keeps_memory, kernel_opener "
                         "FROM guests ORDER BY name"));
    RETURN_IF_ERROR(ForEachRow(statement, [&]() -> absl::Status {
      ASSIGN_OR_RETURN(GuestRow guest, GuestFrom(database.path(), statement));
      guests.push_back(std::move(guest));
      return absl::OkStatus();
    }));
  }
  const GuestIndex index(guests);
  RETURN_IF_ERROR(index.Attach(
      database,
      "SELECT guest_id, unit, path, backing, flags, serial, managed, opener FROM disks ORDER BY guest_id, unit",
      AddDisk));
  RETURN_IF_ERROR(
      index.Attach(database, "SELECT guest_id, device, channel FROM consoles ORDER BY guest_id, position", AddConsole));
  RETURN_IF_ERROR(
      index.Attach(database, "SELECT guest_id, device, spec, mac FROM nics ORDER BY guest_id, position", AddNic));
  RETURN_IF_ERROR(index.Attach(
      database, "SELECT guest_id, kind, reason, exit_code, signal, last_lines, stop_stage, time_ns FROM exits",
      SetExit));
  return guests;
}

absl::StatusOr<std::vector<ImageRow>> ReadImages(Database& database) {
  ASSIGN_OR_RETURN(ScopedTransaction transaction, ScopedTransaction::Begin(database, ScopedTransaction::Kind::kRead));
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT digest, path, size_bytes, mtime_ns, description, created_ns "
                                    "FROM images ORDER BY digest"));
  std::vector<ImageRow> images;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    images.push_back({.digest = statement.Text(0),
                      .path = statement.Text(1),
                      .size_bytes = statement.Uint(2),
                      .mtime_ns = statement.Int(3),
                      .description = statement.Text(4),
                      .created_ns = statement.Int(5),
                      .names = {}});
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(Statement names, database.Prepare("SELECT digest, name FROM image_names ORDER BY digest, name"));
  auto image = images.begin();
  RETURN_IF_ERROR(ForEachRow(names, [&] {
    // Every name has its image, by a foreign key; both come in the order of the digests.
    while (image != images.end() && image->digest < names.Text(0)) ++image;
    if (image != images.end()) image->names.push_back(names.Text(1));
    return absl::OkStatus();
  }));
  return images;
}

absl::StatusOr<std::vector<KernelRow>> ReadKernels(Database& database) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT name, sha256, symbols, modules, description, "
                                                         "is_default, created_ns FROM kernels ORDER BY name"));
  std::vector<KernelRow> kernels;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    kernels.push_back({.name = statement.Text(0),
                       .sha256 = statement.Text(1),
                       .symbols = statement.Text(2),
                       .modules = statement.Text(3),
                       .description = statement.Text(4),
                       .is_default = statement.Bool(5),
                       .created_ns = statement.Int(6)});
    return absl::OkStatus();
  }));
  return kernels;
}

absl::StatusOr<std::vector<VolumeRow>> ReadVolumes(Database& database) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT name, description, created_ns FROM volumes ORDER BY name"));
  std::vector<VolumeRow> volumes;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    volumes.push_back({.name = statement.Text(0), .description = statement.Text(1), .created_ns = statement.Int(2)});
    return absl::OkStatus();
  }));
  return volumes;
}

absl::StatusOr<std::vector<PoolRow>> ReadPools(Database& database) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT kernel, memory_bytes, warm FROM pools ORDER BY kernel, memory_bytes"));
  std::vector<PoolRow> pools;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    pools.push_back({.kernel = statement.Text(0),
                     .memory_bytes = static_cast<uint64_t>(statement.Int(1)),
                     .warm = static_cast<uint32_t>(statement.Int(2))});
    return absl::OkStatus();
  }));
  return pools;
}

absl::StatusOr<std::vector<SnapshotRow>> ReadSnapshots(Database& database, uint64_t guest_id) {
  // One statement, so that it is one moment of the database. A snapshot has at least one disk.
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare(guest_id == 0 ? UMLD_SELECT_SNAPSHOTS " ORDER BY id, unit"
                                                  : UMLD_SELECT_SNAPSHOTS " WHERE guest_id = ?1 ORDER BY id, unit"));
  if (guest_id != 0) statement.Bind(guest_id);
  std::vector<SnapshotRow> snapshots;
  RETURN_IF_ERROR(ForEachRow(statement, [&]() -> absl::Status {
    if (snapshots.empty() || snapshots.back().id != statement.Uint(0)) {
      snapshots.push_back({.id = statement.Uint(0),
                           .guest_id = statement.Uint(1),
                           .name = statement.Text(2),
                           .description = statement.Text(3),
                           .created_ns = statement.Int(4),
                           .paused_ns = statement.Int(5),
                           .operation_id = statement.Uint(15),
                           .together_ns = statement.Int(16),
                           .synced = statement.Bool(6),
                           .parent_id = statement.Uint(12),
                           .rotates = statement.Bool(13),
                           .left_out = {},
                           .disks = {}});
      ASSIGN_OR_RETURN(snapshots.back().left_out,
                       ListFromJson(database.path(), "the disks left out of a snapshot", statement.Text(14)));
    }
    snapshots.back().disks.push_back({.unit = static_cast<uint32_t>(statement.Uint(7)),
                                      .path = statement.Text(8),
                                      .backing = statement.Text(9),
                                      .size_bytes = statement.Uint(10),
                                      .allocated_bytes = statement.Uint(11)});
    return absl::OkStatus();
  }));
  return snapshots;
}

absl::StatusOr<std::vector<OperationRow>> ReadUnfinishedOperations(Database& database) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT " UMLD_OPERATION_COLUMNS " FROM operations WHERE done = 0 ORDER BY id"));
  return AllOperations(statement);
}

absl::StatusOr<std::optional<OperationRow>> ReadOperation(Database& database, uint64_t id) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT " UMLD_OPERATION_COLUMNS " FROM operations WHERE id = ?1"));
  return OneOperation(statement.Bind(Clamp(id)));
}

absl::StatusOr<std::optional<OperationRow>> ReadOperationByRequestId(Database& database, absl::string_view request_id) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT " UMLD_OPERATION_COLUMNS " FROM operations WHERE request_id = ?1"));
  return OneOperation(statement.Bind(request_id));
}

absl::StatusOr<std::vector<OperationRow>> ReadOperations(Database& database, uint64_t before_id, int limit,
                                                         bool unfinished_only) {
  // Two texts, so that the second can use the index of unfinished operations.
  ASSIGN_OR_RETURN(
      Statement statement,
      database.Prepare(unfinished_only ? "SELECT " UMLD_OPERATION_COLUMNS " FROM operations WHERE id < ?1 AND done = 0 "
                                         "ORDER BY id DESC LIMIT ?2"
                                       : "SELECT " UMLD_OPERATION_COLUMNS
                                         " FROM operations WHERE id < ?1 ORDER BY id DESC LIMIT ?2"));
  const int64_t bound = before_id == 0 ? std::numeric_limits<int64_t>::max() : Clamp(before_id);
  // A negative LIMIT would mean none.
  return AllOperations(statement.Bind(bound, std::max(limit, 0)));
}

absl::StatusOr<std::vector<EventRow>> ReadEvents(Database& database, uint64_t after, int limit) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT sequence, time_ns, type, subject, guest_state, message FROM events "
                                    "WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"));
  statement.Bind(Clamp(after), std::max(limit, 0));
  std::vector<EventRow> events;
  RETURN_IF_ERROR(ForEachRow(statement, [&] {
    events.push_back({.sequence = statement.Uint(0),
                      .time_ns = statement.Int(1),
                      .type = statement.Text(2),
                      .subject = statement.Text(3),
                      .guest_state = static_cast<int>(statement.Int(4)),
                      .message = statement.Text(5)});
    return absl::OkStatus();
  }));
  return events;
}

absl::StatusOr<std::pair<uint64_t, uint64_t>> ReadEventRange(Database& database) {
  // Two subqueries: MIN and MAX in one SELECT would read the whole table.
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT (SELECT MIN(sequence) FROM events), "
                                                         "(SELECT MAX(sequence) FROM events)"));
  RETURN_IF_ERROR(statement.Step().status());
  return std::pair<uint64_t, uint64_t>(statement.Uint(0), statement.Uint(1));
}

}  // namespace umld::state
