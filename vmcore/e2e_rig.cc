#include "vmcore/e2e_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "gtest/gtest.h"
#include "kernel/kernel_inspect.h"
#include "vmcore/protocol.h"

namespace umld::vmcore {
namespace {

// Of a confined guest.
constexpr uid_t kGuestUid = 1879048192 + 77;

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr char kInit[] = R"(#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
echo "guest init up"
export PS1='$ '
while :; do setsid -c sh -i </dev/tty1 >/dev/tty1 2>&1; done
)";

milliseconds Left(Clock::time_point deadline) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(deadline - Clock::now()));
}

void Run(const std::vector<std::string>& argv) {
  auto result = RunCommand(argv, std::chrono::seconds(60));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->exit_code, 0) << argv[0] << ": " << result->output;
}

// One image for all tests of this process; every guest mounts it read-only.
const std::string& Image() {
  static const std::string* image = [] {
    std::string folder = "/tmp/vmcore_e2e_image.XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    chmod(folder.c_str(), 0755);
    std::string root = folder + "/root";
    for (const char* name : {"bin", "sbin", "dev", "proc", "sys", "tmp", "mnt", "etc"}) {
      fs::create_directories(root + "/" + name);
    }
    fs::copy_file("/bin/busybox", root + "/bin/busybox");
    for (const char* name :
         {"sh",   "mount",  "umount", "echo",   "cat",     "ls",       "setsid", "poweroff", "reboot",
          "halt", "md5sum", "mkswap", "swapon", "swapoff", "grep",     "sleep",  "wc",       "dd",
          "stty", "mke2fs", "yes",    "head",   "true",    "hostname", "kill",   "mkdir"}) {
      fs::create_symlink("busybox", root + "/bin/" + name);
    }
    std::ofstream(root + "/sbin/init") << kInit;
    chmod((root + "/sbin/init").c_str(), 0755);
    std::string path = folder + "/root.img";
    Run({"mke2fs", "-q", "-t", "ext4", "-d", root, path, "16M"});
    fs::remove_all(root);
    static std::string to_remove = folder;
    std::atexit([] { fs::remove_all(to_remove); });
    return new std::string(path);
  }();
  return *image;
}

std::string Slurp(const std::string& path) { return ReadFile(path, 64 * 1024).value_or(""); }

}  // namespace

// ---------------------------------------------------------------- RigClient

std::optional<v1::Frame> RigClient::Receive(milliseconds timeout) {
  if (!fd_.ok()) return std::nullopt;
  pollfd wait_for = {fd_.get(), POLLIN, 0};
  if (poll(&wait_for, 1, static_cast<int>(timeout.count())) <= 0) return std::nullopt;
  absl::StatusOr<std::string> packet = ReceivePacket(fd_.get());
  if (!packet.ok()) {
    fd_.reset();
    return std::nullopt;
  }
  absl::StatusOr<v1::Frame> frame = DecodeFrame(*packet);
  EXPECT_TRUE(frame.ok()) << frame.status();
  if (!frame.ok()) return std::nullopt;
  return *frame;
}

void RigClient::Send(const v1::Frame& frame) {
  std::string packet = EncodeFrame(frame);
  for (int i = 0; i < 1000; ++i) {
    if (!absl::IsResourceExhausted(SendPacket(fd_.get(), packet))) return;
    std::this_thread::sleep_for(milliseconds(10));
  }
}

v1::Reply RigClient::Ask(const v1::Request& request) {
  v1::Frame frame;
  frame.set_id(next_id_++);
  *frame.mutable_request() = request;
  Send(frame);
  auto deadline = Clock::now() + std::chrono::seconds(30);
  while (fd_.ok() && Clock::now() < deadline) {
    std::optional<v1::Frame> got = Receive(Left(deadline));
    if (!got.has_value()) continue;
    if (got->has_reply() && got->id() == frame.id()) return got->reply();
    kept_.push_back(*std::move(got));
  }
  ADD_FAILURE() << "no reply to request " << request.kind_case();
  v1::Reply reply;
  reply.mutable_error()->set_message("no reply");
  return reply;
}

v1::Reply RigClient::Hello() {
  v1::Request request;
  request.mutable_hello()->set_version(kProtocolVersion);
  return Ask(request);
}

std::optional<v1::Frame> RigClient::Next(milliseconds timeout) {
  if (!kept_.empty()) {
    v1::Frame frame = std::move(kept_.front());
    kept_.pop_front();
    return frame;
  }
  return Receive(timeout);
}

