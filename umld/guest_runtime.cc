#include "umld/guest_runtime.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "base/utf8.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_inspect.h"
#include "kernel/kernel_inspect.h"
#include "spdlog/spdlog.h"
#include "umld/stray_taps.h"
#include "umld/vmcore_launch.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

using vmcore::v1::Facts;
using vmcore::v1::Reply;
using vmcore::v1::Request;

// More than vmcore takes to make up its mind.
constexpr absl::Duration kClaim = absl::Seconds(15);
// For so long a kernel keeps others from booting.
constexpr absl::Duration kTurn = absl::Seconds(5);

}  // namespace

absl::Status GuestRuntime::SetKernel(const GuestView& view, vmcore::v1::GuestConfig* config) const {
  const vmcore::v1::GuestConfig& now = view.facts.config();
  if (view.alive && view.row.kernel.empty() && now.follows_default() && !now.kernel().empty()) {
    config->set_kernel(now.kernel());
    config->set_kernel_name(now.kernel_name());
    config->set_follows_default(true);
    *config->mutable_kernel_libraries() = now.kernel_libraries();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const KernelChoice choice, catalog_->Choose(view.row.kernel));
  config->set_kernel(choice.path);
  config->set_kernel_name(choice.name);
  config->set_follows_default(choice.by_default);
  const std::optional<Credentials>& opener = view.row.kernel_opener;
  if (opener.has_value()) *config->mutable_kernel_opener() = ToVmcoreCredentials(*opener);
  const absl::StatusOr<std::vector<std::string>> libraries =
      ActAs(opener, [&choice] { return kernel::KernelLibraries(choice.path); });
  // One that is not confined finds them by itself.
  if (!libraries.ok()) return view.row.relaxed ? absl::OkStatus() : libraries.status();
  for (const std::string& library : *libraries) config->add_kernel_libraries(library);
  return absl::OkStatus();
}

absl::StatusOr<vmcore::v1::GuestConfig> GuestRuntime::ConfigOf(const GuestView& view) const {
  const state::GuestRow& row = view.row;
  vmcore::v1::GuestConfig config;
  config.set_name(row.name);
  RETURN_IF_ERROR(SetKernel(view, &config));
  config.set_memory_bytes(row.memory_bytes);
  for (const state::DiskRow& disk : row.disks) *config.add_disks() = ToVmcoreDisk(disk);
  for (const std::string& argument : row.kernel_args) {
    // The kernel notifies vmcore, and vmcore the user.
    if (absl::string_view listener = argument; absl::ConsumePrefix(&listener, kNotifyArgument)) {
      config.set_notify_listener(std::string(listener));
    } else {
      config.add_kernel_args(argument);
    }
  }
  if (!config_->mconsole_dir.empty()) {
    config.set_public_mconsole(absl::StrCat(config_->mconsole_dir, "/", row.name, "/mconsole"));
  }
  for (const state::ConsoleRow& console : row.consoles) {
    config.add_consoles()->set_device(console.device);
    config.mutable_consoles()->rbegin()->set_channels(console.channel);
  }
  for (const state::NicRow& nic : row.nics) {
    config.add_nics()->set_device(nic.device);
    config.mutable_nics()->rbegin()->set_spec(nic.spec);
  }
  config.mutable_limits()->set_cpu_percent(row.cpu_percent);
  config.mutable_limits()->set_memory_bytes(row.memory_max);
  config.mutable_limits()->set_processes(row.pids_max);
  config.mutable_limits()->set_disk_bytes_per_second(row.disk_bps);
  config.mutable_limits()->set_disk_operations_per_second(row.disk_iops);
  config.set_etag(row.version);
  return config;
}

absl::Status GuestRuntime::PrepareDisks(const GuestView& view) {
  std::vector<devices::DiskFile> ours;
  for (const state::DiskRow& disk : view.row.disks) {
    const std::string noun = absl::StrCat("disk ", devices::DiskName(disk.unit));
    devices::DiskSpec spec{disk.unit, disk.flags, disk.path, disk.backing, disk.serial};
    auto inspect = [&] { return ActAs(disk.opener, [&] { return devices::InspectDisk(spec); }); };
    absl::StatusOr<devices::DiskFile> file = inspect();
    if (file.ok() && file->create_cow && disk.managed) {
      RETURN_IF_ERROR(Annotate(devices::CreateCow(disk.path, disk.backing), noun));
      file = inspect();
    }
    if (!file.ok()) return Annotate(file.status(), noun);
    ours.push_back(*file);
  }
  return absl::OkStatus();
}

