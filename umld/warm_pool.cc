#include "umld/warm_pool.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/status.h"
#include "devices/memory/memory_spec.h"
#include "kernel/host_memory.h"
#include "kernel/kernel_inspect.h"
#include "spdlog/spdlog.h"
#include "umld/warm_fit.h"
#include "umld/warm_initramfs.h"

namespace umld {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDefaultMemory = uint64_t{128} << 20;  // as for a guest
constexpr uint32_t kMostWarm = 1000;
constexpr uint64_t kIdsAtOnce = 64;
constexpr absl::Duration kRequest = absl::Seconds(20);
constexpr absl::Duration kBootAtMost = absl::Seconds(60);
// A kernel that does not boot is tried again, less and less often.
constexpr absl::Duration kFirstPause = absl::Seconds(5), kLongestPause = absl::Minutes(5);
// Without a reason to look: whether the host has memory, and whether the default kernel is another.
constexpr absl::Duration kLookEvery = absl::Seconds(5);
// Of the host's memory: with less available all that wait go, and with that much again others come.
constexpr uint64_t kPressedBelow = 10, kEasedAbove = 15;  // percent

struct HostMemory {
  uint64_t total = 0, available = 0;  // 0: not known
};

HostMemory ReadHostMemory() {
  HostMemory memory;
  const std::string text = ReadFile("/proc/meminfo", 64 << 10).value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    uint64_t* const field = absl::ConsumePrefix(&line, "MemTotal:")       ? &memory.total
                            : absl::ConsumePrefix(&line, "MemAvailable:") ? &memory.available
                                                                          : nullptr;
    if (field == nullptr) continue;
    line = absl::StripAsciiWhitespace(line);
    absl::ConsumeSuffix(&line, " kB");
    uint64_t kib = 0;
    if (absl::SimpleAtoi(line, &kib)) *field = kib << 10;
  }
  return memory;
}

// One that was replaced by an upgrade is another, under the same path.
std::string FileIdentity(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(path, " ", info.st_dev, " ", info.st_ino, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

// Whether a thread of ours that gives up its priority can take it back: a process that is started by it has its own.
bool CanYield() {
  bool can = false;
  std::thread([&can] { can = setpriority(PRIO_PROCESS, 0, 19) == 0 && setpriority(PRIO_PROCESS, 0, 0) == 0; }).join();
  return can;
}

void RestorePriority(const vmcore::v1::Facts& facts, uint32_t uid) {
  for (const vmcore::v1::ProcessId& process : {facts.vmcore(), facts.init(), facts.kernel()}) {
    if (process.pid() > 0) setpriority(PRIO_PROCESS, static_cast<id_t>(process.pid()), 0);
  }
  if (uid != 0) setpriority(PRIO_USER, uid, 0);
}

// What a vmcore that boots tells, across threads.
struct Progress {
  absl::Mutex mutex;
  bool waiting ABSL_GUARDED_BY(mutex) = false;
  bool gone ABSL_GUARDED_BY(mutex) = false;
  vmcore::v1::Facts facts ABSL_GUARDED_BY(mutex);
};

}  // namespace

// ---------------------------------------------------------------- what is wanted

absl::Status WarmPool::Begin() {
  const std::string folder = config_->run_dir + "/warm";
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (!entry.is_directory(ignored)) continue;
    if (absl::Status ended = EndSupervisor(*config_, entry.path().string()); !ended.ok()) {
      spdlog::warn("warm pool: {}", std::string(ended.message()));
    }
  }
  initramfs_ = folder + "/initramfs";
  RETURN_IF_ERROR(WriteFileDurably(initramfs_, WarmInitramfs(), 0644));
  ASSIGN_OR_RETURN(const std::vector<state::PoolRow> rows, store_->LoadPools());
  {
    absl::MutexLock lock(&mutex_);
    for (const state::PoolRow& row : rows) pools_[{row.kernel, row.memory_bytes}].row = row;
    changed_ = true;
  }
  thread_ = std::thread([this] { ThreadMain(); });
  return absl::OkStatus();
}

WarmPool::~WarmPool() {
  End();
  if (thread_.joinable()) thread_.join();
}

void WarmPool::End() {
  absl::MutexLock lock(&mutex_);
  ending_ = true;
}

