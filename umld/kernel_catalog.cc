#include "umld/kernel_catalog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace umld {

void KernelCatalog::Set(std::vector<state::KernelRow> rows) {
  absl::MutexLock lock(&mutex_);
  rows_ = std::move(rows);
}

std::vector<state::KernelRow> KernelCatalog::rows() const {
  absl::MutexLock lock(&mutex_);
  return rows_;
}

std::string KernelCatalog::BinaryPath(const state::KernelRow& row) const {
  return absl::StrCat(folder_, "/", row.sha256, ".linux");
}

std::string KernelCatalog::SymbolsPath(const state::KernelRow& row) const {
  return row.symbols.empty() ? "" : absl::StrCat(folder_, "/", row.symbols, ".symbols");
}

std::string KernelCatalog::ModulesPath(const state::KernelRow& row) const {
  return row.modules.empty() ? "" : absl::StrCat(folder_, "/", row.modules, ".modules");
}

std::set<std::string> KernelCatalog::AllPaths() const {
  absl::MutexLock lock(&mutex_);
  std::set<std::string> paths;
  for (const state::KernelRow& row : rows_) paths.insert({BinaryPath(row), SymbolsPath(row), ModulesPath(row)});
  paths.erase("");  // parts that there are not
  return paths;
}

bool KernelCatalog::IsModules(const std::string& path) const {
  absl::MutexLock lock(&mutex_);
  return std::any_of(rows_.begin(), rows_.end(),
                     [&](const state::KernelRow& row) { return !path.empty() && ModulesPath(row) == path; });
}

KernelChoice KernelCatalog::ToChoice(const state::KernelRow& row) const {
  return {state::kKernelPrefix + row.name, BinaryPath(row), ModulesPath(row), false};
}

absl::StatusOr<KernelChoice> KernelCatalog::ChooseLocked(const std::string& wish) const {
  if (absl::StartsWith(wish, "/")) return KernelChoice{"", wish, "", false};
  for (const state::KernelRow& row : rows_) {
    KernelChoice choice = ToChoice(row);
    choice.by_default = wish.empty();
    if (wish.empty() ? row.is_default : wish == choice.name) return choice;
  }
  if (wish.empty() || wish == state::kSystemKernel) {
    return KernelChoice{state::kSystemKernel, system_path_, "", wish.empty()};
  }
  const absl::string_view name = absl::StripPrefix(wish, state::kKernelPrefix);
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no kernel \"", name, "\""),
                   {"KERNEL_NOT_FOUND", wish,
                    absl::StrCat("`umlctl kernel list` shows those there are; a file needs a slash: ./", name)});
}

absl::StatusOr<KernelChoice> KernelCatalog::Choose(const std::string& wish) const {
  absl::MutexLock lock(&mutex_);
  return ChooseLocked(wish);
}

absl::StatusOr<KernelChoice> KernelCatalog::ChoiceOf(const GuestView& view) const {
  const vmcore::v1::GuestConfig& config = view.facts.config();
  absl::MutexLock lock(&mutex_);
  if (!view.alive || config.kernel().empty()) return ChooseLocked(view.row.kernel);
  KernelChoice choice{config.kernel_name(), config.kernel(), "", config.follows_default()};
  for (const state::KernelRow& row : rows_) {
    if (BinaryPath(row) == choice.path) choice.modules = ModulesPath(row);
  }
  return choice;
}

absl::StatusOr<std::shared_ptr<const KernelChoice>> KernelCatalog::Hold(const std::string& wish) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(KernelChoice choice, ChooseLocked(wish));
  auto held = std::make_shared<const KernelChoice>(std::move(choice));
  held_.erase(std::remove_if(held_.begin(), held_.end(), [](const auto& old) { return old.expired(); }), held_.end());
  held_.push_back(held);
  return held;
}

bool KernelCatalog::IsHeld(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  return std::any_of(held_.begin(), held_.end(), [&](const auto& weak) {
    const std::shared_ptr<const KernelChoice> held = weak.lock();
    return held != nullptr && held->path == path;
  });
}

}  // namespace umld
