// The rules, each from a trap of the kernel's arch/um/drivers/mconsole_kern.c:
//  - One request in flight: those queued together run last in, first out.
//  - Always a deadline: a kernel can stop answering and go on working.
//  - A question is sent a second time: a bad datagram of somebody else leaves a good one lying until the next arrives.
//    A command that changes something is not: it may have been carried out.
//  - Whatever is sent after a timeout goes out from a new socket: the old one may still get fragments, which nothing
//    tells from those of the next answer.
//  - The socket is connected: then the host's kernel refuses datagrams of everybody else.
//  - It is bound to a path: an abstract address belongs to one network namespace, and the kernel may have another. No
//    two have the same path, for the kernel looks it up anew for every fragment.
//  - Replies are drained without going back to the loop: the kernel drops what does not fit into a queue of 10.
#include "vmcore/mconsole_client.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "vmcore/jail_controls.h"
#include "vmcore/mconsole_wire.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBetweenFragments(20);
constexpr milliseconds kInOneGo(100);

// Commands that can be sent twice without harm. The kernel matches by prefix, so "config x" is one and "config x=" not.
bool IsQuestion(absl::string_view command) {
  if (absl::StartsWith(command, "config")) return !absl::StrContains(command, '=');
  return absl::StartsWith(command, "version") || absl::StartsWith(command, "help") || absl::StartsWith(command, "proc");
}

absl::Status NobodyThere(absl::string_view path, int error_number) {
  return MakeError(absl::StatusCode::kUnavailable,
                   absl::StrCat("the kernel does not listen on its mconsole ", path, ": ", strerror(error_number)),
                   {"MCONSOLE_UNAVAILABLE", std::string(path), "wait until the guest is up"});
}

absl::Status NoAnswer(absl::string_view command, EventLoop::Clock::duration deadline) {
  auto waited = std::chrono::duration_cast<milliseconds>(deadline).count();
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   absl::StrCat("the kernel has not answered \"", command, "\" within ", waited, " ms"),
                   {"MCONSOLE_TIMED_OUT", "", "look at the guest's console; a guest that stays silent can be killed"});
}

sockaddr_un UnixAddress(absl::string_view path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

// A datagram socket that answers to `path` can be sent to by whoever gets that far: root's kernels are other
// users'.
absl::StatusOr<UniqueFd> BindReplySocket(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) return ErrnoError(ENAMETOOLONG, absl::StrCat("socket ", path));
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return ErrnoError(errno, "socket");
  unlink(path.c_str());  // of one that was killed
  const sockaddr_un address = UnixAddress(path);
  // Not by chmod: that would follow what a guest may have put in the socket's place.
  const mode_t before = umask(geteuid() == 0 ? 0155 : 0177);
  const bool bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int error_number = errno;
  umask(before);
  if (!bound) return ErrnoError(error_number, absl::StrCat("bind ", path));
  return fd;
}

// 0 or errno. What is below the first folder of `path` (kKernelFolder, ours) is the kernel's to change, and a symbolic
// link there could lead to another guest's mconsole: none is followed.
int ConnectWithoutLinks(const UniqueFd& socket, const std::string& path) {
  const size_t ours = path.find('/') + 1;
  UniqueFd folder(open(absl::StrCat(path.substr(0, ours), ".").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.ok()) return errno;
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = IsRemoved("mconsole-links") ? 0 : RESOLVE_NO_SYMLINKS;
  UniqueFd target(static_cast<int>(syscall(SYS_openat2, folder.get(), path.c_str() + ours, &how, sizeof(how))));
  if (!target.ok()) return errno;
  const sockaddr_un address = UnixAddress(absl::StrCat("/proc/self/fd/", target.get()));
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  return connect(socket.get(), to, sizeof(address)) == 0 ? 0 : errno;
}

}  // namespace

absl::Status ToStatus(const absl::StatusOr<MconsoleAnswer>& answer, absl::string_view subject) {
  if (!answer.ok()) return answer.status();
  if (answer->error == 0) return absl::OkStatus();
  const std::string text = answer->text.empty() ? absl::StrCat("error ", answer->error) : answer->text;
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the guest's kernel says: ", text),
                   {"KERNEL_REFUSED", std::string(subject), "see the guest's kernel messages (con0)"});
}

absl::Status MakeShownFolder(const std::string& path) {
  RETURN_IF_ERROR(RemoveFolder(path));
  const mode_t before = umask(0);
  const bool made = mkdir(path.c_str(), 0755) == 0;
  const int error_number = errno;
  umask(before);
  return made ? absl::OkStatus() : ErrnoError(error_number, absl::StrCat("make the folder ", path));
}

MconsoleClient::~MconsoleClient() {
  CloseSocket();
  loop_->Cancel(deadline_timer_);
  loop_->Cancel(resend_timer_);
  loop_->Cancel(start_timer_);
}

void MconsoleClient::Send(std::string command, Clock::duration deadline, Done done) {
  queue_.push_back({std::move(command), deadline, std::move(done)});
  if (busy_ || start_timer_ != 0) return;
  // Not from here: a caller need not expect `done` before Send returns.
  start_timer_ = loop_->RunAfter(Clock::duration::zero(), [this] {
    start_timer_ = 0;
    StartNext();
  });
}

