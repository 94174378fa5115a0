#include "guest/tiny_image.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "guest/tiny_files.h"

namespace umld::guest {
namespace {

namespace fs = std::filesystem;

constexpr char kImageSize[] = "32M";
constexpr size_t kMaxBusybox = 64 << 20;
constexpr std::chrono::minutes kToolTimeout{2};
// What every kernel since 4.x mounts, whatever the newest mke2fs would turn on.
constexpr char kFeatures[] =
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize";

struct Folder {
  const char* path;
  mode_t mode;
};
constexpr Folder kFolders[] = {
    {"/bin", 0755},        {"/dev", 0755},       {"/etc", 0755},
    {"/etc/init.d", 0755}, {"/lib", 0755},       {"/lib/modules", 0755},
    {"/mnt", 0755},        {"/proc", 0555},      {"/root", 0700},
    {"/run", 0755},        {"/sbin", 0755},      {"/sys", 0555},
    {"/tmp", 01777},       {"/usr", 0755},       {"/usr/bin", 0755},
    {"/usr/sbin", 0755},   {"/usr/share", 0755}, {"/usr/share/udhcpc", 0755},
    {"/var", 0755},        {"/var/log", 0755},
};

struct Tools {
  std::string mke2fs;
  std::string debugfs;
};

// The sbin folders are not in a normal user's PATH.
absl::StatusOr<std::string> FindTool(const std::string& name) {
  for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/local/sbin/", "/usr/bin/"}) {
    std::string path = absl::StrCat(folder, name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the program ", name, " is missing"),
                   {"TOOL_MISSING", name, "install the package e2fsprogs"});
}

absl::StatusOr<std::string> RunTool(const std::vector<std::string>& argv) {
  ASSIGN_OR_RETURN(CommandResult result, RunCommand(argv, kToolTimeout));
  if (result.exit_code == 0) return std::move(result.output);
  // Its last words are about the error.
  absl::string_view output = absl::StripAsciiWhitespace(result.output);
  if (output.size() > 500) output.remove_prefix(output.size() - 500);
  if (absl::StrContains(output, "No space left")) {
    return MakeError(absl::StatusCode::kResourceExhausted,
                     absl::StrCat("no space left for the image: ", argv[0], ": ", output),
                     {"DISK_FULL", argv[0], "free space on the filesystem of umld's state directory"});
  }
  return MakeError(absl::StatusCode::kInternal,
                   absl::StrCat(argv[0], " failed with exit code ", result.exit_code, ": ", output),
                   {"TOOL_FAILED", argv[0], "check that e2fsprogs is whole"});
}

absl::Status NotBusybox(const std::string& path, absl::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, " cannot go into the image: ", why),
                   {"BUSYBOX_UNUSABLE", path, "install the package busybox-static"});
}

// In the image there is no dynamic loader.
bool IsStaticProgram(absl::string_view bytes) {
  Elf64_Ehdr header = {};
  if (bytes.size() < sizeof(header) || !absl::StartsWith(bytes, ELFMAG)) return false;
  bytes.copy(reinterpret_cast<char*>(&header), sizeof(header));
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return false;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    uint64_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    Elf64_Phdr segment = {};
    if (at > bytes.size() || bytes.size() - at < sizeof(segment)) return false;
    bytes.substr(at).copy(reinterpret_cast<char*>(&segment), sizeof(segment));
    if (segment.p_type == PT_INTERP) return false;
  }
  return true;
}

// "sbin/init", "bin/sh": where this busybox wants its names. They become paths of the host first, so only plain ones
// are let through.
absl::StatusOr<std::vector<std::string>> ListApplets(const std::string& busybox_path) {
  auto output = RunTool({busybox_path, "--list-full"});
  if (!output.ok()) return NotBusybox(busybox_path, "it does not answer to --list-full");
  std::vector<std::string> applets;
  bool has_init = false;
  for (absl::string_view line : absl::StrSplit(*output, '\n', absl::SkipEmpty())) {
    bool known = absl::StartsWith(line, "bin/") || absl::StartsWith(line, "sbin/") ||
                 absl::StartsWith(line, "usr/bin/") || absl::StartsWith(line, "usr/sbin/");
    bool plain = line.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.[/") ==
                 absl::string_view::npos;
    if (!known || !plain || absl::StrContains(line, "..") || line == "bin/busybox") continue;
    applets.push_back(absl::StrCat("/", line));
    has_init = has_init || line == "sbin/init";
  }
  if (!has_init) return NotBusybox(busybox_path, "it has no init");
  return applets;
}

absl::Status WriteTreeFile(const std::string& path, absl::string_view content, mode_t mode) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("create ", path));
  while (!content.empty()) {
    ssize_t n = write(fd.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("write ", path));
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, absl::StrCat("chmod ", path));
  return absl::OkStatus();
}

