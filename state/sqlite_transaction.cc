#include "state/sqlite_transaction.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld::state {
namespace {

absl::Status NoGuest(uint64_t id, absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound,
                   name.empty() ? absl::StrCat("there is no guest with id ", id) : absl::StrCat("no guest ", name),
                   {"GUEST_NOT_FOUND", absl::StrCat("guests/", name), "umlctl list shows the guests"});
}

absl::StatusOr<std::string> ArgsToJson(const GuestRow& guest) {
  const nlohmann::json json = guest.kernel_args;
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  // JSON holds only UTF-8; what was replaced would come back as something else.
  if (nlohmann::json::parse(text, nullptr, false) != json) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("guest ", guest.name, ": a kernel argument is not UTF-8"),
                     {"INVALID_KERNEL_ARGUMENT", absl::StrCat("guests/", guest.name), "write it in UTF-8"});
  }
  return text;
}

// Labels are ASCII (umld/labels.h).
std::string LabelsToJson(const GuestRow& guest) { return nlohmann::json(guest.labels).dump(); }

// A guest of another id has the name.
absl::Status CheckNameFree(Database& database, const GuestRow& guest, uint64_t own_id) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT 1 FROM guests WHERE name = ?1 AND id <> ?2"));
  ASSIGN_OR_RETURN(const bool taken, statement.Bind(guest.name, own_id).Step());
  if (!taken) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a guest ", guest.name, " already"),
                   {"GUEST_EXISTS", absl::StrCat("guests/", guest.name), "choose another name, or delete that guest"});
}

absl::StatusOr<bool> ImageExists(Database& database, absl::string_view digest) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT 1 FROM images WHERE digest = ?1"));
  return statement.Bind(digest).Step();
}

absl::Status NoImage(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("no image ", name),
                   {"IMAGE_NOT_FOUND", absl::StrCat("images/", name), "umlctl image list shows the images"});
}

absl::Status CheckImage(Database& database, const GuestRow& guest) {
  if (guest.image_digest.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool exists, ImageExists(database, guest.image_digest));
  return exists ? absl::OkStatus() : Annotate(NoImage(guest.image), absl::StrCat("guest ", guest.name));
}

absl::StatusOr<bool> KernelExists(Database& database, absl::string_view name) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT 1 FROM kernels WHERE name = ?1"));
  return statement.Bind(name).Step();
}

absl::Status NoKernel(absl::string_view name) {
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("no kernel ", name),
                   {"KERNEL_NOT_FOUND", absl::StrCat(kKernelPrefix, name), "umlctl kernel list shows the kernels"});
}

// The kernel that a guest names; one that it has as a path, or none, is not ours to know.
absl::Status CheckKernel(Database& database, const GuestRow& guest) {
  absl::string_view name = guest.kernel;
  if (!absl::ConsumePrefix(&name, kKernelPrefix) || guest.kernel == kSystemKernel) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool exists, KernelExists(database, name));
  return exists ? absl::OkStatus() : Annotate(NoKernel(name), absl::StrCat("guest ", guest.name));
}

std::string OpenerText(const std::optional<Credentials>& opener) {
  return opener.has_value() ? opener->ToText() : std::string();
}

absl::Status InsertDisks(Database& database, uint64_t id, const std::vector<DiskRow>& disks) {
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO disks (guest_id, unit, path, backing, flags, "
                                    "serial, managed, opener) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  for (const DiskRow& disk : disks) {
    RETURN_IF_ERROR(insert.Run(id, disk.unit, disk.path, disk.backing, disk.flags, disk.serial, disk.managed,
                               OpenerText(disk.opener)));
  }
  return absl::OkStatus();
}

absl::Status InsertConsoles(Database& database, uint64_t id, const std::vector<ConsoleRow>& consoles) {
  ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO consoles (guest_id, position, device, channel) VALUES (?1, ?2, ?3, ?4)"));
  int position = 0;
  for (const ConsoleRow& console : consoles) {
    RETURN_IF_ERROR(insert.Run(id, position++, console.device, console.channel));
  }
  return absl::OkStatus();
}