absl::StatusOr<v1::Pool> WarmPool::Set(const v1::SetPoolRequest& request) {
  state::PoolRow row;
  row.kernel = request.kernel();
  row.memory_bytes = request.memory_bytes() == 0 ? kDefaultMemory : request.memory_bytes();
  row.warm = request.warm();
  RETURN_IF_ERROR(devices::CheckMemory(row.memory_bytes));
  if (row.warm > kMostWarm) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(row.warm, " waiting kernels are too many"),
                     {"BAD_POOL", "", absl::StrCat("at most ", kMostWarm, " can wait of one class")});
  }
  if (row.warm > 0) {
    ASSIGN_OR_RETURN(const KernelChoice choice, catalog_->Choose(row.kernel));
    RETURN_IF_ERROR(kernel::InspectKernel(choice.path));
  }
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) { return transaction.SetPool(row); }));
  absl::MutexLock lock(&mutex_);
  Class& pool = pools_[{row.kernel, row.memory_bytes}];
  pool.row = row;
  pool.not_before = absl::InfinitePast();
  pool.patience = absl::ZeroDuration();
  pool.problem.clear();
  changed_ = true;
  return Show(pool);
}

v1::Pool WarmPool::Show(const Class& pool) const {
  v1::Pool shown;
  const std::string kernel = pool.row.kernel.substr(pool.row.kernel.rfind('/') + 1);
  shown.set_name(
      absl::StrCat("pools/", kernel.empty() ? "default" : kernel, "-", FormatByteSize(pool.row.memory_bytes)));
  shown.set_kernel(pool.row.kernel);
  shown.set_memory_bytes(pool.row.memory_bytes);
  shown.set_warm(pool.row.warm);
  const absl::StatusOr<KernelChoice> choice = catalog_->Choose(pool.row.kernel);
  if (choice.ok()) shown.set_kernel_in_use(choice->name.empty() ? choice->path : choice->name);
  shown.set_ready(static_cast<uint32_t>(pool.ready.size()));
  shown.set_booting(pool.booting);
  uint64_t bytes = 0;
  for (const std::unique_ptr<WarmKernel>& warm : pool.ready)
    bytes += kernel::HostMemoryOf(ToIdentity(warm->facts.kernel()));
  shown.set_host_memory_bytes(bytes);
  shown.set_warm_starts(pool.warm_starts);
  shown.set_cold_starts(pool.cold_starts);
  if (pool.ready.size() + pool.booting < pool.row.warm) {
    shown.set_problem(!choice.ok() ? std::string(choice.status().message())
                      : pressed_   ? "the host is short of memory"
                                   : pool.problem);
  }
  return shown;
}

v1::ListPoolsResponse WarmPool::List() {
  v1::ListPoolsResponse response;
  response.set_memory_ceiling_bytes(config_->warm_memory_bytes);
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, pool] : pools_) {
    if (pool.row.warm > 0) *response.add_pools() = Show(pool);
  }
  return response;
}

// ---------------------------------------------------------------- taking one

std::unique_ptr<WarmKernel> WarmPool::Take(const vmcore::v1::Launch& launch, std::string* note) {
  const vmcore::v1::GuestConfig& config = launch.config();
  absl::MutexLock lock(&mutex_);
  Class* found = nullptr;
  for (auto& [key, pool] : pools_) {
    if (pool.row.warm == 0 || pool.row.memory_bytes != config.memory_bytes()) continue;
    const absl::StatusOr<KernelChoice> choice = catalog_->Choose(pool.row.kernel);
    if (!choice.ok() || choice->path != config.kernel()) continue;
    // Two classes may be the same kernel, by its name and as the default.
    if (found == nullptr || found->ready.empty()) found = &pool;
  }
  if (found == nullptr) return nullptr;
  const std::string reason = ColdReason(launch);
  changed_ = true;
  if (reason.empty()) {
    const std::string file = FileIdentity(config.kernel());
    auto& ready = found->ready;
    const auto fresh = std::find_if(ready.begin(), ready.end(), [&](const auto& warm) {
      return warm->kernel_file == file && !WaitForExit(warm->vmcore.child.pidfd.get(), std::chrono::milliseconds(0));
    });
    if (fresh != ready.end()) {
      std::unique_ptr<WarmKernel> warm = std::move(*fresh);
      ready.erase(fresh);
      ++found->warm_starts;
      *note = "warm";
      return warm;
    }
  }
  ++found->cold_starts;
  *note = absl::StrCat("cold: ", reason.empty() ? "no kernel of the warm pool is ready" : reason);
  return nullptr;
}

