#include "umlctl/spec_path.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

TEST(AbsoluteSpec, EverySpelling) {
  EXPECT_EQ(*AbsoluteSpec("ubdb=a", "/srv"), "ubdb=/srv/a");
  EXPECT_EQ(*AbsoluteSpec("ubdb=./a", "/srv"), "ubdb=/srv/a");
  EXPECT_EQ(*AbsoluteSpec("ubdc=modules:", "/srv"), "ubdc=modules:");
  EXPECT_EQ(*AbsoluteSpec("ubdcr=volume:data", "/srv"), "ubdcr=volume:data");
  EXPECT_EQ(*AbsoluteSpec("ubdc=./volume:data", "/srv"), "ubdc=/srv/volume:/srv/data") << "a COW file named volume";
  EXPECT_EQ(*AbsoluteSpec("ubdb=.//a", "/srv"), "ubdb=/srv/a");
  EXPECT_EQ(*AbsoluteSpec("ubdb=../a", "/srv"), "ubdb=/srv/../a");
  EXPECT_EQ(*AbsoluteSpec("ubdb=a", "/"), "ubdb=/a");
  EXPECT_EQ(*AbsoluteSpec("ubdb=/abs", "/srv"), "ubdb=/abs");
  EXPECT_EQ(*AbsoluteSpec("ubdbr=a", "/srv"), "ubdbr=/srv/a");
  EXPECT_EQ(*AbsoluteSpec("ubd1=cow,backing", "/srv"), "ubd1=/srv/cow,/srv/backing");
  EXPECT_EQ(*AbsoluteSpec("ubdb=cow:backing", "/srv"), "ubdb=/srv/cow:/srv/backing");
  EXPECT_EQ(*AbsoluteSpec("ubdb=cow,/base", "/srv"), "ubdb=/srv/cow,/base");
  EXPECT_EQ(*AbsoluteSpec("ubdb=/cow,base", "/srv"), "ubdb=/cow,/srv/base");
  EXPECT_EQ(*AbsoluteSpec("ubdb=file,,serial", "/srv"), "ubdb=/srv/file,,serial");
  EXPECT_EQ(*AbsoluteSpec("ubdb=cow,back,serial,x", "/srv"), "ubdb=/srv/cow,/srv/back,serial,x");
  EXPECT_EQ(*AbsoluteSpec("ubdb=a=b", "/srv"), "ubdb=/srv/a=b");
}

TEST(AbsoluteSpec, OtherDevicesStay) {
  EXPECT_EQ(*AbsoluteSpec("con2=port:9000", "/srv"), "con2=port:9000");
  EXPECT_EQ(*AbsoluteSpec("eth0=tuntap,tap0", "/srv"), "eth0=tuntap,tap0");
  EXPECT_EQ(*AbsoluteSpec("vec0:transport=tap,ifname=tap0", "/srv"), "vec0:transport=tap,ifname=tap0");
  EXPECT_EQ(*AbsoluteSpec("eth0=daemon", "/srv"), "eth0=daemon");
  EXPECT_EQ(*AbsoluteSpec("eth0=daemon,,unix", "/srv"), "eth0=daemon,,unix");
}

TEST(AbsoluteSpec, TheSwitchOfAnInterface) {
  EXPECT_EQ(*AbsoluteSpec("eth0=daemon,,unix,lab.ctl", "/srv"), "eth0=daemon,,unix,/srv/lab.ctl");
  EXPECT_EQ(*AbsoluteSpec("eth0=daemon,02:0:0:0:0:1,,/lab.ctl", "/srv"), "eth0=daemon,02:0:0:0:0:1,,/lab.ctl");
  EXPECT_EQ(*AbsoluteSpec("eth1=vde,lab,,3", "/srv"), "eth1=vde,/srv/lab,,3");
  EXPECT_FALSE(AbsoluteSpec("eth1=vde,lab", "/srv/x:y").ok());
}

TEST(AbsoluteSpec, Refuses) {
  for (const char* spec : {"", "ubdb", "=a", "ubdb=", "ubdb=,b", "ubdb=:b"}) {
    EXPECT_EQ(AbsoluteSpec(spec, "/srv").status().code(), absl::StatusCode::kInvalidArgument) << spec;
  }
  EXPECT_FALSE(AbsoluteSpec("ubdb=a", "/srv/x,y").ok());
  EXPECT_FALSE(AbsoluteSpec("ubdb=/cow,a", "/srv/x:y").ok());
  EXPECT_TRUE(AbsoluteSpec("ubdb=/cow,/a", "/srv/x:y").ok());
}

TEST(CurrentFolder, KeepsTheLinkTheUserCameBy) {
  const std::string real = testing::TempDir() + "/spec_path_real";
  const std::string link = testing::TempDir() + "/spec_path_link";
  ASSERT_EQ(std::system(("rm -rf " + real + " " + link + " && mkdir " + real).c_str()), 0);
  ASSERT_EQ(symlink(real.c_str(), link.c_str()), 0);
  ASSERT_EQ(chdir(link.c_str()), 0);
  setenv("PWD", link.c_str(), 1);
  EXPECT_EQ(*CurrentFolder(), link);
  setenv("PWD", "/", 1);
  EXPECT_NE(*CurrentFolder(), "/");
}

}  // namespace
}  // namespace umld::umlctl