absl::Status InsertNics(Database& database, uint64_t id, const std::vector<NicRow>& nics) {
  ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO nics (guest_id, position, device, spec, mac) VALUES (?1, ?2, ?3, ?4, ?5)"));
  int position = 0;
  for (const NicRow& nic : nics) {
    RETURN_IF_ERROR(insert.Run(id, position++, nic.device, nic.spec, nic.mac));
  }
  return absl::OkStatus();
}

absl::Status InsertExit(Database& database, uint64_t id, const ExitRow& exit) {
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO exits (guest_id, kind, reason, exit_code, signal, last_lines, "
                                    "stop_stage, time_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  return insert.Run(id, exit.kind, exit.reason, exit.exit_code, exit.signal, exit.last_lines, exit.stop_stage,
                    exit.time_ns);
}

// Everything that hangs on the guest's row.
absl::Status InsertParts(Database& database, uint64_t id, const GuestRow& guest) {
  RETURN_IF_ERROR(InsertDisks(database, id, guest.disks));
  RETURN_IF_ERROR(InsertConsoles(database, id, guest.consoles));
  RETURN_IF_ERROR(InsertNics(database, id, guest.nics));
  return guest.last_exit.has_value() ? InsertExit(database, id, *guest.last_exit) : absl::OkStatus();
}

absl::Status DeleteParts(Database& database, uint64_t id) {
  for (const char* sql : {"DELETE FROM disks WHERE guest_id = ?1", "DELETE FROM consoles WHERE guest_id = ?1",
                          "DELETE FROM nics WHERE guest_id = ?1", "DELETE FROM exits WHERE guest_id = ?1"}) {
    ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql));
    RETURN_IF_ERROR(statement.Run(id));
  }
  return absl::OkStatus();
}

absl::Status DoInsertGuest(Database& database, const GuestRow& guest) {
  RETURN_IF_ERROR(CheckNameFree(database, guest, 0));
  RETURN_IF_ERROR(CheckImage(database, guest));
  RETURN_IF_ERROR(CheckKernel(database, guest));
  ASSIGN_OR_RETURN(const std::string args, ArgsToJson(guest));
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO guests (name, kernel, memory_bytes, image, kernel_args, description, "
                                    "version, created_ns, wanted_running, relaxed, cpu_percent, memory_max, pids_max, "
                                    "trusted, disk_bps, disk_iops, image_digest, labels, snapshot_id, keeps_memory, "
                                    "kernel_opener) "
                                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, "
                                    "NULLIF(?17, ''), ?18, ?19, ?20, ?21)"));
  return insert.Run(guest.name, guest.kernel, guest.memory_bytes, guest.image, args, guest.description, guest.version,
                    guest.created_ns, guest.wanted_running, guest.relaxed, guest.cpu_percent, guest.memory_max,
                    guest.pids_max, guest.trusted, guest.disk_bps, guest.disk_iops, guest.image_digest,
                    LabelsToJson(guest), guest.snapshot_id, guest.keeps_memory, OpenerText(guest.kernel_opener));
}

absl::Status DoUpdateGuest(Database& database, const GuestRow& guest) {
  RETURN_IF_ERROR(CheckNameFree(database, guest, guest.id));
  RETURN_IF_ERROR(CheckImage(database, guest));
  RETURN_IF_ERROR(CheckKernel(database, guest));
  ASSIGN_OR_RETURN(const std::string args, ArgsToJson(guest));
  ASSIGN_OR_RETURN(Statement update,
                   database.Prepare("UPDATE guests SET name = ?1, kernel = ?2, memory_bytes = ?3, "
                                    "image = ?4, kernel_args = ?5, description = ?6, version = ?7, "
                                    "created_ns = ?8, wanted_running = ?9, relaxed = ?10, cpu_percent = ?11, "
                                    "memory_max = ?12, pids_max = ?13, trusted = ?14, disk_bps = ?15, "
                                    "disk_iops = ?16, image_digest = NULLIF(?17, ''), labels = ?18, snapshot_id = ?19, "
                                    "keeps_memory = ?20, kernel_opener = ?21 WHERE id = ?22"));
  RETURN_IF_ERROR(update.Run(guest.name, guest.kernel, guest.memory_bytes, guest.image, args, guest.description,
                             guest.version, guest.created_ns, guest.wanted_running, guest.relaxed, guest.cpu_percent,
                             guest.memory_max, guest.pids_max, guest.trusted, guest.disk_bps, guest.disk_iops,
                             guest.image_digest, LabelsToJson(guest), guest.snapshot_id, guest.keeps_memory,
                             OpenerText(guest.kernel_opener), guest.id));
  if (database.Changes() == 0) return NoGuest(guest.id, guest.name);
  RETURN_IF_ERROR(DeleteParts(database, guest.id));
  return InsertParts(database, guest.id, guest);
}