void WarmPool::Discard(std::unique_ptr<WarmKernel> warm) {
  warm->client->Close();
  KillAndReap(warm->vmcore.child);
  if (absl::Status ended = EndSupervisor(*config_, warm->run_dir); !ended.ok()) {
    spdlog::warn("warm pool: {}", std::string(ended.message()));
  }
}

// ---------------------------------------------------------------- keeping them

void WarmPool::ThreadMain() {
  yields_ = CanYield();
  if (yields_) setpriority(PRIO_PROCESS, 0, 19);
  const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ending_ || changed_; };
  while (true) {
    std::vector<std::unique_ptr<WarmKernel>> unwanted;
    Key next;
    bool lacks = false;
    {
      absl::MutexLock lock(&mutex_);
      const bool idle = std::all_of(pools_.begin(), pools_.end(), [](const auto& entry) {
        return entry.second.row.warm == 0 && entry.second.ready.empty();
      });
      mutex_.AwaitWithTimeout(absl::Condition(&has_work), idle ? absl::InfiniteDuration() : kLookEvery);
      if (ending_) return;
      changed_ = false;
      const HostMemory memory = ReadHostMemory();
      const uint64_t percent = memory.total == 0 ? 100 : memory.available * 100 / memory.total;
      pressed_ = percent < (pressed_ ? kEasedAbove : kPressedBelow);
      unwanted = TakeUnwanted();
      if (Class* const pool = Lacking()) {
        next = {pool->row.kernel, pool->row.memory_bytes};
        ++pool->booting;
        lacks = true;
      }
    }
    for (std::unique_ptr<WarmKernel>& warm : unwanted) Discard(std::move(warm));
    if (lacks) BootFor(next);
  }
}

std::vector<std::unique_ptr<WarmKernel>> WarmPool::TakeUnwanted() {
  std::vector<std::unique_ptr<WarmKernel>> unwanted;
  for (auto& [key, pool] : pools_) {
    const absl::StatusOr<KernelChoice> choice = catalog_->Choose(pool.row.kernel);
    const std::string file = choice.ok() ? FileIdentity(choice->path) : "";
    std::vector<std::unique_ptr<WarmKernel>> kept;
    for (std::unique_ptr<WarmKernel>& warm : pool.ready) {
      const bool dead = WaitForExit(warm->vmcore.child.pidfd.get(), std::chrono::milliseconds(0));
      if (dead) pool.problem = "a kernel that waited has ended";
      const bool wanted = !dead && !pressed_ && kept.size() < pool.row.warm && warm->kernel_file == file;
      (wanted ? kept : unwanted).push_back(std::move(warm));
    }
    pool.ready = std::move(kept);
  }
  return unwanted;
}

uint64_t WarmPool::MemoryTaken() const {
  uint64_t bytes = 0;
  for (const auto& [key, pool] : pools_) bytes += (pool.ready.size() + pool.booting) * pool.row.memory_bytes;
  return bytes;
}

WarmPool::Class* WarmPool::Lacking() {
  if (pressed_) return nullptr;
  const uint64_t taken = MemoryTaken();
  Class* most = nullptr;
  for (auto& [key, pool] : pools_) {
    if (pool.ready.size() + pool.booting >= pool.row.warm || absl::Now() < pool.not_before) continue;
    if (taken + pool.row.memory_bytes > config_->warm_memory_bytes) {
      pool.problem = absl::StrCat("no more than ", HumanByteSize(config_->warm_memory_bytes),
                                  " of guests' memory may wait (umld --warm-memory)");
      continue;
    }
    // The one that is the emptiest.
    if (most == nullptr || pool.ready.size() * most->row.warm < most->ready.size() * pool.row.warm) most = &pool;
  }
  return most;
}

void WarmPool::BootFor(const Key& key) {
  state::PoolRow row;
  {
    absl::MutexLock lock(&mutex_);
    row = pools_[key].row;
  }
  absl::StatusOr<std::unique_ptr<WarmKernel>> warm = Boot(row);
  absl::MutexLock lock(&mutex_);
  Class& pool = pools_[key];
  --pool.booting;
  changed_ = true;
  if (warm.ok()) {
    pool.ready.push_back(*std::move(warm));
    pool.problem.clear();
    pool.patience = absl::ZeroDuration();
    return;
  }
  pool.problem = std::string(warm.status().message());
  pool.patience = std::min(std::max(pool.patience * 2, kFirstPause), kLongestPause);
  pool.not_before = absl::Now() + pool.patience;
  if (!ending_) spdlog::warn("warm pool: {}", pool.problem);
}