absl::Status GuestRuntime::AwaitOldProcesses(const GuestView& view) {
  auto facts = ReadVmcoreStatus(config_->GuestRunDir(view.row.id));
  if (!facts.ok() || facts->boot_id() != ReadBootId()) return absl::OkStatus();
  auto pidfd = OpenProcess(ToIdentity(facts->init()));
  if (!pidfd.ok() || WaitForExit(pidfd->get(), std::chrono::seconds(10))) return absl::OkStatus();
  return MakeError(absl::StatusCode::kUnavailable,
                   absl::StrCat("processes of its last run are still there (pid ", facts->init().pid(), ")"),
                   {"OLD_PROCESSES", view.name(), absl::StrCat("see what keeps them: ps ", facts->init().pid())});
}

absl::StatusOr<vmcore::v1::Launch> GuestRuntime::PrepareLaunch(const GuestView& view) {
  RETURN_IF_ERROR(MakeFolders(config_->GuestStateDir(view.row.id), 0700));
  RETURN_IF_ERROR(MakeFolders(config_->GuestRunDir(view.row.id), 0700));
  RETURN_IF_ERROR(PrepareDisks(view));
  ASSIGN_OR_RETURN(vmcore::v1::Launch launch, NewLaunch(*config_, view.row.id, view.row.relaxed));
  launch.set_run_dir(config_->GuestRunDir(view.row.id));
  launch.set_log_dir(config_->GuestStateDir(view.row.id));
  ASSIGN_OR_RETURN(*launch.mutable_config(), ConfigOf(view));
  return launch;
}

absl::StatusOr<std::string> GuestRuntime::Launch(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  // From before its path is looked up until the table says who runs it.
  ASSIGN_OR_RETURN(const std::shared_ptr<const KernelChoice> kernel, catalog_->Hold(view.row.kernel));
  RETURN_IF_ERROR(ActAs(view.row.kernel_opener, [&kernel] { return kernel::InspectKernel(kernel->path); }));
  ASSIGN_OR_RETURN(const vmcore::v1::Launch launch, PrepareLaunch(view));
  if (launch.config().kernel() != kernel->path) {
    return MakeError(absl::StatusCode::kUnavailable, "the default kernel was changed just now",
                     {"KERNEL_CHANGED", view.name(), "try again"});
  }
  RETURN_IF_ERROR(AwaitOldProcesses(view));
  std::string note;
  if (std::unique_ptr<WarmKernel> warm = warm_pool_->Take(launch, &note)) {
    const absl::Status launched = LaunchWarm(guest, launch, warm.get());
    if (launched.ok()) return note;
    // Whatever it is, a boot says it better: of this one the guest has seen nothing.
    spdlog::warn("guest {}: {}", view.row.name, std::string(launched.message()));
    note = absl::StrCat("cold: ", launched.message());
    warm_pool_->Discard(std::move(warm));
    RETURN_IF_ERROR(MakeFolders(launch.run_dir(), 0700));
  }
  boots_.acquire();
  const absl::Cleanup next = [this] { boots_.release(); };
  RETURN_IF_ERROR(LaunchCold(guest, launch));
  table_->WaitUntil(guest, kTurn, [](const GuestView& now) {
    return !now.alive || now.state() == v1::RUNNING || now.state() == v1::PAUSED;
  });
  return note;
}