absl::Status DoDeleteGuest(Database& database, uint64_t id) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM guests WHERE id = ?1"));
  RETURN_IF_ERROR(statement.Run(id));
  return database.Changes() == 0 ? NoGuest(id, "") : absl::OkStatus();
}

absl::Status ImageTaken(absl::string_view name) {
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is an image ", name, " already"),
                   {"IMAGE_EXISTS", absl::StrCat("images/", name), "choose another name, or delete that image"});
}

absl::Status InsertImageRow(Database& database, const ImageRow& image) {
  ASSIGN_OR_RETURN(const bool exists, ImageExists(database, image.digest));
  if (exists) return ImageTaken(image.digest);
  ASSIGN_OR_RETURN(Statement insert, database.Prepare("INSERT INTO images (digest, path, size_bytes, mtime_ns, "
                                                      "description, created_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"));
  return insert.Run(image.digest, image.path, image.size_bytes, image.mtime_ns, image.description, image.created_ns);
}

absl::Status DoInsertImage(Database& database, const ImageRow& image) {
  RETURN_IF_ERROR(InsertImageRow(database, image));
  for (const std::string& name : image.names) {
    ASSIGN_OR_RETURN(Statement find, database.Prepare("SELECT 1 FROM image_names WHERE name = ?1"));
    ASSIGN_OR_RETURN(const bool taken, find.Bind(name).Step());
    if (taken) return ImageTaken(name);
    ASSIGN_OR_RETURN(Statement insert, database.Prepare("INSERT INTO image_names (name, digest) VALUES (?1, ?2)"));
    RETURN_IF_ERROR(insert.Run(name, image.digest));
  }
  return absl::OkStatus();
}

absl::Status DoSetImageName(Database& database, absl::string_view name, absl::string_view digest) {
  ASSIGN_OR_RETURN(const bool exists, ImageExists(database, digest));
  if (!exists) return NoImage(digest);
  ASSIGN_OR_RETURN(Statement set, database.Prepare("INSERT INTO image_names (name, digest) VALUES (?1, ?2) "
                                                   "ON CONFLICT (name) DO UPDATE SET digest = excluded.digest"));
  return set.Run(name, digest);
}

absl::Status DoDeleteImageName(Database& database, absl::string_view name) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM image_names WHERE name = ?1"));
  RETURN_IF_ERROR(statement.Run(name));
  return database.Changes() == 0 ? NoImage(name) : absl::OkStatus();
}

// The guests of one column's value, a few of them by name: an image can carry a thousand. Empty: none.
absl::StatusOr<std::string> NameGuests(Statement statement, absl::string_view value) {
  constexpr size_t kNamed = 5;
  statement.Bind(value);
  std::vector<std::string> guests;
  size_t count = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, statement.Step());
    if (!more) break;
    if (++count <= kNamed) guests.push_back(statement.Text(0));
  }
  if (count == 0) return std::string();
  const std::string rest = count > kNamed ? absl::StrCat(" and ", count - kNamed, " more") : "";
  return absl::StrCat(count == 1 ? "guest " : "guests ", absl::StrJoin(guests, ", "), rest);
}

// A disk that the user made over an image's file needs it as well.
absl::Status CheckImageUnused(Database& database, absl::string_view digest) {
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT name FROM guests WHERE image_digest = ?1 OR id IN (SELECT guest_id FROM "
                                    "disks JOIN images ON images.path IN (disks.path, disks.backing) "
                                    "WHERE images.digest = ?1) ORDER BY name"));
  ASSIGN_OR_RETURN(const std::string guests, NameGuests(std::move(statement), digest));
  if (guests.empty()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the image is used by ", guests),
                   {"IMAGE_IN_USE", absl::StrCat("images/", digest), "delete those guests first"});
}

