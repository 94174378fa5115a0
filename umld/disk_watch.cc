#include "umld/disk_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "umld/disk_room.h"

namespace umld {
namespace {

// In halves of the reserve: below the first there is a warning, at the second no longer; paused guests go on at the
// third.
constexpr uint64_t kLow = 4, kFine = 5, kGoOn = 3;

bool Has(uint64_t free_bytes, uint64_t halves, uint64_t reserve_bytes) {
  return 2 * free_bytes >= halves * reserve_bytes;
}

// Nobody writes faster; so long it takes at least until there is no more than the reserve.
constexpr double kBytesPerSecond = 1 << 30;
// The reserve has to outlast the shortest sleep, and the time that a pause takes.
constexpr absl::Duration kShortest = absl::Milliseconds(20), kLongest = absl::Seconds(5);
// When a guest has not let itself be paused or go on, it is left alone for so long, then for twice that, and so on.
constexpr absl::Duration kFirstPause = absl::Seconds(1), kLastPause = absl::Seconds(60);

}  // namespace

void DiskWatch::Begin() {
  thread_ = std::thread([this] { ThreadMain(); });
}

void DiskWatch::End() {
  {
    absl::MutexLock lock(&mutex_);
    end_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void DiskWatch::ThreadMain() {
  while (true) {
    const absl::Duration pause = Look();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&end_), pause)) return;
  }
}

std::vector<dev_t> DiskWatch::Under(const GuestView& view, Spaces* spaces) const {
  std::vector<dev_t> devices;
  for (const vmcore::v1::Disk& disk : view.facts.live_disks()) {
    struct stat info = {};
    // A file that has all its blocks takes no more of them; a COW file says its whole size too.
    if (absl::StrContains(disk.flags(), 'r')) continue;
    const UniqueFd file = OpenHostPath(disk.path(), O_PATH | O_CLOEXEC);
    if (!file.ok() || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_blocks * 512 >= info.st_size) {
      continue;
    }
    devices.push_back(info.st_dev);
    if (spaces->count(info.st_dev) != 0) continue;
    struct statvfs host = {};
    if (fstatvfs(file.get(), &host) != 0) continue;
    Space& space = (*spaces)[info.st_dev];
    space.path = disk.path();
    space.free_bytes = uint64_t{host.f_bavail} * host.f_frsize;
    space.reserve_bytes = DiskReserve(*config_, host);
  }
  return devices;
}

absl::Duration DiskWatch::Look() {
  Spaces spaces;
  absl::Duration sleep = kLongest;
  std::set<uint64_t> there;
  for (const GuestView& view : table_->Views()) {
    there.insert(view.row.id);
    if (!view.alive) continue;
    const v1::GuestState state = view.state();
    const bool ours = access(Marker(view).c_str(), F_OK) == 0;
    const Space* tight = nullptr;
    bool all_free = true;
    for (dev_t device : Under(view, &spaces)) {
      const Space& space = spaces[device];
      if (space.free_bytes < space.reserve_bytes) tight = &space;
      all_free = all_free && Has(space.free_bytes, kGoOn, space.reserve_bytes);
    }
    if (tight != nullptr && state == v1::RUNNING) {
      Pause(view, absl::StrCat("the host's disk under ", tight->path, " is full: ", HumanByteSize(tight->free_bytes),
                               " free, ", HumanByteSize(tight->reserve_bytes), " kept"));
    } else if (ours && state == v1::RUNNING) {
      Forget(view);
    } else if (ours && all_free && state == v1::PAUSED) {
      Resume(view);
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(turns_, [&](const auto& turn) { return !turn.second.waits && !there.contains(turn.first); });
  }
  for (const auto& [device, space] : spaces) {
    Tell(device, space);
    const double left = space.free_bytes > space.reserve_bytes
                            ? static_cast<double>(space.free_bytes - space.reserve_bytes) / kBytesPerSecond
                            : 0;
    sleep = std::min(sleep, absl::Seconds(left));
  }
  return std::max(sleep, kShortest);
}

// Once for each way down and up.
void DiskWatch::Tell(dev_t device, const Space& space) {
  Level& told = levels_[device];
  Level now = told;
  if (space.free_bytes < space.reserve_bytes) {
    now = Level::kFull;
  } else if (Has(space.free_bytes, kFine, space.reserve_bytes)) {
    now = Level::kFine;
  } else if (told != Level::kFull ? !Has(space.free_bytes, kLow, space.reserve_bytes)
                                  : Has(space.free_bytes, kGoOn, space.reserve_bytes)) {
    now = Level::kLow;
  }
  if (now == told) return;
  const bool worse = now > told;
  told = now;
  state::EventRow event;
  event.type = now == Level::kFull ? "host.disk_full" : worse ? "host.disk_low" : "host.disk_free";
  event.subject = "host";
  event.time_ns = absl::ToUnixNanos(absl::Now());
  event.message = absl::StrCat(HumanByteSize(space.free_bytes), " free under ", space.path,
                               now == Level::kFull ? "; guests that would need more are paused"
                               : now == Level::kLow
                                   ? absl::StrCat("; below ", HumanByteSize(space.reserve_bytes), " guests are paused")
                                   : "");
  spdlog::log(worse ? spdlog::level::warn : spdlog::level::info, "{}", event.message);
  absl::Status committed = store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    ASSIGN_OR_RETURN(event.sequence, transaction.AppendEvent(event));
    return absl::OkStatus();
  });
  if (committed.ok()) events_->Publish({event});
}

