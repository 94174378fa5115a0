#ifndef UMLD_BASE_CREDENTIALS_H_
#define UMLD_BASE_CREDENTIALS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace umld {

// The user that a process is, as far as files are concerned.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
  friend bool operator==(const Credentials&, const Credentials&) = default;

  // "1000:1000:4,24".
  std::string ToText() const;
  // kInvalidArgument: not what ToText prints.
  static absl::StatusOr<Credentials> Parse(absl::string_view text);
};

// While it lives, this thread, and no other, opens files with the permissions of another user: no capability is in
// force, neither those that overrule permissions nor the one by which /proc/PID/root leads past all of them. What it
// starts meanwhile (threads) has them too, so nothing is started.
class ActingUser {
 public:
  // nullopt, and the user that we are: changes nothing. kPermissionDenied, CANNOT_ACT_FOR_USER: this process may not.
  static absl::StatusOr<ActingUser> Become(const std::optional<Credentials>& user);
  // Ends the process if it cannot become itself again.
  ~ActingUser();
  ActingUser(ActingUser&& other) noexcept
      : changed_(other.changed_), groups_(std::move(other.groups_)), effective_(other.effective_) {
    other.changed_ = false;
  }
  ActingUser& operator=(ActingUser&&) = delete;

 private:
  ActingUser() = default;
  bool changed_ = false;
  std::vector<gid_t> groups_;  // our own
  uint64_t effective_ = 0;     // capabilities, our own
};

// `status`, which came of acting for `user`, with the user named when it is about permissions: by the number, since
// vmcore cannot ask the host's user database (its modules do not stand a process with so little around it).
absl::Status NameUser(const absl::Status& status, const std::optional<Credentials>& user);

// What `action` returns, a Status or a StatusOr, when it opens files as `user`.
template <typename Action>
auto ActAs(const std::optional<Credentials>& user, const Action& action) -> decltype(action()) {
  using Result = decltype(action());
  if (!user.has_value()) return action();
  absl::StatusOr<ActingUser> acting = ActingUser::Become(user);
  if (!acting.ok()) return acting.status();
  Result result = action();
  if constexpr (std::is_same_v<Result, absl::Status>) {
    return NameUser(result, user);
  } else {
    if (!result.ok()) return NameUser(result.status(), user);
    return result;
  }
}

}  // namespace umld

#endif  // UMLD_BASE_CREDENTIALS_H_
