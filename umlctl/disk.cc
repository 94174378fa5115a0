#include <CLI/App.hpp>
#include <memory>

#include "base/byte_size.h"
#include "base/status.h"
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

}  // namespace

void AddDisk(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("disk", "Files for disks")->group(kHostGroup);
  noun->require_subcommand(1);
  CLI::App* verb = noun->add_subcommand("create", "Make an empty file for a disk, and print its path");
  auto words = std::make_shared<std::pair<std::string, std::string>>();
  verb->add_option("FILE", words->first, "the file; a relative path is seen from here")->required();
  verb->add_option("--size", words->second, "its size, as 1G")->required();
  OnVerb(verb, session, [&session, words] { return Create(session, words->first, words->second); });
}

}  // namespace umld::umlctl
