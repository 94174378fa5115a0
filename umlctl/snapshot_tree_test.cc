#include "umlctl/snapshot_tree.h"

#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

v1::Snapshot Make(const std::string& guest, const std::string& id, const std::string& parent, bool current = false) {
  v1::Snapshot snapshot;
  snapshot.set_name("guests/" + guest + "/snapshots/" + id);
  if (!parent.empty()) snapshot.set_parent("guests/" + guest + "/snapshots/" + parent);
  snapshot.set_current(current);
  return snapshot;
}

std::string Drawn(const std::vector<v1::Snapshot>& snapshots) {
  std::ostringstream out;
  PrintSnapshotTree(snapshots, /*headers=*/false, out);
  std::string text;
  std::istringstream lines(out.str());
  // Without the other columns.
  for (std::string line; std::getline(lines, line);) text += line.substr(0, line.find_last_not_of(" -") + 1) + "\n";
  return text;
}

TEST(SnapshotTree, BranchesWhereSeveralCameFromOne) {
  EXPECT_EQ(Drawn({
                Make("web1", "base", ""),
                Make("web1", "installed", "base"),
                Make("web1", "a", "installed"),
                Make("web1", "b", "installed"),
                Make("web1", "a2", "a", true),
                Make("web1", "a3", "a"),
                Make("web2", "base", ""),
            }),
            "web1\n"
            "  base\n"
            "  installed\n"
            "  |- a\n"
            "  |  |- a2  <- now\n"
            "  |  `- a3\n"
            "  `- b\n"
            "web2  <- now\n"
            "  base\n");
}

TEST(SnapshotTree, SeveralMayComeFromNone) {
  EXPECT_EQ(Drawn({Make("web1", "x", ""), Make("web1", "y", ""), Make("web1", "z", "x", true)}),
            "web1\n"
            "  |- x\n"
            "  |  z  <- now\n"
            "  `- y\n");
  EXPECT_EQ(Drawn({}), "");
}

// One a day for years does not run out of the terminal, nor of the stack.
TEST(SnapshotTree, ALongLineOfDescentStaysInItsColumn) {
  std::vector<v1::Snapshot> snapshots;
  std::string expected = "web1  <- now\n";
  for (int i = 0; i < 5000; ++i) {
    snapshots.push_back(Make("web1", "s" + std::to_string(i), i == 0 ? "" : "s" + std::to_string(i - 1)));
    expected += "  s" + std::to_string(i) + "\n";
  }
  EXPECT_EQ(Drawn(snapshots), expected);
}

}  // namespace
}  // namespace umld::umlctl
