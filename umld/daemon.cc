#include "umld/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/status.h"
#include "spdlog/spdlog.h"
#include "state/store.h"
#include "umld/api_server.h"
#include "umld/clone_service.h"
#include "umld/clones.h"
#include "umld/console_service.h"
#include "umld/cow_commits.h"
#include "umld/disk_watch.h"
#include "umld/event_service.h"
#include "umld/guest_export.h"
#include "umld/guest_import.h"
#include "umld/guest_runtime.h"
#include "umld/guest_service.h"
#include "umld/host_service.h"
#include "umld/image_service.h"
#include "umld/images.h"
#include "umld/kernel_catalog.h"
#include "umld/kernel_service.h"
#include "umld/kernels.h"
#include "umld/mconsole_bridge.h"
#include "umld/memory_reclaim.h"
#include "umld/operation_service.h"
#include "umld/pool_service.h"
#include "umld/snapshot_service.h"
#include "umld/snapshots.h"
#include "umld/transfer_service.h"
#include "umld/version.h"
#include "umld/volume_catalog.h"
#include "umld/volume_service.h"
#include "umld/volumes.h"
#include "umld/warm_pool.h"
#include "umld/worker_pool.h"

namespace umld {
namespace {

constexpr int kOperationThreads = 64;
constexpr int kBulkThreads = 64;
constexpr int kRequestThreads = 32;
constexpr int kFactsThreads = 8;
constexpr absl::Duration kAdoptionPatience = absl::Seconds(3);
constexpr uint64_t kEventsKept = 100'000;
constexpr uint64_t kPruneEvery = 1000;  // times that events were published
constexpr absl::Duration kOperationsKept = absl::Hours(24);

// A folder of ours that nobody else may write to: one in /tmp might have been put there by another user.
absl::Status MakeOwnFolder(const std::string& folder, mode_t mode) {
  RETURN_IF_ERROR(MakeFolders(folder, mode));
  struct stat info = {};
  if (stat(folder.c_str(), &info) != 0) return ErrnoError(errno, folder);
  if (info.st_uid == geteuid() && (info.st_mode & 0022) == 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat(folder, " belongs to another user, or others may write to it"),
                   {"FOLDER_NOT_OURS", folder,
                    absl::StrCat("chown it to uid ", geteuid(), " and chmod go-w it, or choose another")});
}

// One umld per state directory, and per runtime directory: the lock names its holder.
absl::StatusOr<UniqueFd> LockFolder(const std::string& folder, absl::string_view what) {
  const std::string path = folder + "/lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    absl::StatusOr<std::string> holder = ReadFile(path, 32);
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("another umld (pid ", holder.ok() ? absl::StripAsciiWhitespace(*holder) : "unknown",
                                  ") uses the ", what, " directory ", folder),
                     {"ALREADY_RUNNING", folder, "stop that one, or give this one its own --state-dir and --run-dir"});
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return ErrnoError(errno, absl::StrCat("write ", path));
  }
  return fd;
}

class DaemonImpl final : public Daemon {
 public:
  explicit DaemonImpl(const DaemonConfig& config)
      : config_(config),
        operations_pool_(kOperationThreads),
        bulk_(kBulkThreads),
        requests_(kRequestThreads),
        facts_(kFactsThreads) {}

  ~DaemonImpl() override {
    if (loop_thread_.joinable()) {
      operations_pool_.Shutdown();
      bulk_.Shutdown();
      requests_.Shutdown();
      facts_.Shutdown();
      loop_->Quit();
      loop_thread_.join();
    }
  }