// The COW files in a snapshot are nothing without it.
absl::Status CheckImageHasNoSnapshots(Database& database, absl::string_view digest) {
  ASSIGN_OR_RETURN(
      Statement statement,
      database.Prepare(
          "SELECT guests.name, snapshots.name FROM images JOIN snapshot_disks ON "
          "snapshot_disks.backing = images.path JOIN snapshots ON snapshots.id = snapshot_disks.snapshot_id "
          "JOIN guests ON guests.id = guest_id WHERE digest = ?1 ORDER BY 1, 2 LIMIT 1"));
  ASSIGN_OR_RETURN(const bool found, statement.Bind(digest).Step());
  if (!found) return absl::OkStatus();
  const std::string guest = statement.Text(0), snapshot = statement.Text(1);
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("the image is used by snapshot ", guest, "/", snapshot),
                   {"IMAGE_IN_USE", absl::StrCat("images/", digest),
                    absl::StrCat("delete that snapshot first (umlctl snapshot delete ", guest, " ", snapshot, ")")});
}

absl::Status DoDeleteImage(Database& database, absl::string_view digest) {
  RETURN_IF_ERROR(CheckImageUnused(database, digest));
  RETURN_IF_ERROR(CheckImageHasNoSnapshots(database, digest));
  ASSIGN_OR_RETURN(Statement names, database.Prepare("DELETE FROM image_names WHERE digest = ?1"));
  RETURN_IF_ERROR(names.Run(digest));
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM images WHERE digest = ?1"));
  RETURN_IF_ERROR(statement.Run(digest));
  return database.Changes() == 0 ? NoImage(digest) : absl::OkStatus();
}

absl::Status DoReplaceImage(Database& database, absl::string_view digest, const ImageRow& image) {
  ASSIGN_OR_RETURN(const bool exists, ImageExists(database, digest));
  if (!exists) return NoImage(digest);
  if (image.digest != digest) {
    RETURN_IF_ERROR(InsertImageRow(database, image));
    for (const char* sql : {"UPDATE image_names SET digest = ?2 WHERE digest = ?1",
                            "UPDATE guests SET image_digest = ?2 WHERE image_digest = ?1"}) {
      ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql));
      RETURN_IF_ERROR(statement.Run(digest, image.digest));
    }
    ASSIGN_OR_RETURN(Statement old, database.Prepare("DELETE FROM images WHERE digest = ?1"));
    return old.Run(digest);
  }
  ASSIGN_OR_RETURN(Statement update,
                   database.Prepare("UPDATE images SET path = ?2, size_bytes = ?3, mtime_ns = ?4, description = ?5, "
                                    "created_ns = ?6 WHERE digest = ?1"));
  return update.Run(digest, image.path, image.size_bytes, image.mtime_ns, image.description, image.created_ns);
}

absl::Status DoInsertKernel(Database& database, const KernelRow& kernel) {
  ASSIGN_OR_RETURN(const bool exists, KernelExists(database, kernel.name));
  if (exists) {
    return MakeError(
        absl::StatusCode::kAlreadyExists, absl::StrCat("there is a kernel ", kernel.name, " already"),
        {"KERNEL_EXISTS", absl::StrCat(kKernelPrefix, kernel.name), "choose another name, or delete that kernel"});
  }
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO kernels (name, sha256, symbols, modules, description, is_default, "
                                    "created_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  return insert.Run(kernel.name, kernel.sha256, kernel.symbols, kernel.modules, kernel.description, kernel.is_default,
                    kernel.created_ns);
}

absl::Status CheckKernelUnused(Database& database, absl::string_view name) {
  const std::string full = absl::StrCat(kKernelPrefix, name);
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("SELECT name FROM guests WHERE kernel = ?1 ORDER BY name"));
  ASSIGN_OR_RETURN(const std::string guests, NameGuests(std::move(statement), full));
  if (guests.empty()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("kernel ", name, " is named by ", guests),
                   {"KERNEL_IN_USE", full, "give those guests another kernel first (umlctl set GUEST --kernel ...)"});
}

