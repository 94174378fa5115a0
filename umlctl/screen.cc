#include "umlctl/screen.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"

// Last, and here alone: it defines OK and ERR for everybody.
#define NCURSES_NOMACROS 1
#include <ncurses.h>

namespace umld::umlctl {

absl::StatusOr<std::unique_ptr<Screen>> Screen::Open() {
  // Not initscr, which ends the program when it does not know the terminal.
  SCREEN* screen = newterm(nullptr, stdout, stdin);
  if (screen == nullptr) {
    const char* term = std::getenv("TERM");
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("this terminal's type is not known: TERM=", term == nullptr ? "" : term),
                     {"UNKNOWN_TERMINAL", "", "set TERM to what it is, as TERM=xterm, or use `umlctl stats`"});
  }
  raw();
  noecho();
  keypad(stdscr, true);
  nodelay(stdscr, true);
  set_escdelay(25);
  curs_set(0);
  return std::unique_ptr<Screen>(new Screen(screen));
}

Screen::~Screen() {
  endwin();
  delscreen(static_cast<SCREEN*>(screen_));
}

size_t Screen::rows() const { return static_cast<size_t>(getmaxy(stdscr)); }
size_t Screen::columns() const { return static_cast<size_t>(getmaxx(stdscr)); }

void Screen::Resize(int rows, int columns) { resizeterm(rows, columns); }

void Screen::Show(const std::vector<std::string>& lines, size_t heading) {
  erase();
  for (size_t row = 0; row < lines.size() && row < rows(); ++row) {
    if (row == heading) attron(static_cast<int>(A_REVERSE));
    mvaddnstr(static_cast<int>(row), 0, lines[row].c_str(), getmaxx(stdscr));
    if (row == heading) attroff(static_cast<int>(A_REVERSE));
  }
  refresh();
}

int Screen::ReadKey() {
  const int key = getch();
  switch (key) {
    case ERR:
      return kNoKey;
    case KEY_UP:
      return kKeyUp;
    case KEY_DOWN:
      return kKeyDown;
    case KEY_PPAGE:
      return kKeyPageUp;
    case KEY_NPAGE:
      return kKeyPageDown;
    case KEY_HOME:
      return kKeyHome;
    case KEY_END:
      return kKeyEnd;
    default:
      return key < 256 ? key : kKeyOther;
  }
}

}  // namespace umld::umlctl
