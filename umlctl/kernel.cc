#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/interrupt.h"
#include "umlctl/operation_wait.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

const std::vector<Column<v1::Kernel>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Kernel>>{
      {"NAME", [](const v1::Kernel& kernel) { return ShortName(kernel.name()); }},
      {"DEFAULT", [](const v1::Kernel& kernel) { return kernel.is_default() ? "*" : ""; }},
      {"VERSION", [](const v1::Kernel& kernel) { return kernel.problem().empty() ? kernel.version() : "UNUSABLE"; }},
      {"SIZE", [](const v1::Kernel& kernel) { return HumanByteSize(kernel.size_bytes()); }},
      {"MODULES", [](const v1::Kernel& kernel) { return kernel.modules_path().empty() ? "" : "yes"; }},
      {"SYMBOLS", [](const v1::Kernel& kernel) { return kernel.symbols_path().empty() ? "" : "yes"; }},
      {"IMPORTED",
       [](const v1::Kernel& kernel) { return kernel.imported() ? TimeText(kernel.create_time()) : "(not imported)"; }},
      {"BUILD ID", [](const v1::Kernel& kernel) { return kernel.build_id(); }, true},
      {"PATH", [](const v1::Kernel& kernel) { return kernel.path(); }, true},
      {"DESCRIPTION", [](const v1::Kernel& kernel) { return kernel.description(); }, true},
  };
  return *kColumns;
}

std::string YesNo(bool yes) { return yes ? "yes" : "no"; }

template <typename Items>
std::string Words(const Items& items) {
  return items.empty() ? "none" : absl::StrJoin(items, ", ");
}

void AddFeatures(const v1::Kernel& kernel, Details& details) {
  const v1::KernelFeatures& features = kernel.features();
  if (!features.config_known()) return details.Add("Features", "not known: it does not say how it was configured");
  details.Add("Features", "");
  details.AddUnder("disks (ubd)", YesNo(features.ubd()));
  details.AddUnder("mconsole", YesNo(features.mconsole()));
  details.AddUnder("interfaces", Words(features.network()));
  details.AddUnder("consoles",
                   absl::StrCat(Words(features.consoles()), features.serial_lines() ? "; serial lines" : ""));
  details.AddUnder("virtio", YesNo(features.virtio()));
  details.AddUnder("initrd", YesNo(features.initrd()));
  details.AddUnder("SMP", YesNo(features.smp()));
  details.AddUnder("processes", features.process_mode());
  details.AddUnder("modules", features.modules() ? "loadable" : "no");
  details.AddUnder("/dev/mem", YesNo(features.dev_mem()));
  details.AddUnder("hostfs", YesNo(features.hostfs()));
}

std::string UseLine(const v1::KernelUse& use) {
  std::vector<std::string> how;
  if (use.named()) how.push_back("names it");
  if (use.follows()) how.push_back("follows the default");
  if (use.running()) how.push_back("runs it");
  return absl::StrCat(ShortName(use.guest()), "  (", absl::StrJoin(how, ", "), ")");
}