// The folder of the waiting kernel becomes the guest's, and with it the lock that says that somebody lives.
absl::Status GuestRuntime::LaunchWarm(const GuestPtr& guest, const vmcore::v1::Launch& launch, WarmKernel* warm) {
  // Of its last run, of which nothing lives: only then it is taken away.
  RETURN_IF_ERROR(TakeSupervisorLock(launch.run_dir()).status());
  RETURN_IF_ERROR(RemoveFolder(launch.run_dir()));
  if (rename(warm->run_dir.c_str(), launch.run_dir().c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("rename ", warm->run_dir));
  }
  warm->run_dir = launch.run_dir();
  Request claim;
  *claim.mutable_claim()->mutable_launch() = launch;
  ASSIGN_OR_RETURN(const Reply reply, warm->client->Call(claim, kClaim));
  table_->Update(guest, [&](GuestView& changed) {
    changed.alive = true;
    changed.facts = reply.facts();
    changed.watched = true;
    changed.unreachable_reason.clear();
  });
  WatchProcess(guest, std::move(warm->vmcore.child.pidfd), /*our_child=*/true);
  RecordState(guest, v1::RUNNING, "guest.state", "RUNNING, in a kernel of the warm pool");
  const absl::Status connected = Reconnect(guest, absl::Seconds(20));
  warm->client->Close();
  if (!connected.ok()) RetryLater(guest, absl::Milliseconds(500));
  return absl::OkStatus();
}

absl::Status GuestRuntime::LaunchCold(const GuestPtr& guest, const vmcore::v1::Launch& launch) {
  ASSIGN_OR_RETURN(UniqueFd lock, TakeSupervisorLock(launch.run_dir()));
  ASSIGN_OR_RETURN(Vmcore spawned, SpawnVmcore(*config_, launch, lock));
  table_->Update(guest, [&](GuestView& changed) {
    changed.alive = true;
    changed.facts.Clear();
    changed.facts.set_state(vmcore::v1::STATE_STARTING);
    changed.facts.set_confinement(launch.confinement());
    changed.facts.mutable_vmcore()->set_pid(spawned.child.pid);
    changed.facts.mutable_config()->set_kernel(launch.config().kernel());
    changed.facts.mutable_config()->set_kernel_name(launch.config().kernel_name());
    changed.facts.mutable_config()->set_follows_default(launch.config().follows_default());
    changed.watched = true;
    changed.unreachable_reason.clear();
  });
  lock.reset();
  WatchProcess(guest, std::move(spawned.child.pidfd), /*our_child=*/true);
  RecordState(guest, v1::STARTING, "guest.state", "starting");
  absl::Status connected = Connect(guest, std::move(spawned.control), absl::Seconds(20));
  // A vmcore that ended at once has left its reason in the exit record.
  if (!connected.ok() && !table_->WaitUntil(guest, absl::Seconds(5), [](const GuestView& now) { return !now.alive; })) {
    RetryLater(guest, absl::Milliseconds(500));
  }
  return absl::OkStatus();
}

absl::Status GuestRuntime::Connect(const GuestPtr& guest, UniqueFd socket, absl::Duration timeout) {
  auto client = std::make_shared<VmcoreClient>(loop_, std::move(socket));
  // Whether there are newer facts than those of the answer to Subscribe, which is looked at later. The loop's alone.
  auto has_newer = std::make_shared<bool>(false);
  client->Begin(
      [this, guest, has_newer](const vmcore::v1::Event& event) {
        *has_newer = *has_newer || event.has_facts() || event.has_rebooted();
        OnEvent(guest, event);
      },
      [this, guest] { OnClosed(guest); });
  Request hello, subscribe;
  hello.mutable_hello()->set_version(kVmcoreProtocol);
  subscribe.mutable_subscribe();
  absl::StatusOr<Reply> reply = client->Call(hello, timeout);
  if (reply.ok()) reply = client->Call(subscribe, timeout);
  if (!reply.ok()) {
    client->Close();
    return reply.status();
  }
  bool watched = true;
  // Of a vmcore that was silent for a while, and answers again.
  std::shared_ptr<VmcoreClient> former;
  table_->Update(guest, [&](GuestView& view) {
    if (!view.alive) return;
    former = std::exchange(view.client, client);
    view.unreachable_reason.clear();
    watched = std::exchange(view.watched, true);
  });
  if (former != nullptr) former->Retire();
  if (!watched) {
    absl::StatusOr<UniqueFd> pidfd = OpenProcess(ToIdentity(reply->facts().vmcore()));
    if (!pidfd.ok()) return pidfd.status();
    WatchProcess(guest, *std::move(pidfd), /*our_child=*/false);
  }
  TakeOverConfig(guest, reply->facts().config());
  // The other way round: a change that was committed while vmcore could not be told.
  GuestView view = table_->View(guest);
  if (reply->facts().config().etag() < view.row.version) {
    view.facts = reply->facts();
    Request next;
    ASSIGN_OR_RETURN(*next.mutable_set_config()->mutable_config(), ConfigOf(view));
    absl::Status told = client->Call(next, timeout).status();
    if (!told.ok()) spdlog::warn("guest {}: {}", view.row.name, std::string(told.message()));
  }
  loop_->Post([this, guest, has_newer, facts = reply->facts()] {
    if (!*has_newer) OnFacts(guest, facts);
  });
  return absl::OkStatus();
}

