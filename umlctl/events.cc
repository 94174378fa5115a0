#include <CLI/App.hpp>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "umlctl/printable.h"
#include "umlctl/verbs.h"
#include "umlctl/watch.h"

namespace umld::umlctl {
namespace {

struct Options {
  std::string guest;
  bool follow = false;
};

// A stream's columns cannot know what is still to come.
constexpr char kLine[] = "%-19s  %-15s  %-24s  %s\n";

void PrintEvent(Session& session, const v1::Event& event) {
  if (session.output.ForPrograms()) {
    PrintStreamed(event, session.output.format, session.out());
    return;
  }
  if (session.output.format == Format::kName) {
    session.out() << PrintableLine(event.subject()) << "\n";
  } else {
    session.out() << absl::StrFormat(kLine, TimeText(event.time()), PrintableLine(event.type()),
                                     PrintableLine(event.subject()), PrintableLine(event.message()));
  }
}

bool IsAbout(const v1::Event& event, const std::string& subject) {
  return subject.empty() || event.subject() == subject || absl::StartsWith(event.subject(), subject + "/");
}

// The number of the last event there is.
absl::StatusOr<uint64_t> LastSequence(Client& client) {
  uint64_t last = 0;
  RETURN_IF_ERROR(client.Watch({}, absl::InfiniteFuture(), [&last](const v1::WatchResponse& response) {
    // Stays 0 for a token that is no number, and then nothing is printed.
    if (!absl::SimpleAtoi(response.resume_token(), &last)) last = 0;
    return !response.snapshot_done();
  }));
  return last;
}

// What is kept, up to now. The stream does not say where the past ends, hence the number; and it is not asked for one
// subject alone, whose last event may be any.
absl::Status PrintPast(Session& session, Client& client, const std::string& subject) {
  ASSIGN_OR_RETURN(const uint64_t last, LastSequence(client));
  if (last == 0) return absl::OkStatus();
  v1::WatchRequest request;
  request.set_resume_token("0");
  request.set_skip_snapshot(true);
  return client.Watch(request, absl::InfiniteFuture(), [&](const v1::WatchResponse& response) {
    if (!response.has_event()) return session.out().good();
    if (response.event().sequence() <= last && IsAbout(response.event(), subject)) {
      PrintEvent(session, response.event());
    }
    return response.event().sequence() < last && session.out().good();
  });
}

absl::Status Follow(Session& session, Client& client, const std::string& subject) {
  WatchOptions watch;
  watch.subject = subject;
  watch.skip_snapshot = true;
  return WatchThroughRestarts(
      client, watch,
      [&session](const v1::WatchResponse& response) {
        if (response.has_event()) PrintEvent(session, response.event());
        session.out().flush();
        return session.out().good();
      },
      [&session](const std::string& line) { session.Note(line); });
}

absl::Status Events(Session& session, const Options& options) {
  std::string subject;
  if (!options.guest.empty()) {
    ASSIGN_OR_RETURN(subject, GuestName(options.guest));
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  if (!session.output.ForPrograms() && session.output.format != Format::kName && session.output.headers) {
    session.out() << absl::StrFormat(kLine, "TIME", "TYPE", "SUBJECT", "MESSAGE") << std::flush;
  }
  return options.follow ? Follow(session, *client, subject) : PrintPast(session, *client, subject);
}

}  // namespace

void AddEvents(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("events", "Print what has happened, or happens")->group(kHostGroup);
  auto options = std::make_shared<Options>();
  verb->add_option("NAME", options->guest, "of this guest alone");
  verb->add_flag("-f,--follow", options->follow, "what happens from now on");
  OnVerb(verb, session, [&session, options] { return Events(session, *options); });
}

}  // namespace umld::umlctl
