#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/kernel_word.h"
#include "umlctl/labels.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

std::string Disks(const v1::Guest& guest) {
  return absl::StrJoin(guest.disks(), ",",
                       [](std::string* out, const v1::Disk& disk) { out->append(ShortName(disk.name())); });
}

const std::vector<Column<v1::Guest>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Guest>>{
      {"NAME", [](const v1::Guest& guest) { return ShortName(guest.name()); }},
      {"STATE", [](const v1::Guest& guest) { return StateText(guest.state()); }},
      {"MEMORY", [](const v1::Guest& guest) { return FormatByteSize(guest.memory_bytes()); }},
      {"UPTIME",
       [](const v1::Guest& guest) { return guest.has_start_time() ? AgeText(guest.start_time()) : std::string(); }},
      {"IMAGE", [](const v1::Guest& guest) { return ShortName(guest.image()); }},
      {"DISKS", Disks},
      {"KERNEL", [](const v1::Guest& guest) { return KernelText(guest); }, true},
      {"PID",
       [](const v1::Guest& guest) {
         const int32_t pid = guest.processes().kernel_pid();
         return pid == 0 ? std::string() : std::to_string(pid);
       },
       true},
      {"LABELS", [](const v1::Guest& guest) { return LabelsText(guest); }, true},
      {"BOOTS", [](const v1::Guest& guest) { return std::to_string(guest.boots()); }, true},
      {"ISOLATION", [](const v1::Guest& guest) { return guest.isolation(); }, true},
  };
  return *kColumns;
}

absl::Status List(Session& session, const std::string& selector) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  v1::ListGuestsRequest request;
  request.set_label_selector(selector);
  request.set_summary(!session.output.ForPrograms());
  ASSIGN_OR_RETURN(const v1::ListGuestsResponse list, client->ListGuests(std::move(request)));
  PrintList(list.guests(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

}  // namespace

void AddList(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("list", "List the guests")->group(kGuestsGroup);
  const auto selector = std::make_shared<std::string>();
  AddLabelSelector(*verb, *selector);
  OnVerb(verb, session, [&session, selector] { return List(session, *selector); });
}

}  // namespace umld::umlctl