absl::Status GuestRuntime::Reconnect(const GuestPtr& guest, absl::Duration timeout) {
  const GuestView view = table_->View(guest);
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectPackets(config_->GuestRunDir(view.row.id) + "/vmcore.sock"));
  return Connect(guest, std::move(socket), timeout);
}

void GuestRuntime::RetryLater(const GuestPtr& guest, absl::Duration delay) {
  loop_->Post([=, this] {
    loop_->RunAfter(std::chrono::milliseconds(absl::ToInt64Milliseconds(delay)), [=, this] {
      facts_pool_->Submit([=, this] {
        const GuestView view = table_->View(guest);
        if (!view.alive || (view.client != nullptr && view.unreachable_reason.empty())) return;
        absl::Status status = Reconnect(guest, absl::Seconds(1));
        if (status.ok()) {
          spdlog::info("guest {}: its supervisor answers again", view.row.name);
          return;
        }
        table_->Update(guest, [&](GuestView& now) {
          if (now.alive) now.unreachable_reason = std::string(status.message());
        });
        RetryLater(guest, std::min(delay * 2, absl::Seconds(10)));
      });
    });
  });
}

absl::StatusOr<Reply> GuestRuntime::Call(const GuestPtr& guest, const Request& request, absl::Duration timeout) {
  const GuestView view = table_->View(guest);
  if (!view.alive) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "it is not running",
                     {"NOT_RUNNING", view.name(), absl::StrCat("umlctl start ", view.row.name)});
  }
  if (view.client == nullptr || !view.unreachable_reason.empty()) {
    return MakeError(absl::StatusCode::kUnavailable,
                     absl::StrCat("its supervisor (pid ", view.facts.vmcore().pid(), ") does not answer",
                                  view.unreachable_reason.empty() ? "" : ": ", view.unreachable_reason),
                     {"UNREACHABLE", view.name(), absl::StrCat("wait, or `umlctl kill ", view.row.name, "`")});
  }
  absl::StatusOr<Reply> reply = view.client->Call(request, timeout);
  if (GetErrorDetail(reply.status()).reason == "SUPERVISOR_SILENT") {
    table_->Update(guest, [&](GuestView& now) {
      if (now.alive) now.unreachable_reason = std::string(reply.status().message());
    });
    RetryLater(guest, absl::Milliseconds(500));
  }
  return reply;
}

absl::Status GuestRuntime::Settle(const GuestPtr& guest, absl::Duration timeout) {
  Request settle;
  settle.mutable_settle();
  ASSIGN_OR_RETURN(Reply reply, Call(guest, settle, timeout));
  table_->Update(guest, [&](GuestView& view) {
    if (view.alive) view.facts = reply.facts();
  });
  return absl::OkStatus();
}

void GuestRuntime::KillSupervisor(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  ProcessIdentity identity = ToIdentity(view.facts.vmcore());
  if (identity.start_ticks == 0) {
    absl::StatusOr<Facts> status = ReadVmcoreStatus(config_->GuestRunDir(view.row.id));
    if (status.ok()) identity = ToIdentity(status->vmcore());
  }
  absl::StatusOr<UniqueFd> pidfd = OpenProcess(identity);
  if (!pidfd.ok()) return;
  spdlog::warn("guest {}: killing its supervisor, pid {}", view.row.name, identity.pid);
  syscall(SYS_pidfd_send_signal, pidfd->get(), SIGKILL, nullptr, 0);
}

