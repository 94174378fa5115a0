#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/str_format.h"
#include "base/byte_size.h"
#include "base/status.h"
#include "umlctl/each_guest.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

bool Runs(const v1::GuestStats& stats) { return stats.processes() != 0; }

std::string Bytes(const v1::GuestStats& stats, uint64_t bytes) { return Runs(stats) ? HumanByteSize(bytes) : ""; }

const std::vector<Column<v1::GuestStats>>& Columns() {
  using Stats = v1::GuestStats;
  static const auto* const kColumns = new std::vector<Column<Stats>>{
      {"NAME", [](const Stats& s) { return ShortName(s.name()); }},
      {"STATE", [](const Stats& s) { return StateText(s.state()); }},
      {"CPU-TIME",
       [](const Stats& s) {
         const double seconds = static_cast<double>(s.cpu_time().seconds()) + s.cpu_time().nanos() / 1e9;
         return Runs(s) ? absl::StrFormat("%.2fs", seconds) : std::string();
       }},
      {"MEMORY", [](const Stats& s) { return Bytes(s, s.host_memory_bytes()); }},
      {"OF", [](const Stats& s) { return HumanByteSize(s.memory_bytes()); }},
      {"DISK-READ", [](const Stats& s) { return Bytes(s, s.disk_read_bytes()); }},
      {"DISK-WRITTEN", [](const Stats& s) { return Bytes(s, s.disk_write_bytes()); }},
      {"NET-IN", [](const Stats& s) { return Bytes(s, s.nic_receive_bytes()); }},
      {"NET-OUT", [](const Stats& s) { return Bytes(s, s.nic_send_bytes()); }},
      {"PROCESSES", [](const Stats& s) { return Runs(s) ? std::to_string(s.processes()) : std::string(); }, true},
  };
  return *kColumns;
}

absl::Status Stats(Session& session, const std::vector<std::string>& typed) {
  v1::ListGuestStatsRequest request;
  for (const std::string& text : typed) {
    ASSIGN_OR_RETURN(*request.add_names(), GuestName(text));
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  // umld answers for so many at a time.
  constexpr int kAtOnce = 1000;
  v1::ListGuestStatsResponse stats;
  do {
    v1::ListGuestStatsRequest some;
    while (request.names_size() > 0 && some.names_size() < kAtOnce) {
      some.add_names(*request.names().begin());
      request.mutable_names()->erase(request.names().begin());
    }
    ASSIGN_OR_RETURN(const v1::ListGuestStatsResponse answer, client->ListGuestStats(some));
    stats.MergeFrom(answer);
  } while (request.names_size() > 0);
  PrintList(stats.stats(), Columns(), session.output, session.out());
  return absl::OkStatus();
}

}  // namespace

void AddStats(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("stats", "Print what guests use of the host")->group(kGuestsGroup);
  auto names = std::make_shared<std::vector<std::string>>();
  verb->add_option("NAME", *names, "guests; all of them when none is named");
  OnVerb(verb, session, [&session, names] { return Stats(session, *names); });
}

}  // namespace umld::umlctl
