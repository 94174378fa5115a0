#include "umlctl/image_transfer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/sparse_output.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

constexpr size_t kPiece = 1 << 20;

struct ImportWords {
  std::string name, source, host, ssh = "ssh", format = "auto", size, description;
  bool replace = false;
};

struct ExportWords {
  std::string name, file, format = "raw";
};

const std::map<std::string, v1::ImageFormat>& Formats() {
  static const auto* const kFormats = new std::map<std::string, v1::ImageFormat>{{"auto", v1::IMAGE_FORMAT_UNSPECIFIED},
                                                                                 {"raw", v1::IMAGE_RAW},
                                                                                 {"qcow2", v1::IMAGE_QCOW2},
                                                                                 {"tar", v1::IMAGE_TAR},
                                                                                 {"folder", v1::IMAGE_FOLDER},
                                                                                 {"oci", v1::IMAGE_OCI},
                                                                                 {"docker", v1::IMAGE_DOCKER}};
  return *kFormats;
}

std::vector<std::string> Known() {
  std::vector<std::string> names;
  for (const auto& [name, format] : Formats()) names.push_back(name);
  return names;
}

// What a server sends of itself: one filesystem, with numbers for names, and nothing that only runs. As root there, or
// by sudo without a password.
constexpr char kSend[] =
    "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; exec $s tar --create --file=- --format=pax --one-file-system "
    "--numeric-owner --xattrs --acls --sparse --warning=no-file-changed --warning=no-file-removed "
    "--warning=no-file-ignored --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./run/*' "
    "--exclude='./tmp/*' --exclude='./var/tmp/*' --exclude=./swapfile --exclude=./swap.img --directory=/ .";
// GNU tar's for "some files changed while they were read": a running server's do.
constexpr int kTarChanged = 1;

class Reader {
 public:
  explicit Reader(UniqueFd fd) : fd_(std::move(fd)) {}
  absl::StatusOr<std::string> Next() {
    std::string data(kPiece, '\0');
    size_t size = 0;
    // Whole pieces: a pipe gives little at a time.
    while (size < data.size()) {
      const ssize_t got = read(fd_.get(), &data[size], data.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoError(errno, "read the source");
      if (got == 0) break;
      size += static_cast<size_t>(got);
    }
    data.resize(size);
    return data;
  }

 private:
  const UniqueFd fd_;
};

// The user's own environment: ssh asks its agent, and reads its configuration at home.
absl::StatusOr<Child> StartSsh(const std::string& ssh, const std::string& host, UniqueFd* output) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  *output = UniqueFd(pipe_fds[0]);
  const UniqueFd writer(pipe_fds[1]);
  SpawnOptions options;
  options.argv = absl::StrSplit(ssh, ' ', absl::SkipEmpty());
  if (options.argv.empty()) options.argv = {"ssh"};
  for (const char* word : {"--", host.c_str(), kSend}) options.argv.emplace_back(word);
  for (char** variable = environ; *variable != nullptr; ++variable) options.environment.emplace_back(*variable);
  options.fds = {{0, STDIN_FILENO}, {1, writer.get()}, {2, STDERR_FILENO}};
  return Spawn(options);
}