absl::Status DoDeleteKernel(Database& database, absl::string_view name) {
  RETURN_IF_ERROR(CheckKernelUnused(database, name));
  ASSIGN_OR_RETURN(Statement is_default, database.Prepare("SELECT 1 FROM kernels WHERE name = ?1 AND is_default <> 0"));
  ASSIGN_OR_RETURN(const bool followed, is_default.Bind(name).Step());
  if (followed) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("kernel ", name, " is the default"),
                     {"KERNEL_IN_USE", absl::StrCat(kKernelPrefix, name),
                      "make another one the default first (umlctl kernel default ...)"});
  }
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM kernels WHERE name = ?1"));
  RETURN_IF_ERROR(statement.Run(name));
  return database.Changes() == 0 ? NoKernel(name) : absl::OkStatus();
}

absl::Status DoSetDefaultKernel(Database& database, absl::string_view name) {
  ASSIGN_OR_RETURN(Statement clear, database.Prepare("UPDATE kernels SET is_default = 0 WHERE is_default <> 0"));
  RETURN_IF_ERROR(clear.Run());
  if (name.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement set, database.Prepare("UPDATE kernels SET is_default = 1 WHERE name = ?1"));
  RETURN_IF_ERROR(set.Run(name));
  return database.Changes() == 0 ? NoKernel(name) : absl::OkStatus();
}

absl::Status DoInsertVolume(Database& database, const VolumeRow& volume) {
  ASSIGN_OR_RETURN(Statement find, database.Prepare("SELECT 1 FROM volumes WHERE name = ?1"));
  ASSIGN_OR_RETURN(const bool taken, find.Bind(volume.name).Step());
  if (taken) {
    return MakeError(
        absl::StatusCode::kAlreadyExists, absl::StrCat("there is a volume ", volume.name, " already"),
        {"VOLUME_EXISTS", absl::StrCat("volumes/", volume.name), "choose another name, or delete that one"});
  }
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO volumes (name, description, created_ns) VALUES (?1, ?2, ?3)"));
  return insert.Run(volume.name, volume.description, volume.created_ns);
}

absl::Status DoDeleteVolume(Database& database, absl::string_view name) {
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM volumes WHERE name = ?1"));
  RETURN_IF_ERROR(statement.Run(name));
  if (database.Changes() != 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("no volume ", name),
                   {"VOLUME_NOT_FOUND", absl::StrCat("volumes/", name), "umlctl volume list shows the volumes"});
}

absl::Status DoSetPool(Database& database, const PoolRow& pool) {
  if (pool.warm == 0) {
    ASSIGN_OR_RETURN(Statement remove, database.Prepare("DELETE FROM pools WHERE kernel = ?1 AND memory_bytes = ?2"));
    return remove.Run(pool.kernel, pool.memory_bytes);
  }
  ASSIGN_OR_RETURN(Statement set,
                   database.Prepare("INSERT INTO pools (kernel, memory_bytes, warm) VALUES (?1, ?2, ?3) "
                                    "ON CONFLICT (kernel, memory_bytes) DO UPDATE SET warm = excluded.warm"));
  return set.Run(pool.kernel, pool.memory_bytes, pool.warm);
}

// AUTOINCREMENT goes on after the number in this table, which has no row before the first guest.
absl::StatusOr<uint64_t> DoReserveGuestIds(Database& database, uint64_t count) {
  ASSIGN_OR_RETURN(Statement take, database.Prepare("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'guests'"));
  RETURN_IF_ERROR(take.Run(count));
  if (database.Changes() == 0) {
    ASSIGN_OR_RETURN(Statement first,
                     database.Prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('guests', ?1)"));
    RETURN_IF_ERROR(first.Run(count));
  }
  ASSIGN_OR_RETURN(const int64_t last, database.QueryInt("SELECT seq FROM sqlite_sequence WHERE name = 'guests'"));
  return static_cast<uint64_t>(last) - count + 1;
}

absl::Status DoInsertSnapshot(Database& database, const SnapshotRow& snapshot) {
  ASSIGN_OR_RETURN(Statement find, database.Prepare("SELECT 1 FROM snapshots WHERE guest_id = ?1 AND name = ?2"));
  ASSIGN_OR_RETURN(const bool taken, find.Bind(snapshot.guest_id, snapshot.name).Step());
  if (taken) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a snapshot ", snapshot.name, " already"),
                     {"SNAPSHOT_EXISTS", snapshot.name, "choose another name, or delete that one"});
  }
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO snapshots (id, guest_id, name, description, created_ns, paused_ns, "
                                    "synced, parent_id, rotates, left_out, operation_id, together_ns) "
                                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"));
  RETURN_IF_ERROR(insert.Run(snapshot.id, snapshot.guest_id, snapshot.name, snapshot.description, snapshot.created_ns,
                             snapshot.paused_ns, snapshot.synced, snapshot.parent_id, snapshot.rotates,
                             nlohmann::json(snapshot.left_out).dump(), snapshot.operation_id, snapshot.together_ns));
  for (const SnapshotDiskRow& disk : snapshot.disks) {
    ASSIGN_OR_RETURN(Statement add,
                     database.Prepare("INSERT INTO snapshot_disks (snapshot_id, unit, path, backing, size_bytes, "
                                      "allocated_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"));
    RETURN_IF_ERROR(add.Run(snapshot.id, disk.unit, disk.path, disk.backing, disk.size_bytes, disk.allocated_bytes));
  }
  return absl::OkStatus();
}

