#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umlctl/each_guest.h"
#include "umlctl/sparse_output.h"
#include "umlctl/spec_path.h"
#include "umlctl/transfer_pace.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Words {
  std::string guest, file, snapshot;
  bool without_images = false;
};

// A file that has no name before it is whole: whatever ends this program leaves nothing.
class NewFile {
 public:
  absl::Status Begin(const std::string& path) {
    path_ = path;
    struct stat info = {};
    if (lstat(path.c_str(), &info) == 0) {
      return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(path, " is there already"),
                       {"FILE_EXISTS", path, "choose another name, or remove it"});
    }
    const std::string folder = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
    fd_.reset(open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600));
    if (fd_.ok()) return absl::OkStatus();
    if (errno != EOPNOTSUPP && errno != EISDIR) return ErrnoError(errno, absl::StrCat("create a file in ", folder));
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the filesystem of ", folder, " cannot make a file that has no name yet"),
                     {"NO_TMPFILE", folder, "export to stdout (-), and send that into a file"});
  }
  int fd() const { return fd_.get(); }
  absl::Status End() {
    if (fsync(fd_.get()) != 0) return ErrnoError(errno, absl::StrCat("write ", path_));
    const std::string self = absl::StrCat("/proc/self/fd/", fd_.get());
    if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return ErrnoError(errno, absl::StrCat("create ", path_));
    }
    const UniqueFd folder(
        open(path_.substr(0, std::max<size_t>(path_.rfind('/'), 1)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return folder.ok() && fsync(folder.get()) == 0 ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("sync ", path_));
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

absl::Status Export(Session& session, const Words& words) {
  v1::ExportGuestRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), GuestName(words.guest));
  request.set_snapshot(words.snapshot);
  request.set_without_images(words.without_images);
  const bool to_stdout = words.file == "-";
  if (to_stdout && session.out_is_terminal()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "an archive does not go onto a terminal",
                     {"INVALID_ARGUMENT", "", "give a FILE, or | a program"});
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  NewFile file;
  std::string path;
  if (!to_stdout) {
    ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
    path = AbsolutePath(words.file, folder);
    RETURN_IF_ERROR(file.Begin(path));
  }
  const std::string name = ShortName(request.name());
  session.ShowProgress(name, "copying its disks");
  absl::Status written;
  v1::ExportGuestResponse first;
  uint64_t done = 0;
  const TransferPace pace;
  const absl::Status received = client->ExportGuest(request, [&](const v1::ExportGuestResponse& piece) {
    if (piece.total_bytes() > 0) first = piece;
    for (const std::string& note : piece.notes()) session.Note(absl::StrCat("note: ", name, ": ", note));
    written = WriteAll(to_stdout ? STDOUT_FILENO : file.fd(), piece.data());
    done += piece.data().size();
    session.ShowProgress(name, pace.Text("exporting", done, first.total_bytes()));
    return written.ok();
  });
  session.EndProgress(name);
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(written);
  if (to_stdout) return absl::OkStatus();
  RETURN_IF_ERROR(file.End());
  if (session.output.ForPrograms()) {
    PrintMessage(first, session.output.format, session.out());
  } else {
    session.Say(session.output.format == Format::kName ? path : absl::StrCat(name, ": exported to ", path));
  }
  return absl::OkStatus();
}

}  // namespace

void AddExport(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("export", "Write a guest, which may be running, with its disks into one archive")
                       ->group(kGuestsGroup);
  auto words = std::make_shared<Words>();
  verb->add_option("NAME", words->guest, "the guest")->required();
  verb->add_option("FILE", words->file, "a new file; - for stdout")->required();
  verb->add_option("--snapshot", words->snapshot, "its disks as this snapshot has them");
  verb->add_flag("--without-images", words->without_images,
                 "leave out the images under its disks: the other host has them");
  OnVerb(verb, session, [&session, words] { return Export(session, *words); });
}

}  // namespace umld::umlctl