// The tree as the host's files, owned by whoever runs this. Returns all its paths.
absl::StatusOr<std::vector<std::string>> MakeTree(const std::string& root, const std::string& busybox,
                                                  const std::vector<std::string>& applets) {
  std::vector<std::string> paths;
  if (mkdir(root.c_str(), 0755) != 0) return ErrnoError(errno, absl::StrCat("make folder ", root));
  for (const Folder& folder : kFolders) {
    std::string path = root + folder.path;
    // By chmod, because mkdir heeds the umask.
    if (mkdir(path.c_str(), 0700) != 0 || chmod(path.c_str(), folder.mode) != 0) {
      return ErrnoError(errno, absl::StrCat("make folder ", path));
    }
    paths.emplace_back(folder.path);
  }
  RETURN_IF_ERROR(WriteTreeFile(root + "/bin/busybox", busybox, 0755));
  paths.emplace_back("/bin/busybox");
  for (const std::string& applet : applets) {
    std::string link = root + applet;
    if (symlink("/bin/busybox", link.c_str()) != 0) return ErrnoError(errno, absl::StrCat("make ", link));
    paths.push_back(applet);
  }
  for (const EmbeddedFile& file : TinyFiles()) {
    RETURN_IF_ERROR(WriteTreeFile(root + file.path, file.content, file.mode));
    paths.push_back(file.path);
  }
  return paths;
}

void AddNode(std::vector<std::string>* script, const std::string& name, char type, uint32_t major, uint32_t minor,
             absl::string_view mode) {
  script->push_back(absl::StrCat("mknod ", name, " ", std::string(1, type), " ", major, " ", minor));
  script->push_back(absl::StrCat("sif ", name, " mode ", type == 'b' ? "06" : "02", mode));
}

// What a user without root cannot do to files of the host is done to the image: owners and device nodes.
std::string DebugfsScript(const std::vector<std::string>& paths) {
  std::vector<std::string> script;
  for (const std::string& path : paths) {
    script.push_back(absl::StrCat("sif ", path, " uid 0"));
    script.push_back(absl::StrCat("sif ", path, " gid 0"));
  }
  script.emplace_back("cd /dev");
  AddNode(&script, "null", 'c', 1, 3, "0666");
  AddNode(&script, "zero", 'c', 1, 5, "0666");
  AddNode(&script, "full", 'c', 1, 7, "0666");
  AddNode(&script, "random", 'c', 1, 8, "0666");
  AddNode(&script, "urandom", 'c', 1, 9, "0666");
  AddNode(&script, "kmsg", 'c', 1, 11, "0644");
  AddNode(&script, "tty", 'c', 5, 0, "0666");
  AddNode(&script, "console", 'c', 5, 1, "0600");
  AddNode(&script, "ptmx", 'c', 5, 2, "0666");
  for (uint32_t i = 0; i < 16; ++i) AddNode(&script, absl::StrCat("tty", i), 'c', 4, i, "0600");
  for (uint32_t i = 0; i < 16; ++i) {
    std::string name = absl::StrCat("ubd", std::string(1, static_cast<char>('a' + i)));
    AddNode(&script, name, 'b', 98, 16 * i, "0600");
  }
  return absl::StrCat(absl::StrJoin(script, "\n"), "\n");
}

