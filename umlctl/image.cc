#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/image_transfer.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// "sha256:" and twelve digits: enough to tell images apart, and taken wherever a name is.
constexpr size_t kShownDigest = 19;

const std::vector<Column<v1::Image>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Image>>{
      {"NAME", [](const v1::Image& image) { return image.aliases().empty() ? "-" : ShortName(image.name()); }},
      {"DIGEST", [](const v1::Image& image) { return image.digest().substr(0, kShownDigest); }},
      {"SIZE", [](const v1::Image& image) { return HumanByteSize(image.size_bytes()); }},
      {"ON DISK", [](const v1::Image& image) { return HumanByteSize(image.allocated_bytes()); }},
      {"GUESTS", [](const v1::Image& image) { return std::to_string(image.guests()); }},
      {"CREATED", [](const v1::Image& image) { return TimeText(image.create_time()); }},
      {"PATH", [](const v1::Image& image) { return image.path(); }, true},
      {"DESCRIPTION", [](const v1::Image& image) { return image.description(); }, true},
  };
  return *kColumns;
}

Details Describe(const v1::Image& image) {
  Details details;
  details.Add("Name", ShortName(image.name()));
  if (image.aliases_size() > 1) details.Add("All names", absl::StrJoin(image.aliases(), ", "));
  if (!image.description().empty()) details.Add("Description", image.description());
  if (!image.digest().empty()) details.Add("Digest", image.digest());
  details.Add("Path", image.path());
  details.Add("Size", HumanByteSize(image.size_bytes()));
  details.Add("On disk", HumanByteSize(image.allocated_bytes()));
  details.Add("Created", TimeText(image.create_time()));
  details.Add("Guests", std::to_string(image.guests()));
  return details;
}

struct BuildWords {
  std::string kind, name, suite, mirror, size;
  std::vector<std::string> include;
  bool replace = false;
};

absl::Status Build(Session& session, const BuildWords& words) {
  v1::BuildImageRequest request;
  request.set_replace(words.replace);
  request.set_kind(words.kind);
  request.set_suite(words.suite);
  request.set_mirror(words.mirror);
  for (const std::string& package : words.include) request.add_include(package);
  if (!words.size.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.size));
    request.set_size_bytes(bytes);
  }
  if (!words.name.empty()) {
    ASSIGN_OR_RETURN(const std::string full, NameIn("images", words.name));
    request.set_image_id(ShortName(full));
  }
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->BuildImage(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
    return absl::OkStatus();
  }
  const std::string built = words.name.empty() ? words.kind : ShortName(words.name);
  session.Say(session.output.format == Format::kName ? built : absl::StrCat(built, ": built"));
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListImagesResponse list, client->ListImages());
  PrintList(list.images(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

absl::Status DescribeImages(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Image> images;
  for (const std::string& text : typed) {
    v1::GetImageRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("images", text));
    absl::StatusOr<v1::Image> image = client->GetImage(request);
    session.Report(image.status());
    if (image.ok()) images.push_back(*std::move(image));
  }
  PrintDescriptions<v1::Image>(images, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

absl::Status Tag(Session& session, const std::string& typed, const std::string& name, bool replace) {
  v1::TagImageRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("images", typed));
  ASSIGN_OR_RETURN(const std::string full, NameIn("images", name));
  request.set_image_id(ShortName(full));
  request.set_replace(replace);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::Image image, client->TagImage(request));
  if (session.output.ForPrograms()) {
    PrintMessage(image, session.output.format, session.out());
  } else {
    session.Say(absl::StrCat(ShortName(image.name()), ": ", image.digest().substr(0, kShownDigest)));
  }
  return absl::OkStatus();
}

absl::Status Verify(Session& session, const std::vector<std::string>& typed, bool repair) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  for (const std::string& text : typed) {
    v1::VerifyImageRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("images", text));
    request.set_repair(repair);
    request.set_request_id(NewRequestId());
    absl::StatusOr<v1::Operation> operation = client->VerifyImage(request);
    if (operation.ok()) operation = WaitForOperation(session, *client, *std::move(operation));
    session.Report(operation.status());
    if (operation.ok() && !session.output.ForPrograms())
      session.Say(absl::StrCat(ShortName(text), ": as it should be"));
  }
  return absl::OkStatus();
}