void GuestRuntime::WatchProcess(const GuestPtr& guest, UniqueFd pidfd, bool our_child) {
  auto shared = std::make_shared<UniqueFd>(std::move(pidfd));
  loop_->Post([this, guest, shared, our_child] {
    loop_->Watch(shared->get(), EPOLLIN, [this, guest, shared, our_child](uint32_t) {
      loop_->Unwatch(shared->get());
      siginfo_t info = {};
      if (our_child) waitid(P_PIDFD, static_cast<id_t>(shared->get()), &info, WEXITED | WNOHANG);
      facts_pool_->SubmitInLine(table_->View(guest).row.id, [this, guest] { RecordEnd(guest); });
    });
  });
}

void GuestRuntime::OnEvent(const GuestPtr& guest, const vmcore::v1::Event& event) {
  if (event.has_facts()) OnFacts(guest, event.facts());
  if (event.has_rebooted()) {
    OnFacts(guest, event.rebooted().facts());
    RecordState(guest, v1::STARTING, "guest.rebooted", event.rebooted().by_guest() ? "from inside" : "as asked");
  }
  if (event.has_user_message()) {
    RecordState(guest, table_->View(guest).state(), "guest.message",
                ToText(absl::string_view(event.user_message()).substr(0, 512)));
  }
  // `exit` is taken from the record on disk, when the process is gone: the same path whether or not we were there.
}

void GuestRuntime::OnFacts(const GuestPtr& guest, const Facts& facts) {
  v1::GuestState before = v1::GUEST_STATE_UNSPECIFIED, after = before;
  bool ahead = false;
  table_->Update(guest, [&](GuestView& view) {
    if (!view.alive) return;
    before = view.state();
    view.facts = facts;
    after = view.state();
    ahead = facts.config().etag() > view.row.version;
  });
  if (ahead && config_ahead_) config_ahead_(guest);
  if (before != after && facts.state() != vmcore::v1::STATE_EXITED) RecordState(guest, after, "guest.state", "");
}

void GuestRuntime::OnClosed(const GuestPtr& guest) {
  table_->Update(guest, [](GuestView& view) { view.client = nullptr; });
  // As a rule vmcore is about to leave; if it is not, it is asked again.
  RetryLater(guest, absl::Milliseconds(200));
}

void GuestRuntime::RecordState(const GuestPtr& guest, v1::GuestState state, const char* type,
                               const std::string& message) {
  facts_pool_->SubmitInLine(table_->View(guest).row.id, [=, this] {
    state::EventRow event;
    event.type = type;
    event.guest_state = state;
    event.message = message.empty() ? v1::GuestState_Name(state) : message;
    GuestTable::Change change;
    change.events = {event};
    absl::Status status = table_->Commit(guest, change);
    if (!status.ok()) spdlog::error("event {}: {}", type, std::string(status.message()));
  });
}

void GuestRuntime::TakeOverConfig(const GuestPtr& guest, const vmcore::v1::GuestConfig& config) {
  const GuestView view = table_->View(guest);
  if (config.etag() <= view.row.version) return;
  // vmcore has finished a plug or unplug whose outcome we did not live, or wait, to commit.
  GuestTable::Change change;
  change.edit = [&](state::GuestRow& row) { return TakeDevices(config, &row); };
  state::EventRow event;
  event.type = "guest.updated";
  event.message = "a change of its devices that umld no longer waited for has been finished";
  change.events = {event};
  absl::Status status = table_->Commit(guest, change);
  if (!status.ok()) spdlog::error("guest {}: {}", view.row.name, std::string(status.message()));
}