std::optional<v1::Event> RigClient::WaitForEvent(const std::function<bool(const v1::Event&)>& fits,
                                                 milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  while (Clock::now() < deadline) {
    std::optional<v1::Frame> frame = Next(Left(deadline));
    if (!frame.has_value() && !fd_.ok()) return std::nullopt;
    if (frame.has_value() && frame->has_event() && fits(frame->event())) return frame->event();
  }
  return std::nullopt;
}

bool RigClient::WaitForState(v1::State state, milliseconds timeout) {
  v1::Request request;
  request.mutable_get_facts();
  if (Ask(request).facts().state() == state) return true;
  return WaitForEvent([state](const v1::Event& event) { return event.has_facts() && event.facts().state() == state; },
                      timeout)
      .has_value();
}

std::optional<v1::Exit> RigClient::WaitForExit(milliseconds timeout) {
  auto event = WaitForEvent([](const v1::Event& e) { return e.has_exit(); }, timeout);
  if (!event.has_value()) return std::nullopt;
  return event->exit();
}

// ---------------------------------------------------------------- RigConsole

RigConsole::RigConsole(UniqueFd fd, const std::string& console, bool read_only, uint32_t history_bytes, bool take_over)
    : client_(std::move(fd)) {
  client_.Hello();
  v1::Request request;
  v1::AttachConsole* attach = request.mutable_attach_console();
  attach->set_console(console);
  attach->set_read_only(read_only);
  attach->set_history_bytes(history_bytes);
  attach->set_take_over(take_over);
  attach->set_rows(24);
  attach->set_columns(200);
  v1::Reply reply = client_.Ask(request);
  EXPECT_FALSE(reply.has_error()) << reply.error().message();
  writer_ = reply.attach_console().writer();
}

void RigConsole::Type(absl::string_view text) {
  while (!text.empty()) {
    v1::Frame frame;
    absl::string_view piece = text.substr(0, 16 * 1024);
    frame.mutable_console()->set_data(std::string(piece));
    client_.Send(frame);
    text.remove_prefix(piece.size());
  }
}

bool RigConsole::Take(const v1::Frame& frame) {
  if (!frame.has_console()) return false;
  seen_ += frame.console().data();
  lost_bytes_ += frame.console().lost_bytes();
  eof_ |= frame.console().eof();
  if (!frame.console().notice().empty()) {
    notices_.push_back(frame.console().notice());
    writer_ = frame.console().writer();
  }
  return true;
}

bool RigConsole::Expect(absl::string_view words, milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  while (true) {
    size_t at = seen_.find(std::string(words));
    if (at != std::string::npos) {
      seen_.erase(0, at + words.size());
      return true;
    }
    if (Clock::now() >= deadline || !client_.connected()) return false;
    if (auto frame = client_.Next(Left(deadline)); frame.has_value()) Take(*frame);
  }
}

void RigConsole::Read(milliseconds time) {
  auto deadline = Clock::now() + time;
  while (Clock::now() < deadline && client_.connected()) {
    if (auto frame = client_.Next(Left(deadline)); frame.has_value()) Take(*frame);
  }
}

// ---------------------------------------------------------------- Rig

Rig::Rig() {
  folder_ = "/tmp/vmcore_e2e.XXXXXX";
  EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  chmod(folder_.c_str(), 0755);
  fs::create_directories(folder_ + "/run");
  fs::create_directories(folder_ + "/log");
  chmod(run_dir().c_str(), 0700);
}

