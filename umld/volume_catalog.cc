#include "umld/volume_catalog.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/umid.h"

namespace umld {
namespace {

constexpr char kPrefix[] = "volume:";
constexpr char kSuffix[] = ".img";

absl::Status Busy(const std::string& name, absl::string_view doing) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("volume ", name, " ", doing),
                   {"VOLUME_BUSY", "volumes/" + name, "ask again when that is done (`umlctl operations list`)"});
}

}  // namespace

absl::StatusOr<std::string> ParseVolumeName(absl::string_view text) {
  absl::string_view name = text;
  absl::ConsumePrefix(&name, "volumes/");
  if (Umid::Parse(name).ok()) return std::string(name);
  const std::string shown(text.substr(0, 160));
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", shown, "\" is not a volume's name"),
                   {"INVALID_NAME", shown,
                    "write 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter, a digit or '_'"});
}

std::string VolumeCatalog::PathOf(absl::string_view name) const { return absl::StrCat(folder_, "/", name, kSuffix); }

std::string VolumeCatalog::NameOf(absl::string_view path) const {
  if (!absl::ConsumePrefix(&path, folder_) || !absl::ConsumePrefix(&path, "/") ||
      !absl::ConsumeSuffix(&path, kSuffix)) {
    return "";
  }
  return Umid::Parse(path).ok() ? std::string(path) : "";
}

std::string VolumeCatalog::Show(const std::string& path) const {
  const std::string name = NameOf(path);
  return name.empty() ? path : kPrefix + name;
}

absl::StatusOr<std::string> VolumeCatalog::Expand(const std::string& spec) const {
  const size_t equals = spec.find('=');
  if (equals == std::string::npos || !absl::StartsWith(spec, "ubd")) return spec;
  absl::string_view value = absl::string_view(spec).substr(equals + 1);
  if (!absl::ConsumePrefix(&value, kPrefix)) return spec;
  const absl::string_view typed = value.substr(0, value.find(','));
  // A serial number may follow.
  const absl::string_view rest = value.substr(typed.size());
  ASSIGN_OR_RETURN(const std::string name, ParseVolumeName(typed));
  if (!rest.empty() && !absl::StartsWith(rest, ",,")) {
    return MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("volume ", name, " is a disk of its own, not a COW file over another"),
        {"INVALID_SPEC", "volumes/" + name, absl::StrCat("write ", spec.substr(0, equals), "=volume:", name)});
  }
  const std::string path = PathOf(name);
  if (access(path.c_str(), F_OK) != 0) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no volume \"", name, "\""),
                     {"VOLUME_NOT_FOUND", "volumes/" + name,
                      absl::StrCat("`umlctl volume create ", name,
                                   " --size 1G` makes it; a file of the host that has "
                                   "this name is ./volume:",
                                   name)});
  }
  return absl::StrCat(spec.substr(0, equals + 1), path, rest);
}

void VolumeCatalog::Release(const std::vector<std::string>& names) {
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : names) {
    Work& work = work_[name];
    work.doing.clear();
    if (--work.users <= 0) work_.erase(name);
  }
}

absl::StatusOr<VolumeCatalog::Hold> VolumeCatalog::Use(const std::vector<state::DiskRow>& disks) {
  std::vector<std::string> names;
  for (const state::DiskRow& disk : disks) {
    const std::string name = NameOf(disk.path);
    if (!name.empty()) names.push_back(name);
  }
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : names) {
    const auto found = work_.find(name);
    if (found != work_.end() && !found->second.doing.empty()) return Busy(name, found->second.doing);
  }
  for (const std::string& name : names) ++work_[name].users;
  return Hold(nullptr, [this, names](const void*) { Release(names); });
}

absl::StatusOr<VolumeCatalog::Hold> VolumeCatalog::Change(const std::string& name, const std::string& doing) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = work_.find(name); found != work_.end()) {
    return Busy(name, found->second.doing.empty() ? "is just being given to a guest" : found->second.doing);
  }
  work_[name] = {1, doing};
  return Hold(nullptr, [this, name](const void*) { Release({name}); });
}

}  // namespace umld
