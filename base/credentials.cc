#include "base/credentials.h"

#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace umld {
namespace {

// glibc's setgroups speaks for all threads; the system call for this one.
bool SetThreadGroups(const std::vector<gid_t>& groups) {
  return syscall(SYS_setgroups, groups.size(), groups.data()) == 0;
}

bool SetThreadUser(uid_t uid, gid_t gid) {
  // These say what was there before; what was refused shows in the next call.
  setfsgid(gid);
  setfsuid(uid);
  return static_cast<gid_t>(setfsgid(static_cast<gid_t>(-1))) == gid &&
         static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1))) == uid;
}

// Those of this thread that are in force, bit by bit; nullopt: it cannot be told.
std::optional<uint64_t> EffectiveCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return std::nullopt;
  return data[0].effective | uint64_t{data[1].effective} << 32U;
}

// What is permitted stays as it is.
bool SetEffectiveCapabilities(uint64_t effective) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  data[0].effective = static_cast<uint32_t>(effective);
  data[1].effective = static_cast<uint32_t>(effective >> 32U);
  return syscall(SYS_capset, &header, data) == 0;
}

absl::StatusOr<std::vector<gid_t>> OwnGroups() {
  const int count = getgroups(0, nullptr);
  std::vector<gid_t> groups(count < 0 ? 0 : static_cast<size_t>(count));
  if (count < 0 || getgroups(count, groups.data()) != count) return ErrnoError(errno, "read our own groups");
  return groups;
}

}  // namespace

std::string Credentials::ToText() const { return absl::StrCat(uid, ":", gid, ":", absl::StrJoin(groups, ",")); }

absl::StatusOr<Credentials> Credentials::Parse(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  Credentials read;
  bool good = parts.size() == 3 && absl::SimpleAtoi(parts[0], &read.uid) && absl::SimpleAtoi(parts[1], &read.gid);
  if (good && !parts[2].empty()) {
    for (absl::string_view group : absl::StrSplit(parts[2], ',')) {
      good = good && absl::SimpleAtoi(group, &read.groups.emplace_back());
    }
  }
  if (good) return read;
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", text, "\" names no user"),
                   {"INVALID_CREDENTIALS", "", ""});
}

absl::StatusOr<ActingUser> ActingUser::Become(const std::optional<Credentials>& user) {
  ActingUser acting;
  if (!user.has_value() || user->uid == geteuid()) return acting;
  ASSIGN_OR_RETURN(acting.groups_, OwnGroups());
  const std::optional<uint64_t> effective = EffectiveCapabilities();
  if (!effective.has_value()) return ErrnoError(errno, "read our own capabilities");
  acting.effective_ = *effective;
  acting.changed_ = true;
  if (SetThreadGroups(user->groups) && SetThreadUser(user->uid, user->gid) && SetEffectiveCapabilities(0)) {
    return acting;
  }
  return MakeError(absl::StatusCode::kPermissionDenied,
                   absl::StrCat("umld, which runs as uid ", geteuid(), ", cannot open files for uid ", user->uid),
                   {"CANNOT_ACT_FOR_USER", "", "ask as the user that umld runs as, or run umld as root"});
}

ActingUser::~ActingUser() {
  if (!changed_) return;
  const bool capabilities = SetEffectiveCapabilities(effective_);
  const bool user = SetThreadUser(geteuid(), getegid());
  absl::StatusOr<std::vector<gid_t>> now = OwnGroups();
  const bool groups = now.ok() && (*now == groups_ || SetThreadGroups(groups_));
  // Nothing that this thread does later may be done as somebody else.
  if (!capabilities || !user || !groups) abort();
}

absl::Status NameUser(const absl::Status& status, const std::optional<Credentials>& user) {
  if (!user.has_value() || !absl::IsPermissionDenied(status)) return status;
  return Annotate(status, absl::StrCat("for uid ", user->uid));
}

}  // namespace umld
