#include "umld/mconsole_bridge.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/packet_socket.h"
#include "base/process.h"
#include "base/status.h"
#include "spdlog/spdlog.h"
#include "umld/mconsole_wire.h"

namespace umld {
namespace {

constexpr std::chrono::milliseconds kSettle(5);

struct Sender {
  sockaddr_un address = {};
  socklen_t address_length = 0;
  std::string folder;  // its working directory: what its relative paths mean
};

// Receives one request and who sent it; false: nothing there.
bool Receive(int fd, std::string* datagram, Sender* sender) {
  char buffer[1024];
  char control[CMSG_SPACE(sizeof(ucred))];
  iovec part = {buffer, sizeof(buffer)};
  msghdr message = {};
  message.msg_name = &sender->address;
  message.msg_namelen = sizeof(sender->address);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return false;
  datagram->assign(buffer, static_cast<size_t>(got));
  sender->address_length = message.msg_namelen;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials;
    std::memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
    std::error_code ignored;
    sender->folder = std::filesystem::read_symlink(absl::StrCat("/proc/", credentials.pid, "/cwd"), ignored).string();
  }
  return true;
}

// A client that does not read must not hold anything up: what does not go out within a second is dropped.
void Send(int fd, const Sender& to, const std::string& datagram) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (sendto(fd, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&to.address), to.address_length) >= 0) {
      return;
    }
    if (errno != EAGAIN && errno != ENOBUFS) return;
    usleep(10'000);
  }
}

void Reply(int fd, const Sender& to, const absl::StatusOr<v1::SendMconsoleResponse>& response) {
  std::string text = response.ok() ? response->text() : std::string(response.status().message());
  if (!response.ok()) {
    const std::string hint = GetErrorDetail(response.status()).hint;
    if (!hint.empty()) absl::StrAppend(&text, " (", hint, ")");
  }
  for (const std::string& datagram : EncodeMconsoleReply(response.ok() ? response->err() : 1, text)) {
    Send(fd, to, datagram);
  }
}

// Whether a UML kernel that is not ours lives under this folder.
bool IsTaken(const std::string& folder, int our_pid) {
  absl::StatusOr<std::string> text = ReadFile(folder + "/pid", 32);
  int pid = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &pid) || pid == our_pid) return false;
  absl::StatusOr<ProcessIdentity> process = IdentifyProcess(pid);
  if (!process.ok() || !IsAlive(*process)) return false;
  // A pid file that an earlier umld left may name a process that has nothing to do with UML.
  absl::StatusOr<std::string> command = ReadFile(absl::StrCat("/proc/", pid, "/cmdline"), 4096);
  return command.ok() && command->find("umid=") != std::string::npos;
}

}  // namespace

MconsoleBridge::MconsoleBridge(std::string folder, EventLoop* loop, EventLog* events, GuestTable* table, Guests* guests)
    : folder_(std::move(folder)), loop_(loop), events_(events), table_(table), guests_(guests) {}

MconsoleBridge::~MconsoleBridge() = default;

void MconsoleBridge::Begin() {
  // Many events in a row (a thousand guests that start) are one look at the table.
  listener_ = events_->AddListener([this] {
    if (pending_.exchange(true)) return;
    loop_->Post([this] { loop_->RunAfter(kSettle, [this] { Reconcile(); }); });
  });
  loop_->Post([this] {
    // What the last umld could not take away: entries of guests that ended while there was none.
    for (const GuestView& view : table_->Views()) {
      if (!view.alive && !IsTaken(GuestFolder(view.row.name), 0)) RemoveEntry(view.row.name);
    }
    Reconcile();
  });
}

void MconsoleBridge::End() {
  events_->RemoveListener(listener_);
  std::promise<void> done;
  loop_->Post([&] {
    while (!entries_.empty()) Withdraw(entries_.begin()->first);
    done.set_value();
  });
  done.get_future().wait();
}

