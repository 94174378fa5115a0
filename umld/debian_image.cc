#include "umld/debian_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "guest/debian_files.h"
#include "image/archive_reader.h"
#include "image/import.h"
#include "image/tool.h"

namespace umld {
namespace {

constexpr const char* kPackages[] = {"systemd-sysv", "systemd-resolved", "udev",           "dbus",
                                     "iproute2",     "iputils-ping",     "openssh-server", "kmod",
                                     "login",        "passwd",           "procps",         "less"};

struct Link {
  const char* path;
  const char* target;
};
constexpr Link kLinks[] = {
    {"etc/systemd/system/sysinit.target.wants/umld-seed.service", "../umld-seed.service"},
    {"etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
     "/lib/systemd/system/systemd-networkd.service"},
    {"etc/systemd/system/sockets.target.wants/systemd-networkd.socket", "/lib/systemd/system/systemd-networkd.socket"},
    // A guest without a network would wait for it for two minutes.
    {"etc/systemd/system/systemd-networkd-wait-online.service", "/dev/null"},
    // Interfaces keep the names that the kernel, and umld, give them.
    {"etc/systemd/network/99-default.link", "/dev/null"},
    {"etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"},
};

// Of the machine that it was made on: every guest gets its own.
constexpr const char* kGone[] = {"etc/ssh/.wh.ssh_host_rsa_key",     "etc/ssh/.wh.ssh_host_rsa_key.pub",
                                 "etc/ssh/.wh.ssh_host_ecdsa_key",   "etc/ssh/.wh.ssh_host_ecdsa_key.pub",
                                 "etc/ssh/.wh.ssh_host_ed25519_key", "etc/ssh/.wh.ssh_host_ed25519_key.pub",
                                 "var/lib/dbus/.wh.machine-id",      "etc/.wh.hostname"};

// guest/debian/ and what cannot lie there, as the upper layer.
class OwnFiles final : public image::EntrySource {
 public:
  absl::Status ForEach(const image::EntryVisitor& visit) override {
    image::Entry entry;
    entry.mtime = time_;
    for (const char* gone : kGone) {
      entry.path = gone;
      entry.mode = S_IFREG | 0600;
      RETURN_IF_ERROR(Visit(visit, entry, ""));
    }
    for (const Link& link : kLinks) {
      entry.path = link.path;
      entry.target = link.target;
      entry.mode = S_IFLNK | 0777;
      RETURN_IF_ERROR(Visit(visit, entry, ""));
    }
    entry.target.clear();
    // An empty machine-id is filled in by systemd at the first boot.
    std::vector<EmbeddedFile> files = DebianFiles();
    files.push_back({"/etc/machine-id", 0444, ""});
    for (const EmbeddedFile& file : files) {
      entry.path = file.path;
      entry.mode = S_IFREG | file.mode;
      RETURN_IF_ERROR(Visit(visit, entry, file.content));
    }
    return absl::OkStatus();
  }
  std::pair<uint64_t, uint64_t> Position() const override { return {0, 0}; }

 private:
  class Text final : public image::EntryData {
   public:
    explicit Text(absl::string_view text) : text_(text) {}
    absl::StatusOr<Piece> Next() override { return Piece{0, std::exchange(text_, absl::string_view())}; }

   private:
    absl::string_view text_;
  };
  static absl::Status Visit(const image::EntryVisitor& visit, image::Entry& entry, const std::string& content) {
    entry.size = content.size();
    Text text(content);
    return visit(entry, text);
  }

  const int64_t time_ = absl::ToUnixSeconds(absl::Now());
};

bool IsPackage(absl::string_view name) {
  return !name.empty() && name.size() < 100 && absl::ascii_isalnum(name[0]) &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.+-") == absl::string_view::npos;
}

absl::Status Invalid(const std::string& subject, absl::string_view what, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", subject, "\" is ", what),
                   {"INVALID_DEBIAN", subject, std::string(hint)});
}

}  // namespace

absl::Status CheckDebianOptions(const DebianOptions& options) {
  if (!IsPackage(options.suite)) return Invalid(options.suite, "no suite of Debian", "bookworm is one");
  for (const std::string& package : options.include) {
    if (!IsPackage(package)) return Invalid(package, "no package's name", "write --include nginx,htop");
  }
  const bool is_url = absl::StartsWith(options.mirror, "http://") || absl::StartsWith(options.mirror, "https://");
  if (!options.mirror.empty() &&
      (!is_url || options.mirror.find_first_of(" \t\n[]\"'\\") != std::string::npos || options.mirror.size() > 500)) {
    return Invalid(options.mirror, "no mirror's address", "write http://HOST/debian");
  }
  return absl::OkStatus();
}

absl::Status BuildDebianImage(const DebianOptions& options, const std::string& work, const std::string& output,
                              const image::StepProgress& progress) {
  RETURN_IF_ERROR(CheckDebianOptions(options));
  const std::string tar = work + "/root.tar";
  std::vector<std::string> packages(std::begin(kPackages), std::end(kPackages));
  packages.insert(packages.end(), options.include.begin(), options.include.end());
  image::Tool tool;
  ASSIGN_OR_RETURN(const std::string setpriv, image::FindTool("setpriv", "util-linux"));
  ASSIGN_OR_RETURN(const std::string mmdebstrap, image::FindTool("mmdebstrap", "mmdebstrap"));
  // Without umld nobody waits for it.
  tool.argv = {setpriv, "--pdeathsig", "TERM", mmdebstrap, "--variant=minbase", "--format=tar",
               absl::StrCat("--include=", absl::StrJoin(packages, ",")),
               // The console is its owner's alone; sshd lets nobody in without a key.
               "--customize-hook=chroot \"$1\" passwd --quiet --delete root", options.suite, tar};
  if (!options.mirror.empty()) tool.argv.push_back(options.mirror);
  tool.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
                      "TMPDIR=" + work};
  std::string step = "mmdebstrap";
  RETURN_IF_ERROR(image::RunTool(tool, [&](absl::string_view said) {
                    for (absl::string_view line : absl::StrSplit(said, '\n')) {
                      if (absl::ConsumePrefix(&line, "I: ")) step = std::string(absl::StripSuffix(line, "..."));
                    }
                    return progress(step, 0, 0);
                  }).status());
  const UniqueFd fd(open(tar.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, tar);
  std::vector<std::unique_ptr<image::EntrySource>> layers;
  layers.push_back(image::ArchiveSource(fd.get(), nullptr));
  layers.push_back(std::make_unique<OwnFiles>());
  return image::ImportTree(layers, /*layered=*/true, output, options.size_bytes, progress);
}

}  // namespace umld