absl::StatusOr<uint64_t> WarmPool::NextId() {
  if (next_id_ == last_id_) {
    RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
      ASSIGN_OR_RETURN(next_id_, transaction.ReserveGuestIds(kIdsAtOnce));
      return absl::OkStatus();
    }));
    last_id_ = next_id_ + kIdsAtOnce;
  }
  return next_id_++;
}

absl::StatusOr<std::unique_ptr<WarmKernel>> WarmPool::Boot(const state::PoolRow& row) {
  auto warm = std::make_unique<WarmKernel>();
  ASSIGN_OR_RETURN(warm->kernel, catalog_->Hold(row.kernel));
  RETURN_IF_ERROR(kernel::InspectKernel(warm->kernel->path));
  warm->kernel_file = FileIdentity(warm->kernel->path);
  ASSIGN_OR_RETURN(warm->id, NextId());
  warm->run_dir = absl::StrCat(config_->run_dir, "/warm/", warm->id);
  RETURN_IF_ERROR(MakeFolders(warm->run_dir + "/log", 0700));

  ASSIGN_OR_RETURN(vmcore::v1::Launch launch, NewLaunch(*config_, warm->id, /*relaxed=*/false));
  launch.set_run_dir(warm->run_dir);
  launch.set_log_dir(warm->run_dir + "/log");
  launch.set_waits_in(initramfs_);
  vmcore::v1::GuestConfig* config = launch.mutable_config();
  config->set_name(absl::StrCat("warm-", warm->id));
  config->set_kernel(warm->kernel->path);
  config->set_kernel_name(warm->kernel->name);
  config->set_memory_bytes(row.memory_bytes);
  ASSIGN_OR_RETURN(const std::vector<std::string> libraries, kernel::KernelLibraries(warm->kernel->path));
  for (const std::string& library : libraries) config->add_kernel_libraries(library);

  ASSIGN_OR_RETURN(UniqueFd lock, TakeSupervisorLock(warm->run_dir));
  ASSIGN_OR_RETURN(warm->vmcore, SpawnVmcore(*config_, launch, lock));
  lock.reset();
  auto progress = std::make_shared<Progress>();
  warm->client = std::make_shared<VmcoreClient>(loop_, std::move(warm->vmcore.control));
  warm->client->Begin(
      [progress](const vmcore::v1::Event& event) {
        absl::MutexLock guard(&progress->mutex);
        if (event.has_facts() && event.facts().waiting() && !progress->waiting) {
          progress->facts = event.facts();
          progress->waiting = true;
        }
      },
      [this, progress] {
        {
          absl::MutexLock guard(&progress->mutex);
          progress->gone = true;
        }
        absl::MutexLock guard(&mutex_);
        changed_ = true;
      });
  vmcore::v1::Request hello, subscribe;
  hello.mutable_hello()->set_version(kVmcoreProtocol);
  subscribe.mutable_subscribe();
  absl::Status status = warm->client->Call(hello, kRequest).status();
  if (status.ok()) status = warm->client->Call(subscribe, kRequest).status();
  if (status.ok()) {
    const absl::Time deadline = absl::Now() + kBootAtMost;
    bool ended = false;
    while (!ended && absl::Now() < deadline) {
      const auto decided = [&progress]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(progress->mutex) {
        return progress->waiting || progress->gone;
      };
      {
        absl::MutexLock guard(&progress->mutex);
        ended = progress->mutex.AwaitWithTimeout(absl::Condition(&decided), absl::Milliseconds(200));
        warm->facts = progress->facts;
      }
      absl::MutexLock guard(&mutex_);
      if (ending_ && !ended) {
        // It ends with this process, as those that wait do. Killed, it would leave a folder that nobody removes before
        // umld is gone.
        warm->client->Close();
        return absl::CancelledError("umld ends");
      }
    }
  }
  if (warm->facts.waiting()) {
    if (yields_) RestorePriority(warm->facts, launch.uid());
    return warm;
  }
  if (const absl::StatusOr<vmcore::v1::Exit> exit = ReadVmcoreExit(warm->run_dir); exit.ok()) {
    status = absl::AbortedError(exit->reason());
  }
  if (status.ok()) status = absl::DeadlineExceededError("it is not ready in time");
  Discard(std::move(warm));
  return Annotate(status, absl::StrCat("a kernel of ", HumanByteSize(row.memory_bytes), " does not boot"));
}

}  // namespace umld