void MconsoleBridge::Reconcile() {
  pending_ = false;
  std::set<uint64_t> running;
  for (const GuestView& view : table_->Views()) {
    const int pid = view.facts.vmcore().pid();
    if (!view.alive || pid == 0) continue;
    running.insert(view.row.id);
    auto found = entries_.find(view.row.id);
    if (found != entries_.end() && found->second.umid == view.row.name && found->second.supervisor_pid == pid) continue;
    if (found != entries_.end()) Withdraw(view.row.id);
    Offer(view);
  }
  std::set<uint64_t> gone;
  for (const auto& [id, entry] : entries_) {
    if (running.count(id) == 0) gone.insert(id);
  }
  for (uint64_t id : gone) Withdraw(id);
}

void MconsoleBridge::Offer(const GuestView& view) {
  Entry entry;
  entry.umid = view.row.name;
  entry.supervisor_pid = view.facts.vmcore().pid();
  const std::string folder = GuestFolder(entry.umid);
  // An entry without a socket says that this guest cannot have one; it is not tried again at every event.
  auto give_up = [&](const absl::Status& status) {
    spdlog::warn("guest {}: no socket for uml_mconsole: {}", entry.umid, std::string(status.message()));
    entries_[view.row.id] = entry;
  };
  if (IsTaken(folder, entry.supervisor_pid)) {
    return give_up(absl::AlreadyExistsError(absl::StrCat(folder, " belongs to a kernel that umld did not start")));
  }
  absl::Status made = MakeFolders(folder_, 0700);
  if (made.ok()) made = MakeFolders(folder, 0700);
  if (!made.ok()) return give_up(made);
  absl::StatusOr<UniqueFd> socket = BindDatagrams(folder + "/mconsole", 0600);
  if (!socket.ok()) return give_up(socket.status());
  const int on = 1;
  setsockopt(socket->get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
  absl::Status pid_file = WriteFileDurably(folder + "/pid", absl::StrCat(entry.supervisor_pid, "\n"), 0600);
  if (!pid_file.ok()) spdlog::warn("{}", std::string(pid_file.message()));
  entry.socket = std::make_shared<UniqueFd>(*std::move(socket));
  const uint64_t id = view.row.id;
  loop_->Watch(entry.socket->get(), EPOLLIN, [this, id](uint32_t) { OnRequest(id); });
  entries_[id] = std::move(entry);
}

void MconsoleBridge::Withdraw(uint64_t id) {
  Entry entry = std::move(entries_[id]);
  entries_.erase(id);
  if (entry.socket == nullptr) return;
  loop_->Unwatch(entry.socket->get());
  RemoveEntry(entry.umid);
}

void MconsoleBridge::RemoveEntry(const std::string& umid) {
  const std::string folder = GuestFolder(umid);
  unlink((folder + "/mconsole").c_str());
  unlink((folder + "/pid").c_str());
  // A umld that was killed while it wrote the pid file leaves the file that was to become it.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (absl::StartsWith(entry.path().filename().string(), "pid.")) unlink(entry.path().c_str());
  }
  rmdir(folder.c_str());
}

std::string MconsoleBridge::GuestFolder(const std::string& umid) const { return absl::StrCat(folder_, "/", umid); }

void MconsoleBridge::OnRequest(uint64_t id) {
  // Requests that are being worked on keep the socket open, and are answered, also when the guest's end takes it away.
  std::shared_ptr<UniqueFd> socket = entries_[id].socket;
  const std::string umid = entries_[id].umid;
  std::string datagram;
  Sender sender;
  // The socket is for root and the user that umld runs as alone.
  while (Receive(socket->get(), &datagram, &sender)) {
    MconsoleRequest request = DecodeMconsoleRequest(datagram);
    if (request.raw_refusal) {
      Send(socket->get(), sender, request.refusal);
      continue;
    }
    v1::SendMconsoleRequest api;
    api.set_guest("guests/" + umid);
    api.set_command(ResolveDiskPaths(request.command, sender.folder));
    guests_->InLine(umid, [=, this](absl::StatusOr<GuestPtr> guest) {
      if (!guest.ok()) return Reply(socket->get(), sender, guest.status());
      if (!request.refusal.empty()) {
        return Reply(socket->get(), sender, absl::InvalidArgumentError(request.refusal));
      }
      Reply(socket->get(), sender, guests_->SendMconsole(*guest, api, Caller()));
    });
  }
}

}  // namespace umld