  absl::Status Start() {
    RETURN_IF_ERROR(MakeOwnFolder(config_.state_dir, 0700));
    RETURN_IF_ERROR(MakeOwnFolder(config_.run_dir, 0755));
    RETURN_IF_ERROR(MakeFolders(config_.run_dir + "/guests", 0700));
    ASSIGN_OR_RETURN(state_lock_, LockFolder(config_.state_dir, "state"));
    ASSIGN_OR_RETURN(run_lock_, LockFolder(config_.run_dir, "runtime"));
    ASSIGN_OR_RETURN(store_, state::Store::Open(config_.state_dir + "/umld.db"));
    ASSIGN_OR_RETURN(ApiSocket listener, OpenApiSocket(config_.socket_path, config_.socket_group));
    bound_socket_ = listener.bound_path;
    ASSIGN_OR_RETURN(loop_, EventLoop::Create());
    RETURN_IF_ERROR(Assemble());
    loop_thread_ = std::thread([this] { loop_->Run(); });
    RETURN_IF_ERROR(Recover());
    ASSIGN_OR_RETURN(server_, ApiServer::Create(loop_.get(), std::move(listener.fd),
                                                {guest_service_.get(), console_service_.get(), image_service_.get(),
                                                 kernel_service_.get(), volume_service_.get(), operation_service_.get(),
                                                 event_service_.get(), host_service_.get(), snapshot_service_.get(),
                                                 clone_service_.get(), transfer_service_.get(), pool_service_.get()}));
    if (bridge_ != nullptr) bridge_->Begin();
    disk_watch_->Begin();
    memory_reclaim_->Begin();
    RETURN_IF_ERROR(warm_pool_->Begin());
    server_->Serve();
    WatchSignals();
    BeginLivenessTest();
    spdlog::info("umld {} serves {} ({} guests)", kVersion, config_.socket_path, table_->All().size());
    sd_notifyf(0, "READY=1\nSTATUS=%zu guests defined", table_->All().size());
    return absl::OkStatus();
  }

  void Run() override {
    stopped_.Lock();
    stopped_.Await(absl::Condition(&stop_));
    stopped_.Unlock();
    spdlog::info("umld ends; its guests go on");
    sd_notify(0, "STOPPING=1");
    if (bridge_ != nullptr) bridge_->End();
    disk_watch_->End();
    memory_reclaim_->End();
    warm_pool_->End();
    // Calls that are nearly done get their answer. Those that wait for a guest do not hold us up: their operations are
    // in the database, and the next umld goes on with them.
    auto answered = std::make_shared<absl::Notification>();
    std::thread([this, answered] {
      server_->Shutdown(std::chrono::milliseconds(300));
      answered->Notify();
    }).detach();
    answered->WaitForNotificationWithTimeout(absl::Milliseconds(600));
    if (!bound_socket_.empty()) unlink(bound_socket_.c_str());
  }

