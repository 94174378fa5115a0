#include "umlctl/snapshot_tree.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "umlctl/output.h"
#include "umlctl/table.h"

namespace umld::umlctl {
namespace {

using Siblings = std::vector<const v1::Snapshot*>;

class Tree {
 public:
  Tree(const std::vector<v1::Snapshot>& snapshots, Table* table) : table_(table) {
    for (const v1::Snapshot& snapshot : snapshots) {
      const std::string guest = snapshot.name().substr(0, snapshot.name().find("/snapshots/"));
      // What comes from none comes from the guest itself.
      children_[snapshot.parent().empty() ? guest : snapshot.parent()].push_back(&snapshot);
      is_somewhere_[guest] = is_somewhere_[guest] || snapshot.current();
    }
  }

  void Draw() {
    for (const auto& [guest, is_somewhere] : is_somewhere_) {
      table_->Add({absl::StrCat(ShortName(guest), is_somewhere ? "" : kHere), "", ""});
      DrawBelow(guest, "  ");
    }
  }

 private:
  static constexpr char kHere[] = "  <- now";

  void DrawLine(const v1::Snapshot& snapshot, const std::string& before) {
    table_->Add({absl::StrCat(before, ShortName(snapshot.name()), snapshot.current() ? kHere : ""),
                 TimeText(snapshot.create_time()), snapshot.description()});
  }

  void DrawBelow(std::string name, const std::string& before) {
    // A line of descent without branches may be long, and stays in its column.
    for (; children_[name].size() == 1; name = children_[name][0]->name()) DrawLine(*children_[name][0], before);
    const Siblings& siblings = children_[name];
    for (const v1::Snapshot* snapshot : siblings) {
      const bool last = snapshot == siblings.back();
      DrawLine(*snapshot, absl::StrCat(before, last ? "`- " : "|- "));
      DrawBelow(snapshot->name(), absl::StrCat(before, last ? "   " : "|  "));
    }
  }

  Table* const table_;
  std::map<std::string, Siblings> children_;
  std::map<std::string, bool> is_somewhere_;  // by guest
};

}  // namespace

void PrintSnapshotTree(const std::vector<v1::Snapshot>& snapshots, bool headers, std::ostream& out) {
  Table table({"SNAPSHOT", "CREATED", "DESCRIPTION"});
  Tree(snapshots, &table).Draw();
  table.Print(out, headers);
}

}  // namespace umld::umlctl
