#include "vmcore/seccomp_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "vmcore/syscall_list.h"

namespace umld::vmcore {
namespace {

// Linux 5.19; the headers may be older. A call that vmcore has read stays until its caller is killed.
constexpr unsigned kWaitKillable = 1U << 5;
// Above any struct seccomp_notif of kernels to come.
constexpr size_t kMaxNotification = 1024;
// What a system call looks at of an int that is passed to it.
constexpr uint64_t kInt = 0xffffffff;

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

absl::Status Refused(absl::string_view what, int negative_errno) {
  return ErrnoError(-negative_errno, absl::StrCat("libseccomp: ", what));
}

absl::Status AddRule(const Context& context, const CallRule& rule) {
  const int number = seccomp_syscall_resolve_name(rule.name);
  const uint32_t action = rule.error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(rule.error);
  int result = 0;
  switch (rule.condition) {
    case CallRule::If::kAlways:
      result = seccomp_rule_add_exact(context.get(), action, number, 0);
      break;
    case CallRule::If::kEquals:
      for (uint32_t value : rule.values) {
        const scmp_arg_cmp are[] = {SCMP_CMP64(rule.argument, SCMP_CMP_MASKED_EQ, kInt, value),
                                    SCMP_CMP64(rule.argument + 1, SCMP_CMP_MASKED_EQ, kInt, rule.next.value_or(0))};
        result = seccomp_rule_add_exact_array(context.get(), action, number, rule.next.has_value() ? 2 : 1, are);
        if (result != 0) break;
      }
      break;
    case CallRule::If::kNull:
      result =
          seccomp_rule_add_exact(context.get(), action, number, 1, SCMP_CMP64(rule.argument, SCMP_CMP_EQ, uint64_t{0}));
      break;
    case CallRule::If::kNoBits:
    case CallRule::If::kAllBits: {
      const uint64_t mask = rule.values[0];
      scmp_arg_cmp is = SCMP_CMP64(rule.argument, SCMP_CMP_MASKED_EQ, mask,
                                   rule.condition == CallRule::If::kNoBits ? uint64_t{0} : mask);
      result = seccomp_rule_add_exact_array(context.get(), action, number, 1, &is);
      break;
    }
  }
  return result == 0 ? absl::OkStatus() : Refused(rule.name, result);
}

absl::StatusOr<std::vector<sock_filter>> Export(const Context& context) {
  UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.ok()) return ErrnoError(errno, "memfd_create");
  if (int result = seccomp_export_bpf(context.get(), file.get()); result != 0) return Refused("export", result);
  const off_t size = lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> code(static_cast<size_t>(size) / sizeof(sock_filter));
  if (pread(file.get(), code.data(), static_cast<size_t>(size), 0) != size) return ErrnoError(errno, "read the filter");
  return code;
}

// A signal in between is no answer.
template <typename Argument>
int Insist(int listener, unsigned long request, Argument* argument) {
  int result = 0;
  do {
    result = ioctl(listener, request, argument);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

absl::StatusOr<SeccompFilter> SeccompFilter::Make() {
  Context context(seccomp_init(SCMP_ACT_NOTIFY), seccomp_release);
  if (context == nullptr) return absl::InternalError("libseccomp: no filter whose default is to notify");
  // Calls by another table of numbers (int 0x80, x32) are named too.
  if (int result = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_NOTIFY); result != 0) {
    return Refused("other architectures", result);
  }
  // A binary tree: the list is long, and a guest's context switch is four calls.
  if (int result = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); result != 0) {
    return Refused("optimize", result);
  }
  for (const CallGroup& group : SyscallList()) {
    for (const CallRule& rule : group.rules) {
      // As what is on no list: it wakes the listener.
      if (!rule.by_vmcore) RETURN_IF_ERROR(AddRule(context, rule));
    }
  }
  ASSIGN_OR_RETURN(std::vector<sock_filter> code, Export(context));
  return SeccompFilter(std::move(code));
}

sock_fprog SeccompFilter::program() const {
  // The kernel reads it only; the type has no const.
  return {static_cast<unsigned short>(code_.size()), const_cast<sock_filter*>(code_.data())};
}

int InstallSeccompFilter(const sock_fprog& program) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  long listener =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | kWaitKillable, &program);
  if (listener < 0 && errno == EINVAL) {
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  }
  return static_cast<int>(listener);
}

absl::Status CheckSeccompFilter() {
  ASSIGN_OR_RETURN(const SeccompFilter filter, SeccompFilter::Make());
  const sock_fprog program = filter.program();
  const pid_t child = fork();
  if (child < 0) return ErrnoError(errno, "fork");
  if (child == 0) _exit(InstallSeccompFilter(program) < 0 ? errno : 0);
  int status = 0;
  if (waitpid(child, &status, 0) != child) return ErrnoError(errno, "wait for a child");
  if (status == 0) return absl::OkStatus();
  // EBUSY: a container manager listens to our system calls already, and there is one listener per process.
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat("this host does not let system calls be filtered: ", strerror(WEXITSTATUS(status))),
                   {"CONFINEMENT_REFUSED", "",
                    "run umld on a kernel with CONFIG_SECCOMP_FILTER, outside of containers whose system calls are "
                    "intercepted, or create the guest with --confinement relaxed --trust trusted"});
}

std::optional<CaughtCall> ReadCaughtCall(int listener) {
  union {
    seccomp_notif notification;
    char space[kMaxNotification];
  } buffer = {};
  std::memset(&buffer, 0, sizeof(buffer));
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &buffer) != 0) return std::nullopt;
  const seccomp_data& data = buffer.notification.data;
  CaughtCall call = {buffer.notification.id, static_cast<pid_t>(buffer.notification.pid), data.arch, data.nr, {}};
  for (size_t i = 0; i < call.arguments.size(); ++i) call.arguments[i] = data.args[i];
  return call;
}

bool IsStillWaiting(int listener, const CaughtCall& call) {
  uint64_t id = call.id;
  return Insist(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

int PutDescriptor(int listener, const CaughtCall& call, int number, int fd) {
  seccomp_notif_addfd request = {};
  request.id = call.id;
  request.flags = SECCOMP_ADDFD_FLAG_SETFD;
  request.srcfd = static_cast<uint32_t>(fd);
  request.newfd = static_cast<uint32_t>(number);
  request.newfd_flags = O_CLOEXEC;
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request) < 0 ? errno : 0;
}

void AnswerCall(int listener, const CaughtCall& call, int error) {
  seccomp_notif_resp answer = {};
  answer.id = call.id;
  answer.error = -error;
  Insist(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

std::string DescribeCall(const CaughtCall& call) {
  std::string name;
  if (call.architecture == AUDIT_ARCH_I386) {
    std::unique_ptr<char, void (*)(void*)> known(seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86, call.number), free);
    name = known == nullptr ? "" : absl::StrCat("32-bit ", known.get());
  } else {
    std::unique_ptr<char, void (*)(void*)> known(seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call.number), free);
    name = known == nullptr ? "" : known.get();
  }
  if (name.empty()) name = absl::StrCat("system call ", call.number);
  // Three tell what was meant by nearly every call there is; more would be what was left in the registers.
  return absl::StrCat(name, "(0x", absl::Hex(call.arguments[0]), ", 0x", absl::Hex(call.arguments[1]), ", 0x",
                      absl::Hex(call.arguments[2]), ", ...)");
}

}  // namespace umld::vmcore