// debugfs ends with 0 whatever happened, so what it was to do last is looked for.
absl::Status RunDebugfs(const Tools& tools, const std::string& script_path, const std::string& image) {
  ASSIGN_OR_RETURN(std::string output, RunTool({tools.debugfs, "-w", "-f", script_path, image}));
  ASSIGN_OR_RETURN(std::string last, RunTool({tools.debugfs, "-R", "stat /dev/ubdp", image}));
  ASSIGN_OR_RETURN(std::string owner, RunTool({tools.debugfs, "-R", "stat /bin/busybox", image}));
  std::vector<absl::string_view> words = absl::StrSplit(owner, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  std::string flat = absl::StrJoin(words, " ");
  if (absl::StrContains(last, "block special") && absl::StrContains(flat, "User: 0 Group: 0 ")) return absl::OkStatus();
  absl::string_view tail = absl::StripAsciiWhitespace(output);
  if (tail.size() > 500) tail.remove_prefix(tail.size() - 500);
  return MakeError(absl::StatusCode::kInternal, absl::StrCat("debugfs did not do what it was told: ", tail),
                   {"TOOL_FAILED", tools.debugfs, "check that e2fsprogs is whole"});
}

absl::Status SyncPath(const std::string& path, int extra_flags) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | extra_flags));
  if (!fd.ok() || fsync(fd.get()) != 0) return ErrnoError(errno, absl::StrCat("sync ", path));
  return absl::OkStatus();
}

// All that happens inside `work`, which the caller removes.
absl::Status BuildIn(const std::string& work, const std::string& busybox_path, const std::string& output_path,
                     const ImageProgress& progress) {
  Tools tools;
  ASSIGN_OR_RETURN(tools.mke2fs, FindTool("mke2fs"));
  ASSIGN_OR_RETURN(tools.debugfs, FindTool("debugfs"));
  progress(0, "reading busybox");
  ASSIGN_OR_RETURN(std::string busybox, ReadBusybox(busybox_path));
  ASSIGN_OR_RETURN(std::vector<std::string> applets, ListApplets(busybox_path));

  progress(20, "copying files");
  std::string root = work + "/root", image = work + "/image", script = work + "/script";
  ASSIGN_OR_RETURN(std::vector<std::string> paths, MakeTree(root, busybox, applets));
  paths.emplace_back("/");
  paths.emplace_back("/lost+found");
  RETURN_IF_ERROR(WriteTreeFile(script, DebugfsScript(paths), 0600));

  progress(40, "writing the filesystem");
  // Lazy tables would be filled by every guest at its first boot, into its COW file; a lazy journal stays sparse.
  RETURN_IF_ERROR(RunTool({tools.mke2fs,
                           "-q",
                           "-F",
                           "-t",
                           "ext4",
                           "-O",
                           kFeatures,
                           "-b",
                           "4096",
                           "-I",
                           "256",
                           "-N",
                           "2048",
                           "-m",
                           "0",
                           "-L",
                           "tiny",
                           "-E",
                           "lazy_itable_init=0,lazy_journal_init=1",
                           "-d",
                           root,
                           image,
                           kImageSize})
                      .status());
  progress(70, "making device nodes");
  RETURN_IF_ERROR(RunDebugfs(tools, script, image));

  progress(90, "syncing");
  if (chmod(image.c_str(), 0444) != 0) return ErrnoError(errno, absl::StrCat("chmod ", image));
  RETURN_IF_ERROR(SyncPath(image, 0));
  if (rename(image.c_str(), output_path.c_str()) != 0) return ErrnoError(errno, absl::StrCat("make ", output_path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadBusybox(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return NotBusybox(path, errno == ENOENT ? "it does not exist" : "no access");
  if (!S_ISREG(info.st_mode)) return NotBusybox(path, "it is not a regular file");
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxBusybox));
  if (!IsStaticProgram(bytes)) return NotBusybox(path, "it is not a statically linked program");
  return bytes;
}

absl::Status BuildTinyImage(const std::string& busybox_path, const std::string& output_path,
                            const ImageProgress& progress) {
  ImageProgress report = progress ? progress : [](int, const std::string&) {};
  std::string folder = fs::path(output_path).parent_path().string();
  if (folder.empty()) folder = ".";
  // Beside the output, so that the last step is a rename.
  std::string work = absl::StrCat(folder, "/.new-tiny.XXXXXX");
  if (mkdtemp(work.data()) == nullptr) return ErrnoError(errno, absl::StrCat("make a folder in ", folder));
  absl::Status status = BuildIn(work, busybox_path, output_path, report);
  absl::Status removed = RemoveFolder(work);
  if (status.ok()) status = removed;
  if (status.ok()) status = SyncPath(folder, O_DIRECTORY);
  if (status.ok()) report(100, "done");
  return Annotate(status, "image tiny");
}

}  // namespace umld::guest
