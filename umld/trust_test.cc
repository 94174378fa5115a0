#include "umld/trust.h"

#include <string>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::HasSubstr;

state::GuestRow Guest(bool relaxed, bool trusted, const std::string& argument = "") {
  state::GuestRow guest;
  guest.name = "web1";
  guest.relaxed = relaxed;
  guest.trusted = trusted;
  if (!argument.empty()) guest.kernel_args = {"quiet", argument};
  return guest;
}

std::string Reason(const state::GuestRow& guest) {
  const absl::Status status = CheckTrust(guest);
  if (status.ok()) return "";
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("guest web1"));
  EXPECT_FALSE(GetErrorDetail(status).hint.empty());
  return GetErrorDetail(status).reason;
}

TEST(TrustTest, RelaxedIsForTrustedGuests) {
  EXPECT_EQ(Reason(Guest(false, false)), "");
  EXPECT_EQ(Reason(Guest(false, true)), "");
  EXPECT_EQ(Reason(Guest(true, true)), "");
  EXPECT_EQ(Reason(Guest(true, false)), "TRUST_REQUIRED");
}

TEST(TrustTest, RelaxedGuestsHaveNoFilesOfOthers) {
  for (const bool relaxed : {false, true}) {
    const std::string reason = relaxed ? "OTHERS_FILE" : "";
    state::GuestRow guest = Guest(relaxed, true);
    guest.kernel = "/home/somebody/linux";
    EXPECT_EQ(Reason(guest), "");
    guest.kernel_opener = Credentials{1000, 1000, {}};
    EXPECT_EQ(Reason(guest), reason);
    guest.kernel_opener.reset();
    guest.disks.resize(1);
    guest.disks[0].path = "/home/somebody/disk";
    guest.disks[0].opener = Credentials{1000, 1000, {}};
    EXPECT_EQ(Reason(guest), reason);
    guest.disks[0].opener.reset();
    EXPECT_EQ(Reason(guest), "");
  }
}

TEST(TrustTest, UmlsSeccompModeIsForTrustedGuests) {
  for (const char* on : {"seccomp=on", "seccomp=auto", "seccomp="}) {
    EXPECT_EQ(Reason(Guest(false, false, on)), "TRUST_REQUIRED") << on;
    EXPECT_EQ(Reason(Guest(false, true, on)), "") << on;
  }
  EXPECT_EQ(Reason(Guest(false, false, "seccomp=off")), "");
}

TEST(TrustTest, HostfsIsNoShare) {
  for (bool trusted : {false, true}) {
    EXPECT_EQ(Reason(Guest(false, trusted, "hostfs=/srv")), "HOSTFS_SHARE");
    EXPECT_EQ(Reason(Guest(false, trusted, "rootfstype=hostfs")), "HOSTFS_SHARE");
  }
  EXPECT_THAT(std::string(CheckTrust(Guest(false, false, "hostfs=/srv")).message()), HasSubstr("shows the jail"));
  EXPECT_THAT(std::string(CheckTrust(Guest(true, true, "hostfs=/srv")).message()), HasSubstr("the whole host"));
  EXPECT_EQ(Reason(Guest(true, true, "rootfstype=hostfs")), "");
}

}  // namespace
}  // namespace umld