// A guest that does not obey keeps its line for seconds: it is there once, and then not for a while.
void DiskWatch::InTurn(const GuestView& view, std::function<absl::Status(const GuestPtr&, const GuestView&)> body) {
  const uint64_t id = view.row.id;
  {
    absl::MutexLock lock(&mutex_);
    Turn& turn = turns_[id];
    if (turn.waits || absl::Now() < turn.not_before) return;
    turn.waits = true;
  }
  guests_->InLine(view.row.name, [this, id, body = std::move(body)](const absl::StatusOr<GuestPtr>& guest) {
    absl::Status status;
    if (guest.ok()) {
      const GuestView now = table_->View(*guest);
      if (now.alive && now.row.id == id) status = body(*guest, now);
      if (!status.ok()) spdlog::error("guest {}: {}", now.row.name, std::string(status.message()));
    }
    absl::MutexLock lock(&mutex_);
    Turn& turn = turns_[id];
    turn.waits = false;
    turn.pause = status.ok() ? absl::ZeroDuration() : std::clamp(2 * turn.pause, kFirstPause, kLastPause);
    turn.not_before = absl::Now() + turn.pause;
  });
}

void DiskWatch::Pause(const GuestView& of, const std::string& reason) {
  InTurn(of, [this, reason](const GuestPtr& guest, const GuestView& view) -> absl::Status {
    if (view.state() != v1::RUNNING) return absl::OkStatus();
    spdlog::warn("guest {}: paused: {}", view.row.name, reason);
    // The next umld has to know who paused it. With the disk full there may be no room for a word: the file is enough.
    absl::Status noted = WriteFileDurably(Marker(view), "", 0600);
    if (!noted.ok()) spdlog::error("guest {}: {}", view.row.name, std::string(noted.message()));
    table_->Update(guest, [&](GuestView& now) { now.pause_reason = reason; });
    absl::Status paused = guests_->Pause(guest).status();
    if (!paused.ok()) unlink(Marker(view).c_str());
    return paused;
  });
}

void DiskWatch::Resume(const GuestView& of) {
  InTurn(of, [this](const GuestPtr& guest, const GuestView& view) -> absl::Status {
    if (view.state() != v1::PAUSED || access(Marker(view).c_str(), F_OK) != 0) return absl::OkStatus();
    spdlog::info("guest {}: goes on, there is room again", view.row.name);
    RETURN_IF_ERROR(guests_->Resume(guest).status());
    unlink(Marker(view).c_str());
    table_->Update(guest, [](GuestView& now) { now.pause_reason.clear(); });
    return absl::OkStatus();
  });
}

// A user had it go on. Looked at again when it is its turn: until then a pause of ours may have been under way.
void DiskWatch::Forget(const GuestView& of) {
  InTurn(of, [this](const GuestPtr&, const GuestView& view) {
    if (view.state() == v1::RUNNING) unlink(Marker(view).c_str());
    return absl::OkStatus();
  });
}

// In the runtime directory: it is gone when the host starts anew, and so is the pause.
std::string DiskWatch::Marker(const GuestView& view) const {
  return config_->GuestRunDir(view.row.id) + "/paused-for-space";
}

}  // namespace umld
