#include "umld/fast_kernel.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "image/tool.h"
#include "kernel/fast_kernel_files.h"

namespace umld {
namespace {

// The build's own words, "error: kernel build: WHAT" and "hint:  WHAT", as an error of ours.
absl::Status BuildError(const absl::Status& failed, const char* reason) {
  if (GetErrorDetail(failed).reason != "TOOL_FAILED") return failed;
  std::string what, hint;
  for (absl::string_view line : absl::StrSplit(failed.message(), '\n')) {
    if (const size_t at = line.find("error: kernel build: "); at != line.npos) {
      what = std::string(line.substr(at + sizeof("error: kernel build: ") - 1));
    }
    if (absl::ConsumePrefix(&line, "hint:  ")) hint = std::string(line);
  }
  if (what.empty()) return failed;
  return MakeError(absl::StatusCode::kFailedPrecondition, what, {reason, "", hint});
}

absl::StatusOr<image::Tool> Build(const std::string& work, const std::string& source) {
  image::Tool tool;
  ASSIGN_OR_RETURN(const std::string setpriv, image::FindTool("setpriv", "util-linux"));
  ASSIGN_OR_RETURN(const std::string nice, image::FindTool("nice", "coreutils"));
  // Without umld nobody waits for it, and guests come first.
  tool.argv = {setpriv, "--pdeathsig", "TERM", nice, "-n", "10", work + "/fast/build"};
  if (!source.empty()) tool.argv.insert(tool.argv.end(), {"--source", source});
  tool.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TMPDIR=" + work, "HOME=" + work};
  return tool;
}

}  // namespace

absl::StatusOr<FastKernelBuild> FastKernelBuild::Prepare(const std::string& work, const std::string& source) {
  for (const EmbeddedFile& file : FastKernelFiles()) {
    const std::string path = work + "/fast" + file.path;
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    if (error) return ErrnoError(error.value(), path);
    RETURN_IF_ERROR(WriteFileDurably(path, file.content, file.mode));
  }
  ASSIGN_OR_RETURN(image::Tool tool, Build(work, source));
  tool.argv.push_back("--key");
  absl::StatusOr<std::string> key = image::RunTool(tool, nullptr);
  if (!key.ok()) {
    return BuildError(key.status(), "KERNEL_BUILD_IMPOSSIBLE");
  }
  return FastKernelBuild(work, source, std::string(absl::StripAsciiWhitespace(*key)));
}

absl::StatusOr<std::string> FastKernelBuild::Run(const std::function<absl::Status(int percent)>& progress) const {
  ASSIGN_OR_RETURN(image::Tool tool, Build(work_, source_));
  tool.argv.push_back(work_ + "/out");
  int percent = 0;
  const absl::Status status = image::RunTool(tool, [&](absl::string_view said) {
                                for (absl::string_view line : absl::StrSplit(said, '\n')) {
                                  int number = 0;
                                  if (!absl::ConsumePrefix(&line, "progress ") || !absl::SimpleAtoi(line, &number))
                                    continue;
                                  percent = std::max(percent, number);
                                }
                                return progress(percent);
                              }).status();
  if (!status.ok()) return BuildError(status, "KERNEL_BUILD_FAILED");
  return work_ + "/out/linux";
}

}  // namespace umld
