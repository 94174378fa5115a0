#include "umld/identity_report.h"

#include <string>
#include <vector>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<std::vector<std::string>> Read(const std::string& lines) {
  return ReadIdentityReport("umld-identity 1\n" + lines + "end\n" + std::string(100, '\0'), "web2");
}

TEST(IdentityReport, SaysWhatWasDone) {
  const auto notes = Read(
      "changed hostname\nchanged machine-id\nchanged random-seed\nchanged ssh_host_ed25519_key\nchanged "
      "ssh_host_rsa_key\nkept machine-id\nlost ssh_host_dsa_key\n");
  ASSERT_TRUE(notes.ok()) << notes.status();
  EXPECT_THAT(*notes,
              ElementsAre(HasSubstr("new machine-id"), "new ssh host keys: ed25519, rsa", HasSubstr("keys: dsa"),
                          "its host name is web2", HasSubstr("no plain file: machine-id")));
}

TEST(IdentityReport, OfAGuestThatHasNone) {
  EXPECT_THAT(Read("").value(), ElementsAre(HasSubstr("nothing inside to change")));
  EXPECT_THAT(Read("no-etc\n").value(), ElementsAre(HasSubstr("no /etc")));
}

TEST(IdentityReport, WhatFailedIsAnError) {
  for (const std::string line :
       {"unmountable\n", "failed hostname\n", "failed read\n", "changed hostname\nfailed hosts\n",
        "changed everything\n", "changed ssh_host_\x1b[31m\n", "nonsense\n"}) {
    EXPECT_EQ(GetErrorDetail(Read(line).status()).reason, "IDENTITY_UNCHANGED") << line;
  }
  EXPECT_EQ(GetErrorDetail(Read("no-keys\n").status()).reason, "TOOL_MISSING");
}

TEST(IdentityReport, WhatIsNotWholeIsAnError) {
  for (const std::string& text :
       {std::string(), std::string(65536, '\0'), std::string("umld-identity 1\nchanged hostname\n"),
        std::string("umld-identity 2\nend\n"), std::string("end\n"), std::string(65536, 'x')}) {
    EXPECT_EQ(GetErrorDetail(ReadIdentityReport(text, "web2").status()).reason, "IDENTITY_UNCHANGED");
  }
}

}  // namespace
}  // namespace umld