absl::Status DoDeleteSnapshot(Database& database, uint64_t id) {
  // What came from it comes from what it came from.
  for (const char* sql :
       {"UPDATE snapshots SET parent_id = (SELECT parent_id FROM snapshots WHERE id = ?1) WHERE parent_id = ?1",
        "UPDATE guests SET snapshot_id = (SELECT parent_id FROM snapshots WHERE id = ?1) WHERE "
        "snapshot_id = ?1 AND EXISTS (SELECT 1 FROM snapshots WHERE id = ?1)"}) {
    ASSIGN_OR_RETURN(Statement adopt, database.Prepare(sql));
    RETURN_IF_ERROR(adopt.Run(id));
  }
  ASSIGN_OR_RETURN(Statement statement, database.Prepare("DELETE FROM snapshots WHERE id = ?1"));
  RETURN_IF_ERROR(statement.Run(id));
  if (database.Changes() != 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "the snapshot has been deleted", {"SNAPSHOT_NOT_FOUND", "", ""});
}

// A retry finds its operation by request_id before it inserts; this closes the race of two retries at once.
absl::Status CheckRequestNew(Database& database, const OperationRow& operation) {
  if (operation.request_id.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement statement,
                   database.Prepare("SELECT id FROM operations WHERE request_id = ?1 AND id <> ?2"));
  ASSIGN_OR_RETURN(const bool taken, statement.Bind(operation.request_id, operation.id).Step());
  if (!taken) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat("request ", operation.request_id, " already has operation ", statement.Uint(0)),
      {"REQUEST_ID_TAKEN", absl::StrCat("operations/", statement.Uint(0)), "use a new request_id for a new intent"});
}

absl::Status DoInsertOperation(Database& database, OperationRow operation) {
  operation.id = 0;
  RETURN_IF_ERROR(CheckRequestNew(database, operation));
  ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO operations (verb, guest_id, target, payload, request_id, done, code, message, "
                       "reason, subject, hint, created_ns, ended_ns) "
                       "VALUES (?1, ?2, ?3, ?4, NULLIF(?5, ''), ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"));
  return insert.Run(operation.verb, operation.guest_id, operation.target, Blob{operation.payload}, operation.request_id,
                    operation.done, static_cast<int>(operation.code), operation.message, operation.reason,
                    operation.subject, operation.hint, operation.created_ns, operation.ended_ns);
}

absl::Status DoUpdateOperation(Database& database, const OperationRow& operation) {
  RETURN_IF_ERROR(CheckRequestNew(database, operation));
  ASSIGN_OR_RETURN(
      Statement update,
      database.Prepare("UPDATE operations SET verb = ?1, guest_id = ?2, target = ?3, payload = ?4, "
                       "request_id = NULLIF(?5, ''), done = ?6, code = ?7, message = ?8, reason = ?9, subject = ?10, "
                       "hint = ?11, created_ns = ?12, ended_ns = ?13 WHERE id = ?14"));
  RETURN_IF_ERROR(update.Run(operation.verb, operation.guest_id, operation.target, Blob{operation.payload},
                             operation.request_id, operation.done, static_cast<int>(operation.code), operation.message,
                             operation.reason, operation.subject, operation.hint, operation.created_ns,
                             operation.ended_ns, operation.id));
  if (database.Changes() != 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("no operation ", operation.id),
                   {"OPERATION_NOT_FOUND", absl::StrCat("operations/", operation.id), ""});
}

