#include "umlctl/each_guest.h"

#include <CLI/App.hpp>
#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umlctl/interrupt.h"
#include "umlctl/labels.h"

namespace umld::umlctl {
namespace {

// Each thread mostly waits for the daemon.
constexpr size_t kMaxThreads = 64;

absl::StatusOr<std::vector<std::string>> Select(Client& client, const GuestSelection& selection,
                                                const std::function<bool(v1::GuestState)>& concerns) {
  std::vector<std::string> names;
  if (selection.names.empty()) {
    ASSIGN_OR_RETURN(const v1::ListGuestsResponse list, client.SummarizeGuests(selection.labels));
    for (const v1::Guest& guest : list.guests()) {
      if (concerns(guest.state())) names.push_back(guest.name());
    }
    return names;
  }
  for (const std::string& typed : selection.names) {
    ASSIGN_OR_RETURN(const std::string name, GuestName(typed));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

void PrintResults(Session& session, const std::vector<GuestResult>& results, bool one) {
  std::vector<const google::protobuf::Message*> messages;
  for (const GuestResult& result : results) {
    if (result.message != nullptr) messages.push_back(result.message.get());
  }
  if (!one) {
    PrintMessages(messages, session.output.format, session.out());
  } else if (!messages.empty()) {
    PrintMessage(*messages[0], session.output.format, session.out());
  }
}

}  // namespace

void AddGuestSelection(CLI::App& verb, GuestSelection& selection) {
  verb.add_option("NAME", selection.names, "guests, as web1 or guests/web1");
  verb.add_flag("--all", selection.all, "all guests that this concerns");
  AddLabelSelector(verb, selection.labels);
}

absl::Status NamingGuest(const absl::Status& status, const std::string& name) {
  const std::string umid = ShortName(name);
  if (absl::StrContains(status.message(), umid)) return status;
  return Annotate(status, absl::StrCat("guest ", umid));
}

absl::Status ForEachGuest(Session& session, const GuestSelection& selection,
                          const std::function<bool(v1::GuestState)>& concerns,
                          const std::function<absl::StatusOr<GuestResult>(Client&, const std::string&)>& act) {
  const bool by_rule = selection.all || !selection.labels.empty();
  if (selection.names.empty() != by_rule) {
    return UsageError(
        by_rule ? absl::StrCat("both names and ", selection.all ? "--all" : "-l", " were given") : "no guest was named",
        "give the names of guests, --all, or labels (-l KEY=VALUE)");
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Select(*client, selection, concerns));

  const InterruptNotice notice;
  std::vector<GuestResult> results(names.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < names.size(); i = next++) {
      absl::StatusOr<GuestResult> result = act(*client, names[i]);
      if (!result.ok()) {
        session.Report(NamingGuest(result.status(), names[i]));
        continue;
      }
      if (session.output.format == Format::kName) {
        session.Say(ShortName(names[i]));
      } else if (!session.output.ForPrograms() && !result->said.empty()) {
        session.Say(absl::StrCat(ShortName(names[i]), ": ", result->said));
      }
      results[i] = *std::move(result);
    }
  };
  if (names.size() <= 1) {
    work();
  } else {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < std::min(names.size(), kMaxThreads); ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }
  if (session.output.ForPrograms()) PrintResults(session, results, !by_rule && names.size() == 1);
  return absl::OkStatus();
}

}  // namespace umld::umlctl
