#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umlctl/confinement.h"
#include "umlctl/spec_path.h"
#include "umlctl/transfer_pace.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

constexpr size_t kPiece = 1 << 20;

struct Words {
  std::string file, name, confinement, trust;
  bool new_macs = false;
};

absl::StatusOr<UniqueFd> OpenArchive(const std::string& file, uint64_t* size) {
  UniqueFd fd;
  std::string path = "stdin";
  if (file == "-") {
    fd.reset(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  } else {
    ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
    path = AbsolutePath(file, folder);
    fd.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  if (!fd.ok()) return ErrnoError(errno, absl::StrCat("open ", path));
  struct stat info = {};
  if (fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode)) *size = static_cast<uint64_t>(info.st_size);
  if (S_ISDIR(info.st_mode)) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is a folder, not an archive"),
                     {"BAD_ARCHIVE", path, "give what `umlctl export` wrote"});
  }
  return fd;
}

// Whole pieces: a pipe gives little at a time.
absl::StatusOr<std::string> ReadPiece(int fd) {
  std::string data(kPiece, '\0');
  size_t size = 0;
  while (size < data.size()) {
    const ssize_t got = read(fd, &data[size], data.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read the archive");
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  data.resize(size);
  return data;
}

absl::Status Import(Session& session, const Words& words) {
  v1::ImportGuestRequest::Options options;
  if (!words.name.empty()) {
    ASSIGN_OR_RETURN(*options.mutable_name(), GuestName(words.name));
  }
  options.set_confinement(ConfinementOf(words.confinement));
  options.set_trust(TrustOf(words.trust));
  options.set_new_macs(words.new_macs);
  uint64_t total = 0, done = 0;
  ASSIGN_OR_RETURN(const UniqueFd archive, OpenArchive(words.file, &total));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const std::string what = words.file == "-" ? "stdin" : words.file;
  const TransferPace pace;
  const absl::StatusOr<v1::ImportGuestResponse> made =
      client->ImportGuest(options, [&]() -> absl::StatusOr<std::string> {
        ASSIGN_OR_RETURN(std::string data, ReadPiece(archive.get()));
        done += data.size();
        session.ShowProgress(what, data.empty() ? "writing it to the disk" : pace.Text("importing", done, total));
        return data;
      });
  session.EndProgress(what);
  RETURN_IF_ERROR(made.status());
  const std::string name = ShortName(made->guest().name());
  if (session.output.ForPrograms()) {
    PrintMessage(made->guest(), session.output.format, session.out());
  } else if (session.output.format == Format::kName) {
    session.Say(name);
  } else {
    session.Say(absl::StrCat(name, ": imported"));
  }
  for (const std::string& note : made->notes()) session.Note(absl::StrCat("note: ", name, ": ", note));
  return absl::OkStatus();
}

}  // namespace

void AddImport(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("import", "Make a guest of an exported archive: the same machine, moved")->group(kGuestsGroup);
  auto words = std::make_shared<Words>();
  verb->add_option("FILE", words->file, "the archive; - for stdin")->required();
  verb->add_option("--name", words->name, "another name than it had");
  verb->add_flag("--new-macs", words->new_macs,
                 "new addresses for its interfaces: it becomes another machine, beside the old one");
  AddConfinement(verb, words->confinement);
  AddTrust(verb, words->trust);
  OnVerb(verb, session, [&session, words] { return Import(session, *words); });
}

}  // namespace umld::umlctl
