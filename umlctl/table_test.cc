#include "umlctl/table.h"

#include <sstream>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

std::string Text(const Table& table, bool headers) {
  std::ostringstream out;
  table.Print(out, headers);
  return out.str();
}

TEST(Table, ColumnsLineUp) {
  Table table({"NAME", "STATE", "NOTE"});
  table.Add({"web1", "RUNNING", "x"});
  table.Add({"a-long-name", "STOPPED", ""});
  EXPECT_EQ(Text(table, true),
            "NAME         STATE    NOTE\n"
            "web1         RUNNING  x\n"
            "a-long-name  STOPPED  -\n");
  EXPECT_EQ(Text(table, false),
            "web1         RUNNING  x\n"
            "a-long-name  STOPPED  -\n");
}

TEST(Table, NoRowsIsTheHeaderAlone) {
  EXPECT_EQ(Text(Table({"A", "B"}), true), "A  B\n");
  EXPECT_EQ(Text(Table({"A", "B"}), false), "");
}

TEST(Table, CountsCharactersAndHidesControls) {
  Table table({"N", "S"});
  table.Add({"\xc3\xa4", "1"});
  table.Add({"bb", "\033[31mred\n"});
  EXPECT_EQ(Text(table, false), "\xc3\xa4   1\nbb  red \n");
}

}  // namespace
}  // namespace umld::umlctl
