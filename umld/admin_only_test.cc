#include "umld/admin_only.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

void AddConsole(v1::Guest* guest, const char* name, const char* channels) {
  v1::Console* console = guest->add_consoles();
  console->set_name(name);
  console->set_channels(channels);
}

TEST(AdminOnly, IsTakenOutAndSaid) {
  v1::Guest guest;
  for (const char* argument :
       {"quiet", "initrd=/etc/shadow", "mconsole=notify:/run/systemd/notify", "root=/dev/ubda"}) {
    guest.add_kernel_args(argument);
  }
  AddConsole(&guest, "guests/web1/consoles/con2", "tty:/dev/tty1");
  AddConsole(&guest, "con3", "port:9000");
  AddConsole(&guest, "con4", "port:80");
  v1::Nic* nic = guest.add_nics();
  nic->set_name("eth0");
  nic->set_transport(v1::Nic::TUNTAP);
  nic->set_interface("tap0");
  nic->set_host_address("8.8.8.1/1");
  nic = guest.add_nics();
  nic->set_name("vec1");
  nic->set_transport(v1::Nic::TAP);
  nic = guest.add_nics();
  nic->set_name("eth2");
  nic->set_transport(v1::Nic::TUNTAP);
  nic->set_interface("enp9s0");
  nic->set_host_address("8.8.4.1/1");
  EXPECT_THAT(TakeOutAdminOnly(&guest),
              ElementsAre(HasSubstr("initrd=/etc/shadow"), HasSubstr("/run/systemd/notify"),
                          HasSubstr("con2=tty:/dev/tty1"), HasSubstr("con4=port:80"), HasSubstr("8.8.8.1/1"),
                          HasSubstr("8.8.4.1/1"), HasSubstr("enp9s0 (a tap whose name")));
  EXPECT_THAT(guest.kernel_args(), ElementsAre("quiet", "root=/dev/ubda"));
  ASSERT_EQ(guest.consoles_size(), 1);
  EXPECT_EQ(guest.consoles(0).name(), "con3");
  ASSERT_EQ(guest.nics_size(), 3);
  EXPECT_EQ(guest.nics(2).host_address() + guest.nics(2).interface(), "");
  EXPECT_EQ(guest.nics(0).host_address(), "");
  EXPECT_EQ(guest.nics(0).interface(), "tap0");
  EXPECT_THAT(TakeOutAdminOnly(&guest), IsEmpty());
}

// It is refused where the whole guest is looked at.
TEST(AdminOnly, WhatIsNoDeviceAtAllStays) {
  v1::Guest guest;
  AddConsole(&guest, "con2", "nonsense");
  guest.add_nics()->set_host_address("8.8.8.1/1");
  EXPECT_THAT(TakeOutAdminOnly(&guest), IsEmpty());
  EXPECT_EQ(guest.consoles_size(), 1);
  EXPECT_EQ(guest.nics_size(), 1);
}

}  // namespace
}  // namespace umld
