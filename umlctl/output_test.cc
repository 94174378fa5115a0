#include "umlctl/output.h"

#include <sstream>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

v1::Guest Web1() {
  v1::Guest guest;
  guest.set_name("guests/web1");
  guest.set_id(7);
  guest.set_memory_bytes(uint64_t{256} << 20);
  guest.set_state(v1::RUNNING);
  guest.set_description("true");
  guest.add_kernel_args("1.0");
  guest.add_disks()->set_spec("ubdb=/srv/web1.cow,/srv/base.img");
  return guest;
}

TEST(Output, JsonHasTheProtosNamesAndRealNumbers) {
  std::ostringstream out;
  PrintMessage(Web1(), Format::kJson, out);
  EXPECT_NE(out.str().find("\"memory_bytes\": 268435456"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("\"state\": \"RUNNING\""), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("\"wanted_running\": false"), std::string::npos) << out.str();
  EXPECT_LT(out.str().find("\"name\""), out.str().find("\"memory_bytes\""));
}

TEST(Output, YamlKeepsStringsStrings) {
  std::ostringstream out;
  PrintMessage(Web1(), Format::kYaml, out);
  EXPECT_NE(out.str().find("memory_bytes: 268435456\n"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("description: \"true\"\n"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("- \"1.0\"\n"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("spec: ubdb=/srv/web1.cow,/srv/base.img\n"), std::string::npos) << out.str();
}

TEST(Output, SeveralAreAnArray) {
  std::ostringstream out;
  PrintMessages({}, Format::kJson, out);
  EXPECT_EQ(out.str(), "[]\n");
}

TEST(Output, ListInEveryFormat) {
  const std::vector<v1::Guest> guests = {Web1()};
  const std::vector<Column<v1::Guest>> columns = {
      {"NAME", [](const v1::Guest& guest) { return ShortName(guest.name()); }},
      {"ID", [](const v1::Guest& guest) { return std::to_string(guest.id()); }, true}};
  const auto text = [&](Format format) {
    std::ostringstream out;
    PrintList(guests, columns, {format, true}, out);
    return out.str();
  };
  EXPECT_EQ(text(Format::kTable), "NAME\nweb1\n");
  EXPECT_EQ(text(Format::kWide), "NAME  ID\nweb1  7\n");
  EXPECT_EQ(text(Format::kName), "web1\n");
  EXPECT_EQ(text(Format::kJson)[0], '[');
}

TEST(Output, States) {
  EXPECT_EQ(StateText(v1::CRASHED), "CRASHED");
  EXPECT_EQ(StateText(static_cast<v1::GuestState>(99)), "99");
}

}  // namespace
}  // namespace umld::umlctl
