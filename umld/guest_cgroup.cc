#include "umld/guest_cgroup.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"

namespace umld {
namespace {

constexpr char kOurUnit[] = "/umld.service";
constexpr char kGuestsUnit[] = "/umld-guests.service";
constexpr size_t kMaxFile = 1 << 20;

}  // namespace

std::string SiblingCgroup(absl::string_view own, absl::string_view mounts) {
  for (absl::string_view group : absl::StrSplit(own, '\n')) {
    if (!absl::ConsumePrefix(&group, "0::") || !absl::ConsumeSuffix(&group, kOurUnit)) continue;
    // "ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS... - TYPE ..."
    for (absl::string_view mount : absl::StrSplit(mounts, '\n')) {
      const std::vector<absl::string_view> fields = absl::StrSplit(mount, ' ');
      if (!absl::StrContains(mount, " - cgroup2 ") || fields.size() < 5 || fields[3] != "/") continue;
      return absl::StrCat(fields[4], group, kGuestsUnit);
    }
  }
  return "";
}

std::string GuestCgroupFolder() {
  const std::string folder = SiblingCgroup(ReadFile("/proc/self/cgroup", kMaxFile).value_or(""),
                                           ReadFile("/proc/self/mountinfo", kMaxFile).value_or(""));
  return !folder.empty() && access(folder.c_str(), W_OK) == 0 ? folder : "";
}

}  // namespace umld
