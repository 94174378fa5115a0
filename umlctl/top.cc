#include <poll.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/time/clock.h"
#include "base/status.h"
#include "umlctl/duration.h"
#include "umlctl/screen.h"
#include "umlctl/terminal.h"
#include "umlctl/top_view.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

// False: enough.
bool OnKey(int key, int page, TopView& view) {
  switch (key) {
    case 'q':
    case kKeyEscape:
    case kKeyControlC:
      return false;
    case 'c':
      view.SortBy(TopView::Sort::kCpu);
      break;
    case 'm':
      view.SortBy(TopView::Sort::kMemory);
      break;
    case 'd':
      view.SortBy(TopView::Sort::kDisk);
      break;
    case 'n':
      view.SortBy(TopView::Sort::kNet);
      break;
    case 'N':
      view.SortBy(TopView::Sort::kName);
      break;
    case kKeyUp:
      view.Scroll(-1);
      break;
    case kKeyDown:
      view.Scroll(1);
      break;
    case kKeyPageUp:
      view.Scroll(-page);
      break;
    case kKeyPageDown:
    case ' ':
      view.Scroll(page);
      break;
    case kKeyHome:
      view.ScrollToTop();
      break;
    case kKeyEnd:
      view.ScrollToEnd();
      break;
    default:
      break;
  }
  return true;
}

bool OnKeys(Screen& screen, TopView& view) {
  const int page = std::max(static_cast<int>(screen.rows()) - static_cast<int>(TopView::kHeadingRow) - 1, 1);
  for (int key = screen.ReadKey(); key != kNoKey; key = screen.ReadKey()) {
    if (!OnKey(key, page, view)) return false;
  }
  return true;
}

void Show(TopView& view, const std::string& problem, Screen& screen) {
  std::vector<std::string> lines = view.Lines(screen.rows(), screen.columns());
  if (!problem.empty() && !lines.empty()) lines[0] = problem;
  screen.Show(lines, TopView::kHeadingRow);
}

absl::Status Watch(Client& client, absl::Duration interval) {
  TopView view;
  ASSIGN_OR_RETURN(const v1::ListGuestStatsResponse first, client.ListGuestStats({}));
  view.Update(first);
  ASSIGN_OR_RETURN(TerminalSignals signals, TerminalSignals::Catch());
  ASSIGN_OR_RETURN(const std::unique_ptr<Screen> screen, Screen::Open());
  // The first rates come soon.
  absl::Time next = absl::Now() + std::min(interval, absl::Milliseconds(500));
  std::string problem;
  while (!signals.quit()) {
    Show(view, problem, *screen);
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    const absl::Duration left = std::max(next - absl::Now(), absl::ZeroDuration());
    if (poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) < 0 && errno != EINTR) break;
    if ((fds[0].revents & (POLLHUP | POLLERR)) != 0) break;
    if (fds[1].revents != 0) {
      signals.Drain();
      const TerminalSize size = GetTerminalSize(STDOUT_FILENO);
      if (size.rows != 0) screen->Resize(size.rows, size.columns);
    }
    if (!OnKeys(*screen, view)) break;
    if (absl::Now() < next) continue;
    const absl::StatusOr<v1::ListGuestStatsResponse> stats = client.ListGuestStats({});
    // umld may be starting anew: what was last known stays, and it is said.
    problem = stats.ok() ? "" : std::string(stats.status().message());
    if (stats.ok()) view.Update(*stats);
    next = absl::Now() + interval;
  }
  return absl::OkStatus();
}

absl::Status Top(Session& session, const std::string& interval_text) {
  ASSIGN_OR_RETURN(const absl::Duration interval, ParseDuration(interval_text));
  if (interval < absl::Milliseconds(100)) {
    return UsageError("the interval is shorter than 100ms", "umlctl top --interval 2s");
  }
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    return UsageError("top needs a terminal", "`umlctl stats` prints the same once, also for programs (-o json)");
  }
  ASSIGN_OR_RETURN(Client* const client, session.client());
  return Watch(*client, interval);
}

}  // namespace

void AddTop(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("top", "Watch what the guests use, live")->group(kGuestsGroup);
  auto interval = std::make_shared<std::string>("2s");
  verb->add_option("--interval", *interval, "how often to look (2s)");
  OnVerb(verb, session, [&session, interval] { return Top(session, *interval); });
}

}  // namespace umld::umlctl