void MconsoleClient::Abandon(absl::string_view reason) {
  CloseSocket();
  loop_->Cancel(std::exchange(deadline_timer_, 0));
  loop_->Cancel(std::exchange(resend_timer_, 0));
  busy_ = false;
  std::deque<Request> abandoned = std::exchange(queue_, {});
  for (Request& request : abandoned) request.done(absl::CancelledError(reason));
}

void MconsoleClient::StartNext() {
  if (busy_ || queue_.empty()) return;
  busy_ = true;
  complete_ = false;
  answer_ = {};
  const Request& request = queue_.front();
  if (request.command.empty() || request.command.size() > kMaxMconsoleCommand) {
    return Finish(MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("an mconsole command has 1 to ", kMaxMconsoleCommand, " bytes, not ", request.command.size()),
        {"MCONSOLE_COMMAND_LENGTH", "", ""}));
  }
  if (!socket_.ok()) {
    if (absl::Status status = OpenSocket(); !status.ok()) return Finish(status);
  }
  deadline_timer_ = loop_->RunAfter(request.deadline, [this] {
    deadline_timer_ = 0;
    CloseSocket();
    SetAnswers(false);
    Finish(NoAnswer(queue_.front().command, queue_.front().deadline));
  });
  if (IsQuestion(request.command)) {
    resend_timer_ = loop_->RunAfter(request.deadline / 2, [this] { OnResendTimer(); });
  }
  Transmit();
}

absl::Status MconsoleClient::OpenSocket() {
  reply_path_ = absl::StrCat(reply_folder_, "/", ++sockets_);
  ASSIGN_OR_RETURN(UniqueFd fd, BindReplySocket(reply_path_));
  if (const int error_number = ConnectWithoutLinks(fd, path_); error_number != 0) {
    unlink(reply_path_.c_str());
    return NobodyThere(path_, error_number);
  }
  socket_ = std::move(fd);
  loop_->Watch(socket_.get(), EPOLLIN, [this](uint32_t events) { OnReady(events); });
  return absl::OkStatus();
}

void MconsoleClient::CloseSocket() {
  if (!socket_.ok()) return;
  loop_->Unwatch(socket_.get());
  socket_.reset();
  unlink(reply_path_.c_str());
}

void MconsoleClient::Transmit() {
  const std::string& command = queue_.front().command;
  MconsoleRequestHeader header = {kMconsoleMagic, kMconsoleVersion, static_cast<uint32_t>(command.size())};
  std::string datagram(reinterpret_cast<const char*>(&header), sizeof(header));
  datagram += command;
  ssize_t sent;
  do {
    sent = send(socket_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    loop_->SetEvents(socket_.get(), EPOLLIN);
  } else if (errno == EAGAIN || errno == ENOBUFS) {
    // The kernel has not read what came before. Until the deadline this is only slow.
    loop_->SetEvents(socket_.get(), EPOLLIN | EPOLLOUT);
  } else {
    int error_number = errno;
    CloseSocket();
    Finish(NobodyThere(path_, error_number));
  }
}

void MconsoleClient::OnReady(uint32_t events) {
  if ((events & EPOLLIN) != 0) return DrainFragments();
  if ((events & EPOLLOUT) != 0 && busy_) return Transmit();
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    CloseSocket();
    if (busy_) Finish(NobodyThere(path_, ECONNREFUSED));
  }
}

void MconsoleClient::DrainFragments() {
  const Clock::time_point stop_at = Clock::now() + kInOneGo;
  char buffer[sizeof(MconsoleReplyHeader) + kMconsoleDataBytes];
  // A guest may send without end. What is left when the time is up is the loop's next turn.
  while (Clock::now() < stop_at) {
    ssize_t got = recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got >= 0) {
      if (busy_ && !complete_) complete_ = answer_.Take(absl::string_view(buffer, static_cast<size_t>(got)));
      continue;  // what comes after the last fragment, or unasked, is dropped
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK) return OnReady(EPOLLERR);
    if (!busy_ || complete_ || answer_.empty()) break;
    // In the middle of an answer: the next fragment is microseconds away, and the kernel will not wait for us.
    pollfd wait_for = {socket_.get(), POLLIN, 0};
    if (poll(&wait_for, 1, static_cast<int>(kBetweenFragments.count())) <= 0) return;
  }
  if (!busy_ || !complete_) return;
  SetAnswers(true);
  Finish(answer_.answer());
}

void MconsoleClient::OnResendTimer() {
  resend_timer_ = 0;
  CloseSocket();
  answer_ = {};
  if (absl::Status status = OpenSocket(); !status.ok()) return Finish(status);
  Transmit();
}

void MconsoleClient::Finish(absl::StatusOr<MconsoleAnswer> result) {
  loop_->Cancel(std::exchange(deadline_timer_, 0));
  loop_->Cancel(std::exchange(resend_timer_, 0));
  Request request = std::move(queue_.front());
  queue_.pop_front();
  busy_ = false;
  // Scheduled first: `done` may destroy this client, and then nothing of it may be touched.
  if (!queue_.empty() && start_timer_ == 0) {
    start_timer_ = loop_->RunAfter(Clock::duration::zero(), [this] {
      start_timer_ = 0;
      StartNext();
    });
  }
  request.done(std::move(result));
}

void MconsoleClient::SetAnswers(bool answers) {
  if (answers_ == answers) return;
  answers_ = answers;
  if (answers_changed_) answers_changed_();
}

}  // namespace umld::vmcore