absl::Status DoAppendEvent(Database& database, const EventRow& event) {
  ASSIGN_OR_RETURN(Statement insert, database.Prepare("INSERT INTO events (time_ns, type, subject, guest_state, "
                                                      "message) VALUES (?1, ?2, ?3, ?4, ?5)"));
  return insert.Run(event.time_ns, event.type, event.subject, event.guest_state, event.message);
}

}  // namespace

absl::Status SqliteTransaction::Remember(absl::Status status) {
  if (failure_.ok()) failure_ = status;
  return status;
}

absl::StatusOr<uint64_t> SqliteTransaction::RememberId(const absl::Status& status) {
  RETURN_IF_ERROR(Remember(status));
  return database_.LastInsertId();
}

// After a failure SQLite may have rolled back by itself, and a further statement would commit on its own: every call
// answers with the first failure from then on.
absl::StatusOr<uint64_t> SqliteTransaction::InsertGuest(const GuestRow& guest) {
  RETURN_IF_ERROR(failure_);
  ASSIGN_OR_RETURN(const uint64_t id, RememberId(DoInsertGuest(database_, guest)));
  RETURN_IF_ERROR(Remember(InsertParts(database_, id, guest)));
  return id;
}

absl::Status SqliteTransaction::UpdateGuest(const GuestRow& guest) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoUpdateGuest(database_, guest));
}

absl::Status SqliteTransaction::DeleteGuest(uint64_t id) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteGuest(database_, id));
}

absl::Status SqliteTransaction::InsertImage(const ImageRow& image) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoInsertImage(database_, image));
}

absl::Status SqliteTransaction::SetImageName(absl::string_view name, absl::string_view digest) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoSetImageName(database_, name, digest));
}

absl::Status SqliteTransaction::DeleteImageName(absl::string_view name) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteImageName(database_, name));
}

absl::Status SqliteTransaction::DeleteImage(absl::string_view digest) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteImage(database_, digest));
}

absl::Status SqliteTransaction::ReplaceImage(absl::string_view digest, const ImageRow& image) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoReplaceImage(database_, digest, image));
}

absl::Status SqliteTransaction::InsertKernel(const KernelRow& kernel) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoInsertKernel(database_, kernel));
}

absl::Status SqliteTransaction::DeleteKernel(absl::string_view name) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteKernel(database_, name));
}

absl::Status SqliteTransaction::SetDefaultKernel(absl::string_view name) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoSetDefaultKernel(database_, name));
}

absl::Status SqliteTransaction::InsertVolume(const VolumeRow& volume) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoInsertVolume(database_, volume));
}

absl::Status SqliteTransaction::DeleteVolume(absl::string_view name) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteVolume(database_, name));
}

absl::Status SqliteTransaction::SetPool(const PoolRow& pool) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoSetPool(database_, pool));
}

absl::StatusOr<uint64_t> SqliteTransaction::ReserveGuestIds(uint64_t count) {
  RETURN_IF_ERROR(failure_);
  absl::StatusOr<uint64_t> first = DoReserveGuestIds(database_, count);
  RETURN_IF_ERROR(Remember(first.status()));
  return first;
}

absl::Status SqliteTransaction::InsertSnapshot(const SnapshotRow& snapshot) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoInsertSnapshot(database_, snapshot));
}

absl::Status SqliteTransaction::DeleteSnapshot(uint64_t id) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoDeleteSnapshot(database_, id));
}

absl::StatusOr<uint64_t> SqliteTransaction::InsertOperation(const OperationRow& operation) {
  RETURN_IF_ERROR(failure_);
  return RememberId(DoInsertOperation(database_, operation));
}

absl::Status SqliteTransaction::UpdateOperation(const OperationRow& operation) {
  RETURN_IF_ERROR(failure_);
  return Remember(DoUpdateOperation(database_, operation));
}

absl::StatusOr<uint64_t> SqliteTransaction::AppendEvent(const EventRow& event) {
  RETURN_IF_ERROR(failure_);
  return RememberId(DoAppendEvent(database_, event));
}

}  // namespace umld::state
