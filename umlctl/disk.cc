#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/each_guest.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
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

Details DescribeFile(const v1::DiskFile& file) {
  Details details;
  details.Add("File", file.path());
  details.Add("Kind", file.has_cow() ? "COW" : "plain");
  details.Add("Size", HumanByteSize(file.size_bytes()));
  details.Add("On disk", HumanByteSize(file.allocated_bytes()));
  if (file.guests_size() > 0) details.Add("Guests", absl::StrJoin(file.guests(), ", "));
  if (!file.has_cow()) return details;
  const v1::CowFile& cow = file.cow();
  details.Add("Written", absl::StrCat(HumanByteSize(cow.written_bytes()), " of ", HumanByteSize(cow.backing_bytes())));
  details.Add("Backing file", cow.backing());
  details.AddUnder("size", absl::StrCat(cow.backing_bytes()));
  details.AddUnder("modified", TimeText(cow.backing_time()));
  details.AddUnder("now", cow.problem().empty() ? "as it was" : cow.problem());
  details.Add("Layout", absl::StrCat("version 3, alignment ", cow.alignment()));
  details.AddUnder("bitmap", absl::StrCat(cow.bitmap_bytes(), " bytes at ", cow.bitmap_offset()));
  details.AddUnder("data", absl::StrCat("at ", cow.data_offset()));
  return details;
}

absl::Status PrintFile(Session& session, const v1::DiskFile& file) {
  if (session.output.ForPrograms()) {
    PrintMessage(file, session.output.format, session.out());
  } else {
    DescribeFile(file).Print(session.out());
  }
  return absl::OkStatus();
}

absl::Status Info(Session& session, const std::string& file) {
  v1::GetDiskFileRequest request;
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(file, folder));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::DiskFile disk, client->GetDiskFile(request));
  return PrintFile(session, disk);
}

absl::Status Rebase(Session& session, const std::string& file, const std::string& backing, bool same_content) {
  v1::RebaseDiskFileRequest request;
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(file, folder));
  request.set_backing(AbsolutePath(backing, folder));
  request.set_same_content(same_content);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::DiskFile disk, client->RebaseDiskFile(request));
  return PrintFile(session, disk);
}

struct CommitWords {
  std::string file, image, backing;
  bool replace = false, into_backing = false;
};

absl::Status CommitIntoBacking(Session& session, const CommitWords& words) {
  v1::CommitDiskFileRequest request;
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_path(AbsolutePath(words.file, folder));
  if (!words.backing.empty()) request.set_backing(AbsolutePath(words.backing, folder));
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->CommitDiskFile(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
  } else {
    session.Say(session.output.format == Format::kName
                    ? request.path()
                    : absl::StrCat(request.path(), ": written into its backing file, and empty now"));
  }
  return absl::OkStatus();
}

absl::Status Commit(Session& session, const CommitWords& words) {
  if (words.image.empty() != words.into_backing || (words.into_backing && words.replace)) {
    return UsageError("a COW file is merged into a new image, or into its backing file",
                      "give either --image NAME or --into-backing");
  }
  if (words.into_backing) return CommitIntoBacking(session, words);
  v1::ImportImageRequest request;
  ASSIGN_OR_RETURN(const std::string full, NameIn("images", words.image));
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_image_id(ShortName(full));
  request.set_source(AbsolutePath(words.file, folder));
  if (!words.backing.empty()) request.set_backing(AbsolutePath(words.backing, folder));
  request.set_format(v1::IMAGE_COW);
  request.set_replace(words.replace);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->ImportImage(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
  } else {
    session.Say(absl::StrCat(ShortName(operation.target()), ": imported"));
  }
  return absl::OkStatus();
}

void AddCow(CLI::App* noun, Session& session) {
  CLI::App* info =
      noun->add_subcommand("info", "Say what a disk's file is; of a COW file, header, use and backing file");
  auto file = std::make_shared<std::string>();
  info->add_option("FILE", *file, "the file")->required();
  OnVerb(info, session, [=, &session] { return Info(session, *file); });

  CLI::App* commit =
      noun->add_subcommand("commit", "Merge a COW file and its backing file: into a new image, or in place");
  auto words = std::make_shared<CommitWords>();
  commit->add_option("COW", words->file, "the COW file, of a guest that does not run")->required();
  commit->add_option("--image", words->image, "make an image of both: NAME or NAME:TAG");
  commit->add_flag("--into-backing", words->into_backing,
                   "write it into its backing file, which nobody else may lie over, and empty it");
  commit->add_option("--backing", words->backing, "the backing file, of a COW file that is no guest's disk");
  commit->add_flag("--replace", words->replace, "move the name, if it is taken");
  OnVerb(commit, session, [=, &session] { return Commit(session, *words); });

  CLI::App* rebase = noun->add_subcommand("rebase", "Say where the backing file of a COW file is now");
  auto cow = std::make_shared<std::string>();
  auto backing = std::make_shared<std::string>();
  auto same = std::make_shared<bool>(false);
  rebase->add_option("COW", *cow, "the COW file, of a guest that does not run")->required();
  rebase->add_option("BACKING", *backing, "the file that it was made over, or a copy of that")->required();
  rebase->add_flag("--same-content", *same, "its modification time is another, its content is not");
  OnVerb(rebase, session, [=, &session] { return Rebase(session, *cow, *backing, *same); });
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
  AddCow(noun, session);
}

}  // namespace umld::umlctl
