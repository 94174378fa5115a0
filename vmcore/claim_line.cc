#include "vmcore/claim_line.h"

#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "vmcore/exit_reason.h"

namespace umld::vmcore {
namespace {

// guest/warm/init.c has the same.
constexpr char kLine[] = "ssl63";
constexpr size_t kSeedBytes = 64;
// What the kernel takes at once. More than some 3,970 bytes end a UML line's input; this is the only one.
constexpr size_t kMaxMessage = 4080;
constexpr size_t kMaxWord = 512;

}  // namespace

absl::StatusOr<std::unique_ptr<ClaimLine>> ClaimLine::Create(EventLoop* loop, Callbacks callbacks) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return ErrnoError(errno, "socketpair");
  return std::unique_ptr<ClaimLine>(new ClaimLine(loop, std::move(callbacks), UniqueFd(ends[0]), UniqueFd(ends[1])));
}

ClaimLine::ClaimLine(EventLoop* loop, Callbacks callbacks, UniqueFd ours, UniqueFd kernels)
    : loop_(loop), callbacks_(std::move(callbacks)), fd_(std::move(ours)), kernel_end_(std::move(kernels)) {
  loop_->Watch(fd_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); });
}

ClaimLine::~ClaimLine() { loop_->Unwatch(fd_.get()); }

std::string ClaimLine::KernelArgument(int fd) { return absl::StrCat(kLine, "=fd:", fd); }

absl::Status ClaimLine::Claim(absl::string_view command_line) {
  unsigned char seed[kSeedBytes];
  if (getrandom(seed, sizeof(seed), 0) != static_cast<ssize_t>(sizeof(seed))) return ErrnoError(errno, "getrandom");
  const std::string hex = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(seed), sizeof(seed)));
  const std::string message = absl::StrCat("claim ", hex, " ", command_line, "\n");
  if (message.size() > kMaxMessage || command_line.find('\n') != absl::string_view::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the kernel's arguments do not fit into a claim",
                     {"CLAIM_FAILED", "", ""});
  }
  // The socket takes all of it: nothing was written before.
  const ssize_t sent = send(fd_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(message.size())) return absl::OkStatus();
  return ErrnoError(sent < 0 ? errno : EAGAIN, "tell the waiting kernel which guest it is");
}

void ClaimLine::OnReadable() {
  char buffer[kMaxWord];
  const ssize_t got = recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return loop_->Unwatch(fd_.get());  // the kernel has ended, and is seen to end
  pending_.append(buffer, static_cast<size_t>(got));
  const size_t end = pending_.find('\n');
  if (end == std::string::npos && pending_.size() < kMaxWord) return;
  const std::string line = pending_.substr(0, std::min(end, kMaxWord));
  pending_.clear();  // one word is answered before the next
  OnWord(line);
}

void ClaimLine::OnWord(const std::string& line) {
  if (line == "waiting") {
    if (auto waiting = std::exchange(callbacks_.waiting, nullptr)) waiting();
    return;
  }
  auto decided = std::exchange(callbacks_.decided, nullptr);
  if (decided == nullptr) return;
  if (line == "ready") return decided(absl::OkStatus());
  absl::string_view why = line;
  absl::ConsumePrefix(&why, "failed ");
  decided(MakeError(absl::StatusCode::kFailedPrecondition,
                    absl::StrCat("the kernel that waited could not become this guest's: ", OneCleanLine(why)),
                    {"CLAIM_FAILED", "", ""}));
}

}  // namespace umld::vmcore