Details Describe(const v1::Kernel& kernel) {
  Details details;
  details.Add("Name", ShortName(kernel.name()));
  if (!kernel.description().empty()) details.Add("Description", kernel.description());
  if (!kernel.problem().empty()) details.Add("PROBLEM", kernel.problem());
  details.Add("Version", kernel.version());
  if (!kernel.banner().empty()) details.AddUnder("says", kernel.banner());
  details.Add("Default", kernel.is_default() ? "yes: guests that name no kernel start with it" : "no");
  details.Add("File", kernel.path());
  details.AddUnder("size", HumanByteSize(kernel.size_bytes()));
  if (!kernel.sha256().empty()) details.AddUnder("sha256", kernel.sha256());
  if (!kernel.build_id().empty()) details.AddUnder("build id", kernel.build_id());
  details.Add("Imported", kernel.imported() ? TimeText(kernel.create_time()) : "no: umld was started with it");
  if (kernel.imported()) {
    details.Add("Symbols", kernel.symbols_path().empty() ? "none (kernel import --symbols)" : kernel.symbols_path());
  }
  if (!kernel.modules_path().empty()) {
    details.Add("Modules", absl::StrCat(kernel.modules_path(), ", ", HumanByteSize(kernel.modules_bytes())));
    details.AddMore("umlctl plug GUEST ubdc=modules:    and inside: mount -o ro /dev/ubdc /lib/modules");
  } else if (kernel.imported() && kernel.features().modules()) {
    details.Add("Modules", "none (kernel import --modules)");
  }
  AddFeatures(kernel, details);
  for (int i = 0; i < kernel.warnings_size(); ++i) {
    i == 0 ? details.Add("To know", kernel.warnings(i)) : details.AddMore(kernel.warnings(i));
  }
  if (kernel.guests().empty()) details.Add("Guests", "none");
  for (int i = 0; i < kernel.guests_size(); ++i) {
    i == 0 ? details.Add("Guests", UseLine(kernel.guests(i))) : details.AddMore(UseLine(kernel.guests(i)));
  }
  return details;
}

struct ImportWords {
  std::string name, file, symbols, modules, description;
};

absl::Status Import(Session& session, const ImportWords& words) {
  v1::ImportKernelRequest request;
  ASSIGN_OR_RETURN(const std::string full, NameIn("kernels", words.name));
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_kernel_id(ShortName(full));
  request.set_path(AbsolutePath(words.file, folder));
  request.set_symbols_path(AbsolutePath(words.symbols, folder));
  request.set_modules_path(AbsolutePath(words.modules, folder));
  request.set_description(words.description);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->ImportKernel(request));
  ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
    return absl::OkStatus();
  }
  const std::string name = ShortName(full);
  session.Say(session.output.format == Format::kName ? name : absl::StrCat(name, ": imported"));
  return absl::OkStatus();
}

struct BuildWords {
  std::string name, source;
  bool keep_default = false, background = false;
};