 private:
  absl::Status Assemble() {
    ASSIGN_OR_RETURN(events_, EventLog::Create(store_.get()));
    operations_ = std::make_unique<Operations>(store_.get(), loop_.get());
    table_ = std::make_unique<GuestTable>(store_.get(), events_.get(), operations_.get());
    images_ = std::make_unique<Images>(&config_, store_.get(), table_.get(), operations_.get(), events_.get(), &bulk_);
    RETURN_IF_ERROR(images_->Recover());
    RETURN_IF_ERROR(table_->Load());
    kernel_catalog_ = std::make_unique<KernelCatalog>(config_.state_dir + "/kernels", config_.default_kernel);
    volume_catalog_ = std::make_unique<VolumeCatalog>(config_.state_dir + "/volumes");
    warm_pool_ = std::make_unique<WarmPool>(&config_, store_.get(), kernel_catalog_.get(), loop_.get());
    runtime_ = std::make_unique<GuestRuntime>(&config_, table_.get(), kernel_catalog_.get(), warm_pool_.get(),
                                              loop_.get(), &facts_);
    guests_ = std::make_unique<Guests>(&config_, store_.get(), table_.get(), operations_.get(), runtime_.get(),
                                       kernel_catalog_.get(), volume_catalog_.get(), &operations_pool_, &requests_);
    runtime_->OnConfigAhead([this](const GuestPtr& guest) { guests_->TakeOverConfig(guest); });
    kernels_ = std::make_unique<Kernels>(&config_, store_.get(), table_.get(), operations_.get(), events_.get(),
                                         kernel_catalog_.get(), &bulk_);
    RETURN_IF_ERROR(kernels_->Load());
    volumes_ = std::make_unique<Volumes>(&config_, volume_catalog_.get(), store_.get(), table_.get(), guests_.get(),
                                         operations_.get(), events_.get(), &bulk_);
    volumes_->Recover();
    snapshots_ = std::make_unique<Snapshots>(&config_, store_.get(), table_.get(), operations_.get(), guests_.get(),
                                             runtime_.get(), volume_catalog_.get());
    RETURN_IF_ERROR(snapshots_->RemoveLeftovers());
    clones_ =
        std::make_unique<Clones>(&config_, store_.get(), table_.get(), operations_.get(), guests_.get(), runtime_.get(),
                                 kernel_catalog_.get(), volume_catalog_.get(), snapshots_.get(), &operations_pool_);
    clones_->RemoveLeftovers();
    clone_service_ = std::make_unique<CloneService>(clones_.get(), &requests_);
    snapshot_service_ = std::make_unique<SnapshotService>(snapshots_.get(), &requests_);
    exports_ = std::make_unique<GuestExports>(store_.get(), table_.get(), operations_.get(), guests_.get(),
                                              snapshots_.get(), kernel_catalog_.get());
    imports_ = std::make_unique<GuestImports>(&config_, table_.get(), operations_.get(), guests_.get(), images_.get());
    imports_->RemoveLeftovers();
    commits_ =
        std::make_unique<CowCommits>(store_.get(), table_.get(), operations_.get(), guests_.get(), &operations_pool_);
    transfer_service_ = std::make_unique<TransferService>(exports_.get(), imports_.get(), volumes_.get(),
                                                          commits_.get(), &operations_pool_);
    guest_service_ = std::make_unique<GuestService>(guests_.get(), table_.get(), &requests_);
    console_service_ = std::make_unique<ConsoleService>(&config_, table_.get(), loop_.get(), &requests_);
    image_service_ = std::make_unique<ImageService>(images_.get(), &requests_);
    pool_service_ = std::make_unique<PoolService>(warm_pool_.get(), &requests_);
    kernel_service_ = std::make_unique<KernelService>(kernels_.get(), &requests_);
    volume_service_ = std::make_unique<VolumeService>(volumes_.get(), &requests_);
    operation_service_ = std::make_unique<OperationService>(operations_.get(), &requests_);
    event_service_ = std::make_unique<EventService>(events_.get(), table_.get(), guests_.get(), &requests_);
    host_service_ =
        std::make_unique<HostService>(&config_, store_.get(), table_.get(), kernel_catalog_.get(), &requests_);
    disk_watch_ = std::make_unique<DiskWatch>(&config_, store_.get(), table_.get(), guests_.get(), events_.get());
    memory_reclaim_ = std::make_unique<MemoryReclaim>(&config_, table_.get(), runtime_.get());
    if (!config_.mconsole_dir.empty()) {
      bridge_ = std::make_unique<MconsoleBridge>(config_.mconsole_dir, loop_.get(), events_.get(), table_.get(),
                                                 guests_.get());
    }
    return absl::OkStatus();
  }

  // Facts first, for all guests at once; then the operations that were under way, which ask them.
  absl::Status Recover() {
    const std::vector<GuestPtr> guests = table_->All();
    absl::BlockingCounter left(static_cast<int>(guests.size()));
    for (const GuestPtr& guest : guests) {
      operations_pool_.Submit([this, guest, &left] {
        runtime_->Recover(guest, kAdoptionPatience);
        left.DecrementCount();
      });
    }
    left.Wait();
    ASSIGN_OR_RETURN(std::vector<state::OperationRow> unfinished, store_->LoadUnfinishedOperations());
    for (const state::OperationRow& operation : unfinished) {
      if (volumes_->ResumeOperation(operation) || snapshots_->ResumeOperation(operation) ||
          clones_->ResumeOperation(operation) || exports_->ResumeOperation(operation) ||
          imports_->ResumeOperation(operation) || commits_->ResumeOperation(operation)) {
        continue;
      }
      guests_->ResumeOperation(operation);
    }
    guests_->StartWanted();
    if (config_.build_kernel) {
      // Whoever wants to know looks at the operations.
      absl::Status begun = kernels_->BuildUnlessThere();
      if (!begun.ok()) spdlog::warn("the fast kernel: {}", std::string(begun.message()));
    }
    facts_.Submit([this] { Prune(); });
    // Listeners are called one after another.
    events_->AddListener([this, published = uint64_t{0}]() mutable {
      if (++published % kPruneEvery == 0) facts_.Submit([this] { Prune(); });
    });
    return absl::OkStatus();
  }