absl::Status Prune(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::PruneImagesResponse response, client->PruneImages());
  if (session.output.ForPrograms()) {
    PrintMessage(response, session.output.format, session.out());
    return absl::OkStatus();
  }
  for (const v1::Image& image : response.images()) {
    session.Say(absl::StrCat(ShortName(image.name()).substr(0, kShownDigest), ": deleted"));
  }
  session.Say(absl::StrCat(HumanByteSize(response.freed_bytes()), " freed"));
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& text : typed) {
    v1::DeleteImageRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("images", text));
    const absl::Status status = client->DeleteImage(request);
    session.Report(status);
    if (status.ok() && !session.output.ForPrograms()) session.Say(absl::StrCat(ShortName(text), ": deleted"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddImage(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("image", "Root filesystems that guests are made from")->group(kHostGroup);
  noun->require_subcommand(1);

  CLI::App* build = noun->add_subcommand("build", "Make an image on the daemon's host");
  auto words = std::make_shared<BuildWords>();
  build->add_option("KIND", words->kind, "tiny: a few MiB of busybox; debian: systemd, sshd, network by DHCP")
      ->required();
  build->add_option("--name", words->name, "the image's name; without it the kind's");
  build->add_flag("--replace", words->replace, "move the name, if it is taken; guests keep the image they have");
  build->add_option("--suite", words->suite, "debian: which one (bookworm)");
  build->add_option("--include", words->include, "debian: more packages, as nginx,htop")->delimiter(',');
  build->add_option("--mirror", words->mirror, "debian: where its packages come from, as http://HOST/debian");
  build->add_option("--size", words->size,
                    "debian: of the filesystem, as 8G (what is in it and as much again, at least 1G)");
  OnVerb(build, session, [=, &session] { return Build(session, *words); });

  OnVerb(noun->add_subcommand("list", "List the images"), session, [&session] { return List(session); });

  CLI::App* describe = noun->add_subcommand("describe", "Say all about images");
  auto described = std::make_shared<std::vector<std::string>>();
  describe->add_option("NAME", *described, "images")->required();
  OnVerb(describe, session, [&session, described] { return DescribeImages(session, *described); });

  AddImageTransfer(noun, session);

  CLI::App* tag = noun->add_subcommand("tag", "Give an image one more name");
  auto tagged = std::make_shared<std::string>();
  auto tag_name = std::make_shared<std::string>();
  auto tag_replace = std::make_shared<bool>(false);
  tag->add_option("IMAGE", *tagged, "an image, or sha256:DIGITS")->required();
  tag->add_option("NAME", *tag_name, "NAME or NAME:TAG")->required();
  tag->add_flag("--replace", *tag_replace, "move the name, if it is taken");
  OnVerb(tag, session, [=, &session] { return Tag(session, *tagged, *tag_name, *tag_replace); });

  CLI::App* verify = noun->add_subcommand("verify", "Read images again: are they what their digests say?");
  auto verified = std::make_shared<std::vector<std::string>>();
  auto repair = std::make_shared<bool>(false);
  verify->add_option("NAME", *verified, "images")->required();
  verify->add_flag("--repair", *repair, "set the file's time and mode right, when its content is");
  OnVerb(verify, session, [=, &session] { return Verify(session, *verified, *repair); });

  OnVerb(noun->add_subcommand("prune", "Remove images that have no name and that no guest needs"), session,
         [&session] { return Prune(session); });

  CLI::App* remove = noun->add_subcommand("delete", "Remove images that no guest is made from");
  auto removed = std::make_shared<std::vector<std::string>>();
  remove->add_option("NAME", *removed, "images")->required();
  OnVerb(remove, session, [&session, removed] { return Delete(session, *removed); });
}

}  // namespace umld::umlctl