void GuestRuntime::RecordEnd(const GuestPtr& guest) {
  const GuestView view = table_->View(guest);
  const std::string run_dir = config_->GuestRunDir(view.row.id);
  absl::Status cleaned = RemoveStrayTaps(config_->vmcore_path, run_dir);
  if (!cleaned.ok()) spdlog::error("guest {}: {}", view.row.name, std::string(cleaned.message()));
  auto record = ReadVmcoreExit(run_dir);
  state::ExitRow exit;
  if (record.ok()) {
    exit = ToRow(*record);
    TakeOverConfig(guest, record->config());
  } else {
    auto facts = ReadVmcoreStatus(run_dir);
    const bool host_went_down = !view.alive && (!facts.ok() || facts->boot_id() != ReadBootId());
    exit.kind = host_went_down ? v1::GuestExit::HOST_DOWN : v1::GuestExit::CRASHED;
    exit.reason = host_went_down
                      ? "the host went down while it ran"
                      : "its supervisor (vmcore) was killed or failed; see vmcore.log beside the console logs";
    exit.time_ns = absl::ToUnixNanos(absl::Now());
  }
  GuestTable::Change change;
  const bool crashed = exit.kind == v1::GuestExit::CRASHED;
  change.edit = [&](state::GuestRow& row) {
    row.last_exit = exit;
    if (exit.kind != v1::GuestExit::HOST_DOWN) row.wanted_running = false;
    return absl::OkStatus();
  };
  change.apply = [](GuestView& now) {
    now.alive = false;
    now.client = nullptr;
    now.unreachable_reason.clear();
    now.facts.Clear();
    now.watched = false;
  };
  state::EventRow event;
  event.type = crashed ? "guest.crashed" : "guest.state";
  event.message = exit.reason;
  change.events = {event};
  absl::Status status = table_->Commit(guest, change);
  if (!status.ok()) {
    // The record stays on disk and is read again at the next start of umld; here and now the guest is down.
    spdlog::error("guest {}: its end is not recorded: {}", view.row.name, std::string(status.message()));
    table_->Update(guest, [&](GuestView& now) {
      change.apply(now);
      now.row.last_exit = exit;
    });
    return;
  }
  spdlog::info("guest {}: ended: {}", view.row.name, exit.reason);
  for (const char* file : {"/exit", "/launch"}) unlink((run_dir + file).c_str());
}

void GuestRuntime::Recover(const GuestPtr& guest, absl::Duration patience) {
  const GuestView view = table_->View(guest);
  const std::string run_dir = config_->GuestRunDir(view.row.id);
  if (access((run_dir + "/lock").c_str(), F_OK) == 0) {
    absl::StatusOr<UniqueFd> lock = TakeSupervisorLock(run_dir);
    if (absl::IsUnavailable(lock.status())) {
      table_->Update(guest, [](GuestView& changed) {
        changed.alive = true;
        changed.facts.set_state(vmcore::v1::STATE_STARTING);
      });
      const absl::Time deadline = absl::Now() + patience;
      absl::Status status;
      do {
        status = Reconnect(guest, std::max(deadline - absl::Now(), absl::Milliseconds(100)));
        // A vmcore that was spawned in our predecessor's last moment may not listen yet.
        if (!status.ok()) absl::SleepFor(absl::Milliseconds(20));
      } while (!status.ok() && absl::Now() < deadline);
      if (status.ok()) return;
      spdlog::error("guest {}: {}", view.row.name, std::string(status.message()));
      absl::StatusOr<Facts> facts = ReadVmcoreStatus(run_dir);
      if (facts.ok()) {
        absl::StatusOr<UniqueFd> pidfd = OpenProcess(ToIdentity(facts->vmcore()));
        if (!pidfd.ok()) return RecordEnd(guest);  // it ended just now
        WatchProcess(guest, *std::move(pidfd), /*our_child=*/false);
      }
      table_->Update(guest, [&](GuestView& changed) {
        changed.unreachable_reason = std::string(status.message());
        changed.watched = facts.ok();
        if (facts.ok()) changed.facts = *facts;
      });
      return RetryLater(guest, absl::Seconds(1));
    }
  }
  const bool left_a_record = access((run_dir + "/exit").c_str(), F_OK) == 0;
  const bool was_launched = access((run_dir + "/launch").c_str(), F_OK) == 0;
  if (left_a_record || was_launched || view.row.wanted_running) RecordEnd(guest);
}

}  // namespace umld
