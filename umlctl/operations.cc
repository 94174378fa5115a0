#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "umlctl/details.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct ListOptions {
  bool unfinished = false;
  size_t limit = 100;
};

std::string Status(const v1::Operation& operation) {
  if (!operation.done()) return "under way";
  return operation.has_error() ? "failed" : "done";
}

std::string Progress(const v1::Operation& operation) {
  if (operation.has_error()) return operation.error().message();
  if (operation.done()) return "";
  std::string text = operation.progress();
  if (operation.percent() > 0) absl::StrAppend(&text, text.empty() ? "" : " ", operation.percent(), "%");
  return text;
}

const std::vector<Column<v1::Operation>>& Columns() {
  static const auto* const kColumns = new std::vector<Column<v1::Operation>>{
      {"ID", [](const v1::Operation& operation) { return ShortName(operation.name()); }},
      {"VERB", [](const v1::Operation& operation) { return operation.verb(); }},
      {"TARGET", [](const v1::Operation& operation) { return operation.target(); }},
      {"STATUS", Status},
      {"STARTED", [](const v1::Operation& operation) { return TimeText(operation.create_time()); }},
      {"ENDED", [](const v1::Operation& operation) { return TimeText(operation.end_time()); }, true},
      {"DETAIL", Progress},
  };
  return *kColumns;
}

Details Describe(const v1::Operation& operation) {
  Details details;
  details.Add("Id", ShortName(operation.name()));
  details.Add("Verb", operation.verb());
  details.Add("Target", operation.target());
  details.Add("Status", Status(operation));
  if (!operation.done()) details.Add("Progress", Progress(operation));
  details.Add("Started", TimeText(operation.create_time()));
  if (operation.done()) details.Add("Ended", TimeText(operation.end_time()));
  if (operation.has_error()) {
    details.Add("Error", operation.error().message());
    details.AddUnder("reason", operation.error().reason());
    details.AddUnder("hint", operation.error().hint());
  }
  return details;
}

absl::Status List(Session& session, const ListOptions& options) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const v1::ListOperationsResponse list, client->ListOperations(options.unfinished, options.limit));
  PrintList(list.operations(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

absl::Status DescribeOperations(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Operation> operations;
  for (const std::string& text : typed) {
    v1::GetOperationRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("operations", text));
    absl::StatusOr<v1::Operation> operation = client->GetOperation(request);
    session.Report(operation.status());
    if (operation.ok()) operations.push_back(*std::move(operation));
  }
  PrintDescriptions<v1::Operation>(operations, typed.size() == 1, Describe, session.output, session.out());
  return absl::OkStatus();
}

absl::Status Cancel(Session& session, const std::vector<std::string>& typed) {
  ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& text : typed) {
    v1::CancelOperationRequest request;
    ASSIGN_OR_RETURN(*request.mutable_name(), NameIn("operations", text));
    const absl::StatusOr<v1::Operation> operation = client->CancelOperation(request);
    session.Report(operation.status());
    if (!operation.ok()) continue;
    if (session.output.ForPrograms()) {
      PrintMessage(*operation, session.output.format, session.out());
    } else {
      session.Say(absl::StrCat(ShortName(text), operation->done() ? ": has ended already" : ": will end"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddOperations(CLI::App& app, Session& session) {
  CLI::App* noun = app.add_subcommand("operations", "What the daemon does, and has done")->group(kHostGroup);
  noun->require_subcommand(1);
  CLI::App* list = noun->add_subcommand("list", "List operations, newest first");
  auto list_options = std::make_shared<ListOptions>();
  list->add_flag("--unfinished", list_options->unfinished, "those under way alone");
  list->add_option("--limit", list_options->limit, "how many at most (100)")->check(CLI::PositiveNumber);
  OnVerb(list, session, [&session, list_options] { return List(session, *list_options); });

  CLI::App* describe = noun->add_subcommand("describe", "Say all about operations");
  auto names = std::make_shared<std::vector<std::string>>();
  describe->add_option("ID", *names, "operations, as 42")->required();
  OnVerb(describe, session, [&session, names] { return DescribeOperations(session, *names); });

  CLI::App* cancel = noun->add_subcommand("cancel", "Have operations give up; what they made so far goes");
  auto cancelled = std::make_shared<std::vector<std::string>>();
  cancel->add_option("ID", *cancelled, "operations, as 42")->required();
  OnVerb(cancel, session, [&session, cancelled] { return Cancel(session, *cancelled); });
}

}  // namespace umld::umlctl