absl::StatusOr<v1::Operation> Send(Session& session, Client& client, v1::ImportImageRequest request,
                                   const std::string& host, const std::string& ssh_command) {
  UniqueFd input(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  absl::StatusOr<Child> ssh = Child();
  if (!host.empty()) {
    ssh = StartSsh(ssh_command, host, &input);
    RETURN_IF_ERROR(ssh.status());
    request.set_format(v1::IMAGE_TAR);
    if (request.description().empty()) request.set_description("from the server " + host);
  }
  Reader reader(std::move(input));
  uint64_t sent = 0;
  const std::string what = request.image_id();
  const absl::Time begun = absl::Now();
  // The end of the stream says that all was sent, so how the sender ended is looked at before that.
  absl::StatusOr<v1::Operation> operation = client.UploadImage(request, [&]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(std::string data, reader.Next());
    sent += data.size();
    const double seconds = std::max(absl::ToDoubleSeconds(absl::Now() - begun), 0.001);
    session.ShowProgress(what,
                         absl::StrCat("sending, ", HumanByteSize(sent), ", ",
                                      HumanByteSize(static_cast<uint64_t>(static_cast<double>(sent) / seconds)), "/s"));
    if (!data.empty() || host.empty()) return data;
    int status = 0;
    while (waitpid(ssh->pid, &status, 0) < 0 && errno == EINTR) {
    }
    ssh->pid = 0;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kTarChanged)) return data;
    return MakeError(absl::StatusCode::kAborted,
                     absl::StrCat("ssh ", host, " ended with ",
                                  WIFEXITED(status) ? absl::StrCat("exit code ", WEXITSTATUS(status))
                                                    : absl::StrCat("signal ", WTERMSIG(status))),
                     {"SSH_FAILED", host, "it said why; root's files are read as root, or by sudo without a password"});
  });
  session.EndProgress(what);
  if (!host.empty() && ssh->pid != 0) {
    kill(ssh->pid, SIGTERM);
    while (waitpid(ssh->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return operation;
}

absl::Status Import(Session& session, const ImportWords& words) {
  v1::ImportImageRequest request;
  ASSIGN_OR_RETURN(const std::string full, NameIn("images", words.name));
  request.set_image_id(ShortName(full));
  request.set_format(Formats().at(words.format));
  request.set_replace(words.replace);
  request.set_description(words.description);
  request.set_request_id(NewRequestId());
  if (!words.size.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.size));
    request.set_size_bytes(bytes);
  }
  if (words.source.empty() == words.host.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "what is to be imported?",
                     {"INVALID_ARGUMENT", "", "give a SOURCE (- for stdin), or --from-host USER@HOST"});
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  absl::StatusOr<v1::Operation> operation;
  if (words.host.empty() && words.source != "-") {
    ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
    request.set_source(AbsolutePath(words.source, folder));
    const InterruptNotice notice;
    ASSIGN_OR_RETURN(operation, client->ImportImage(request));
    operation = WaitForOperation(session, *client, *std::move(operation));
  } else {
    operation = Send(session, *client, request, words.host, words.ssh);
    RETURN_IF_ERROR(operation.status());
    const InterruptNotice notice;
    operation = WaitForOperation(session, *client, *std::move(operation));
  }
  RETURN_IF_ERROR(operation.status());
  if (session.output.ForPrograms()) {
    PrintMessage(*operation, session.output.format, session.out());
  } else {
    const std::string name = ShortName(operation->target());
    session.Say(session.output.format == Format::kName ? name : absl::StrCat(name, ": imported"));
  }
  return absl::OkStatus();
}

absl::Status Receive(Client& client, const std::string& name) {
  SparseOutput output;
  absl::Status status;
  RETURN_IF_ERROR(client.DownloadImage(name, [&](const v1::DownloadImageResponse& piece) {
    status = output.Take(piece.size_bytes(), piece.offset(), piece.data());
    return status.ok();
  }));
  RETURN_IF_ERROR(status);
  return output.End();
}

absl::Status Export(Session& session, const ExportWords& words) {
  v1::ExportImageRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("images", words.name));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  if (words.file == "-") {
    if (words.format != "raw" || session.out_is_terminal()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "an image goes to stdout as raw, and not onto a terminal",
                       {"INVALID_ARGUMENT", "", "give a FILE, or | a program"});
    }
    return Receive(*client, request.name());
  }
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(words.file, folder));
  request.set_format(Formats().at(words.format));
  request.set_request_id(NewRequestId());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->ExportImage(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
  } else {
    session.Say(request.path());
  }
  return absl::OkStatus();
}

}  // namespace

void AddImageTransfer(CLI::App* image, Session& session) {
  CLI::App* import = image->add_subcommand("import", "Make an image of a disk, an archive, a folder or a server");
  auto in = std::make_shared<ImportWords>();
  import->add_option("NAME", in->name, "the image's name: NAME or NAME:TAG")->required();
  import->add_option(
      "SOURCE", in->source,
      "a filesystem or disk (raw, qcow2), a tar of a root filesystem (plain, gz, xz, zst, bz2), a folder, "
      "an OCI image layout, what `docker save` writes; - for stdin");
  import->add_option("--from-host", in->host, "a running server, over ssh: USER@HOST");
  import->add_option("--ssh", in->ssh, "how ssh is called for that, as 'ssh -p 2222 -i KEY'");
  import->add_option("--format", in->format, "what the source is, when that cannot be told")
      ->check(CLI::IsMember(Known()));
  import->add_option("--size", in->size, "of the filesystem, as 8G (what is in it and as much again, at least 1G)");
  import->add_option("--description", in->description, "free text");
  import->add_flag("--replace", in->replace, "move the name, if it is taken; guests keep the image they have");
  OnVerb(import, session, [=, &session] { return Import(session, *in); });

  CLI::App* out = image->add_subcommand("export", "Write an image to a file");
  auto to = std::make_shared<ExportWords>();
  out->add_option("NAME", to->name, "an image")->required();
  out->add_option("FILE", to->file, "a new file; - for stdout")->required();
  out->add_option("--format", to->format, "raw (sparse) or qcow2 (compressed)")->check(CLI::IsMember({"raw", "qcow2"}));
  OnVerb(out, session, [=, &session] { return Export(session, *to); });
}

}  // namespace umld::umlctl
