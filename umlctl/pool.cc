#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/kernel_word.h"
#include "umlctl/spec_path.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

std::string KernelName(const v1::Pool& pool) {
  const std::string& kernel = pool.kernel().empty() ? pool.kernel_in_use() : pool.kernel();
  const std::string name = kernel.rfind("kernels/", 0) == 0 ? ShortName(kernel) : kernel;
  return pool.kernel().empty() ? absl::StrCat(name, " (default)") : name;
}

const std::vector<Column<v1::Pool>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Pool>>{
      {"KERNEL", KernelName},
      {"MEMORY", [](const v1::Pool& pool) { return HumanByteSize(pool.memory_bytes()); }},
      {"WARM", [](const v1::Pool& pool) { return absl::StrCat(pool.warm()); }},
      {"READY", [](const v1::Pool& pool) { return absl::StrCat(pool.ready()); }},
      {"HOST MEMORY", [](const v1::Pool& pool) { return HumanByteSize(pool.host_memory_bytes()); }},
      {"STARTS",
       [](const v1::Pool& pool) { return absl::StrCat(pool.warm_starts(), " warm, ", pool.cold_starts(), " cold"); }},
      {"PROBLEM", [](const v1::Pool& pool) { return pool.problem(); }},
  };
  return *kColumns;
}

struct SetWords {
  std::string memory = "128M", kernel;
  uint32_t warm = 0;
};

absl::Status Set(Session& session, const SetWords& words) {
  v1::SetPoolRequest request;
  ASSIGN_OR_RETURN(const std::string folder, CurrentFolder());
  ASSIGN_OR_RETURN(*request.mutable_kernel(), KernelOf(words.kernel, folder));
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.memory));
  request.set_memory_bytes(bytes);
  request.set_warm(words.warm);
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::Pool pool, client->SetPool(request));
  if (session.output.ForPrograms()) {
    PrintMessage(pool, session.output.format, session.out());
  } else {
    session.Say(absl::StrCat(KernelName(pool), ", ", FormatByteSize(bytes), ": ",
                             words.warm == 0 ? "none waits" : absl::StrCat(words.warm, " are to wait")));
  }
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListPoolsResponse list, client->ListPools(v1::ListPoolsRequest()));
  PrintList(list.pools(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

}  // namespace

void AddPool(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("pool", "Kernels that wait, so that guests start at once")->group(kHostGroup);
  noun->require_subcommand(1);

  CLI::App* set = noun->add_subcommand("set", "Say how many kernels wait for guests of a kernel and a size of memory");
  auto words = std::make_shared<SetWords>();
  set->add_option("--mem", words->memory, "of the guests (128M)");
  set->add_option("--kernel", words->kernel, "of the guests: a name or a path; without it, the host's default");
  set->add_option("--warm", words->warm, "how many; 0 ends it")->required();
  OnVerb(set, session, [=, &session] { return Set(session, *words); });

  OnVerb(noun->add_subcommand("list", "List what waits"), session, [&session] { return List(session); });
}

}  // namespace umld::umlctl