absl::Status Build(Session& session, const BuildWords& words) {
  v1::BuildKernelRequest request;
  if (!words.name.empty()) {
    ASSIGN_OR_RETURN(const std::string full, NameIn("kernels", words.name));
    request.set_kernel_id(ShortName(full));
  }
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  request.set_source_path(AbsolutePath(words.source, folder));
  request.set_keep_default(words.keep_default);
  request.set_request_id(NewRequestId());
  ASSIGN_OR_RETURN(Client* const client, session.client());
  const InterruptNotice notice;
  ASSIGN_OR_RETURN(v1::Operation operation, client->BuildKernel(request));
  if (!words.background) {
    ASSIGN_OR_RETURN(operation, WaitForOperation(session, *client, std::move(operation)));
  }
  const std::string name = ShortName(operation.target());
  if (session.output.ForPrograms()) {
    PrintMessage(operation, session.output.format, session.out());
  } else if (session.output.format == Format::kName) {
    session.Say(words.background ? ShortName(operation.name()) : name);
  } else if (words.background) {
    session.Say(absl::StrCat(name, ": is being built (umlctl operations describe ", ShortName(operation.name()), ")"));
  } else {
    session.Say(absl::StrCat(name, words.keep_default ? ": built" : ": built, and is the default now"));
  }
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListKernelsResponse list, client->ListKernels());
  PrintList(list.kernels(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

absl::Status DescribeKernels(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Kernel> kernels;
  for (const std::string& text : typed) {
    v1::GetKernelRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("kernels", text));
    absl::StatusOr<v1::Kernel> kernel = client->GetKernel(request);
    session.Report(kernel.status());
    if (kernel.ok()) kernels.push_back(*std::move(kernel));
  }
  PrintDescriptions<v1::Kernel>(kernels, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

absl::Status PrintConfig(Session& session, const std::string& typed) {
  v1::GetKernelConfigRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("kernels", typed));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::KernelConfig config, client->GetKernelConfig(request));
  if (session.output.ForPrograms()) {
    PrintMessage(config, session.output.format, session.out());
  } else {
    session.out() << config.text();
  }
  return absl::OkStatus();
}

absl::Status SetDefault(Session& session, const std::string& typed) {
  v1::SetDefaultKernelRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("kernels", typed));
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::Kernel kernel, client->SetDefaultKernel(request));
  if (session.output.ForPrograms()) {
    PrintMessage(kernel, session.output.format, session.out());
    return absl::OkStatus();
  }
  const std::string name = ShortName(kernel.name());
  session.Say(session.output.format == Format::kName ? name : absl::StrCat(name, ": is the default now"));
  bool others_run = false;
  for (const v1::KernelUse& use : kernel.guests()) others_run = others_run || (use.follows() && !use.running());
  if (others_run) session.Note("note: guests that run now have it from their next start");
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& text : typed) {
    v1::DeleteKernelRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("kernels", text));
    const absl::Status status = client->DeleteKernel(request);
    session.Report(status);
    if (status.ok() && !session.output.ForPrograms()) session.Say(absl::StrCat(ShortName(text), ": deleted"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddKernel(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("kernel", "Kernels that guests are started with")->group(kHostGroup);
  noun->require_subcommand(1);

  CLI::App* import = noun->add_subcommand("import", "Copy a UML kernel, examine it, and keep it");
  auto words = std::make_shared<ImportWords>();
  import->add_option("NAME", words->name, "the kernel's name here")->required();
  import->add_option("FILE", words->file, "the kernel's binary, on the daemon's host")->required();
  import->add_option("--symbols", words->symbols, "a debug file of this very build, for umlctl gdb");
  import->add_option("--modules", words->modules, "the folder with its modules: VERSION/modules.dep");
  import->add_option("--description", words->description, "free text");
  OnVerb(import, session, [&session, words] { return Import(session, *words); });

  CLI::App* build =
      noun->add_subcommand("build", "Compile the fast kernel from Debian's source, and make it the default");
  auto built = std::make_shared<BuildWords>();
  build->add_option("NAME", built->name, "the kernel's name here (fast)");
  build->add_option("--source", built->source, "linux-source-VERSION.tar.xz; without it the newest below /usr/src");
  build->add_flag("--keep-default", built->keep_default, "leave the default as it is");
  build->add_flag("--background", built->background, "do not wait for the end");
  OnVerb(build, session, [&session, built] { return Build(session, *built); });

  OnVerb(noun->add_subcommand("list", "List the kernels"), session, [&session] { return List(session); });

  CLI::App* describe = noun->add_subcommand("describe", "Say all about kernels, and who uses them");
  auto described = std::make_shared<std::vector<std::string>>();
  describe->add_option("NAME", *described, "kernels")->required();
  OnVerb(describe, session, [&session, described] { return DescribeKernels(session, *described); });

  CLI::App* config = noun->add_subcommand("config", "Print the configuration that a kernel was built with");
  auto configured = std::make_shared<std::string>();
  config->add_option("NAME", *configured, "a kernel")->required();
  OnVerb(config, session, [&session, configured] { return PrintConfig(session, *configured); });

  CLI::App* choose =
      noun->add_subcommand("default", "Choose the kernel of guests that name none, from their next start");
  auto chosen = std::make_shared<std::string>();
  choose->add_option("NAME", *chosen, "a kernel; system: the one that umld was started with")->required();
  OnVerb(choose, session, [&session, chosen] { return SetDefault(session, *chosen); });

  CLI::App* remove = noun->add_subcommand("delete", "Remove kernels that nobody uses");
  auto removed = std::make_shared<std::vector<std::string>>();
  remove->add_option("NAME", *removed, "kernels")->required();
  OnVerb(remove, session, [&session, removed] { return Delete(session, *removed); });
}

}  // namespace umld::umlctl