  void Prune() {
    absl::Status pruned = store_->Prune(kEventsKept, absl::ToUnixNanos(absl::Now() - kOperationsKept));
    if (!pruned.ok()) spdlog::warn("pruning the database: {}", std::string(pruned.message()));
  }

  void WatchSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
    signals_.reset(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    loop_->Post([this] {
      loop_->Watch(signals_.get(), EPOLLIN, [this](uint32_t) {
        signalfd_siginfo info = {};
        while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
          if (info.ssi_signo == SIGHUP) continue;
          absl::MutexLock lock(&stopped_);
          stop_ = true;
        }
      });
    });
  }

  // systemd's watchdog is fed only by a round through everything a request needs: the loop, a worker, the database.
  void BeginLivenessTest() {
    uint64_t microseconds = 0;
    if (sd_watchdog_enabled(0, &microseconds) <= 0) return;
    const auto interval = std::chrono::microseconds(microseconds / 3);
    loop_->Post([this, interval] { ScheduleLivenessTest(interval); });
  }
  void ScheduleLivenessTest(std::chrono::microseconds interval) {
    loop_->RunAfter(interval, [this, interval] {
      ScheduleLivenessTest(interval);
      facts_.Submit([this] {
        absl::Status status = store_->Ping();
        if (!status.ok()) return spdlog::error("liveness: {}", std::string(status.message()));
        sd_notify(0, "WATCHDOG=1");
      });
    });
  }

  const DaemonConfig config_;
  UniqueFd state_lock_, run_lock_, signals_;
  std::string bound_socket_;
  std::unique_ptr<state::Store> store_;
  std::unique_ptr<EventLoop> loop_;
  std::thread loop_thread_;
  // So that nothing waits behind what may wait for a guest, and no guest behind what may take hours.
  WorkerPool operations_pool_;  // operations of guests
  WorkerPool bulk_;             // those of images, volumes and kernels
  WorkerPool requests_;         // requests up to the point where they have become operations; kills
  WorkerPool facts_;            // what guests report; the liveness test; pruning
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<GuestTable> table_;
  std::unique_ptr<KernelCatalog> kernel_catalog_;
  std::unique_ptr<VolumeCatalog> volume_catalog_;
  std::unique_ptr<WarmPool> warm_pool_;
  std::unique_ptr<GuestRuntime> runtime_;
  std::unique_ptr<Guests> guests_;
  std::unique_ptr<Images> images_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Volumes> volumes_;
  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<GuestExports> exports_;
  std::unique_ptr<GuestImports> imports_;
  std::unique_ptr<CowCommits> commits_;
  std::unique_ptr<TransferService> transfer_service_;
  std::unique_ptr<SnapshotService> snapshot_service_;
  std::unique_ptr<Clones> clones_;
  std::unique_ptr<CloneService> clone_service_;
  std::unique_ptr<GuestService> guest_service_;
  std::unique_ptr<ConsoleService> console_service_;
  std::unique_ptr<ImageService> image_service_;
  std::unique_ptr<KernelService> kernel_service_;
  std::unique_ptr<PoolService> pool_service_;
  std::unique_ptr<VolumeService> volume_service_;
  std::unique_ptr<OperationService> operation_service_;
  std::unique_ptr<EventService> event_service_;
  std::unique_ptr<HostService> host_service_;
  std::unique_ptr<MconsoleBridge> bridge_;
  std::unique_ptr<DiskWatch> disk_watch_;
  std::unique_ptr<MemoryReclaim> memory_reclaim_;
  std::unique_ptr<ApiServer> server_;
  absl::Mutex stopped_;
  bool stop_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const DaemonConfig& config) {
  auto daemon = std::make_unique<DaemonImpl>(config);
  RETURN_IF_ERROR(daemon->Start());
  return std::unique_ptr<Daemon>(std::move(daemon));
}

}  // namespace umld