Rig::~Rig() {
  control_.reset();
  if (child_.pid > 0 && !reaped_) kill(child_.pid, SIGKILL);
  if (child_.pid > 0) WaitForVmcore();
  EXPECT_TRUE(NothingLeft()) << "processes are left of " << folder_;
  for (pid_t pid : Processes()) kill(pid, SIGKILL);
  // There is no umld to remove what a killed vmcore had made.
  for (absl::string_view group : absl::StrSplit(Slurp(run_dir() + "/cgroups"), '\n', absl::SkipEmpty())) {
    // A process that was killed leaves its group a moment later.
    const auto deadline = Clock::now() + std::chrono::seconds(2);
    while (rmdir(std::string(group).c_str()) != 0 && errno == EBUSY && Clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  if (testing::Test::HasFailure()) {
    std::fprintf(stderr, "---- vmcore's log\n%s---- con0\n%s----\n", Slurp(folder_ + "/stderr").c_str(),
                 Slurp(folder_ + "/log/con0.log").c_str());
  }
  fs::remove_all(folder_);
}

v1::Launch Rig::NewLaunch() const {
  v1::Launch launch;
  launch.set_version(kProtocolVersion);
  launch.set_run_dir(run_dir());
  launch.set_log_dir(folder_ + "/log");
  launch.set_history_bytes(256 * 1024);
  launch.set_log_rotate_bytes(1 << 20);
  v1::GuestConfig* config = launch.mutable_config();
  config->set_name("rig1");
  config->set_kernel("/usr/bin/linux.uml");
  config->set_memory_bytes(64 << 20);
  v1::Disk* disk = config->add_disks();
  disk->set_flags("r");
  disk->set_path(Image());
  return launch;
}

void Rig::Start(v1::Launch launch, uid_t uid) {
  // As umld does: confined wherever that can be.
  if (launch.isolation() == v1::ISOLATION_PROCESS_GROUP) launch.set_confinement(v1::CONFINEMENT_RELAXED);
  if (uid == 0 && launch.isolation() != v1::ISOLATION_USER_NAMESPACE) launch.set_uid(kGuestUid);
  if (auto libraries = kernel::KernelLibraries(launch.config().kernel()); libraries.ok()) {
    for (const std::string& library : *libraries) launch.add_kernel_libraries(library);
  }
  UniqueFd memory(memfd_create("launch", MFD_CLOEXEC));
  std::string bytes = launch.SerializeAsString();
  ASSERT_EQ(write(memory.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  UniqueFd lock(open((folder_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  auto pair = PacketPair();
  ASSERT_TRUE(pair.ok());
  UniqueFd log(open((folder_ + "/stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));

  std::string binary = "vmcore/vmcore";
  SpawnOptions options;
  if (uid != 0) {
    // A copy: the build's own folder may be closed to other users.
    fs::copy_file(binary, folder_ + "/vmcore", fs::copy_options::overwrite_existing);
    binary = folder_ + "/vmcore";
    for (const std::string& path : {folder_, run_dir(), folder_ + "/log"}) ASSERT_EQ(chown(path.c_str(), uid, uid), 0);
    std::string id = absl::StrCat(uid);
    options.argv = {"/usr/bin/setpriv", "--reuid", id, "--regid", id, "--clear-groups"};
  }
  options.argv.push_back(binary);
  options.fds = {{2, log.get()}, {3, memory.get()}, {4, lock.get()}, {5, pair->second.get()}};
  options.new_session = true;
  auto child = Spawn(options);
  ASSERT_TRUE(child.ok()) << child.status();
  child_ = *std::move(child);
  reaped_ = false;
  control_ = std::make_unique<RigClient>(std::move(pair->first));
  pair->second.reset();
  v1::Request subscribe;
  subscribe.mutable_subscribe();
  control_->Hello();
  control_->Ask(subscribe);
}

UniqueFd Rig::Connect() {
  auto fd = ConnectPackets(run_dir() + "/vmcore.sock");
  EXPECT_TRUE(fd.ok()) << fd.status();
  return fd.ok() ? *std::move(fd) : UniqueFd();
}

RigConsole Rig::OpenConsole(const std::string& name, bool read_only) { return RigConsole(Connect(), name, read_only); }

void Rig::Boot() {
  Start(NewLaunch());
  ASSERT_TRUE(control().WaitForState(v1::STATE_RUNNING));
  RigConsole console = OpenConsole("con1");
  ASSERT_TRUE(console.Expect("$ "));
}

bool Rig::WaitForVmcore(milliseconds timeout) {
  if (reaped_) return true;
  if (!WaitForExit(child_.pidfd.get(), timeout)) return false;
  reaped_ = waitpid(child_.pid, &status_, 0) == child_.pid;
  return true;
}

std::optional<v1::Exit> Rig::ReadExit() const {
  auto bytes = ReadFile(run_dir() + "/exit", 1 << 20);
  v1::Exit exit;
  if (!bytes.ok() || !exit.ParseFromString(*bytes)) return std::nullopt;
  return exit;
}

std::vector<pid_t> Rig::Processes() const {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::error_code error;
    std::string cwd = fs::read_symlink(entry.path() / "cwd", error).string();
    std::string words = Slurp(entry.path() / "cmdline") + Slurp(entry.path() / "environ");
    if (absl::StartsWith(cwd, folder_) || absl::StrContains(words, folder_)) {
      if (IsAlive(IdentifyProcess(pid).value_or(ProcessIdentity{}))) found.push_back(pid);
    }
  }
  return found;
}

bool Rig::NothingLeft(milliseconds timeout) const {
  auto deadline = Clock::now() + timeout;
  while (true) {
    std::vector<pid_t> left = Processes();
    if (!reaped_) std::erase(left, child_.pid);
    if (left.empty()) return true;
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

bool Rig::LockIsFree() const {
  UniqueFd lock(open((folder_ + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  return flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
}

std::string Rig::MakeFile(const std::string& name, size_t bytes) const {
  std::string path = folder_ + "/" + name;
  std::ofstream(path).close();
  fs::resize_file(path, bytes);
  return path;
}

}  // namespace umld::vmcore
