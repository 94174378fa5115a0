#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

absl::Status Create(Session& session, const std::string& file, const std::string& size) {
  v1::CreateDiskFileRequest request;
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(file, folder));
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(size));
  request.set_size_bytes(bytes);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::DiskFile disk, client->CreateDiskFile(request));
  if (session.output.ForPrograms()) {
    PrintMessage(disk, session.output.format, session.out());
  } else {
    session.Say(disk.path());
  }
  return absl::OkStatus();
}

struct ResizeWords {
  std::string guest, device, size;
};

absl::Status Resize(Session& session, const ResizeWords& words) {
  v1::ResizeDiskRequest request;
  ASSIGN_OR_RETURN(*request.mutable_guest(), GuestName(words.guest));
  request.set_disk(words.device);
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.size));
  request.set_size_bytes(bytes);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const absl::StatusOr<v1::ResizeDiskResponse> resized = client->ResizeDisk(request);
  if (!resized.ok()) return NamingGuest(resized.status(), request.guest());
  if (session.output.ForPrograms()) {
    PrintMessage(*resized, session.output.format, session.out());
    return absl::OkStatus();
  }
  const std::string noun = absl::StrCat(ShortName(request.guest()), ": ", ShortName(resized->disk().name()), ": ");
  const std::string size = FormatByteSize(resized->file_bytes());
  session.Say(absl::StrCat(noun, resized->grown_path(),
                           resized->old_file_bytes() == resized->file_bytes()
                               ? absl::StrCat(" has ", size)
                               : absl::StrCat(" grew from ", FormatByteSize(resized->old_file_bytes()), " to ", size),
                           resized->guest_sees_it() ? "; the guest sees it" : ""));
  for (const std::string& step : resized->next_steps()) session.Say(absl::StrCat(noun, step));
  return absl::OkStatus();
}

void AddResize(CLI::App* noun, Session& session) {
  CLI::App* verb = noun->add_subcommand("resize", "Make a guest's disk larger, its file and what the guest sees of it");
  auto words = std::make_shared<ResizeWords>();
  verb->add_option("NAME", words->guest, "the guest")->required();
  verb->add_option("DEVICE", words->device, "its disk, as ubdb")->required();
  verb->add_option("SIZE", words->size, "the new size, as 2G; never less than it has")->required();
  OnVerb(verb, session, [&session, words] { return Resize(session, *words); });
}

}  // namespace

void AddDisk(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("disk", "Files for disks, and their size")->group(kHostGroup);
  noun->require_subcommand(1);
  CLI::App* verb = noun->add_subcommand("create", "Make an empty file for a disk, and print its path");
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  verb->add_option("FILE", words->first, "the file; a relative path is seen from here")->required();
  verb->add_option("--size", words->second, "its size, as 1G")->required();
  OnVerb(verb, session, [&session, words] { return Create(session, words->first, words->second); });
  AddResize(noun, session);
}

}  // namespace umld::umlctl
